"""Rows of a lane's columns that belong to one user, who writes and reads them in place."""

from __future__ import annotations

from dataclasses import dataclass

from shm.lane import Array


@dataclass(slots=True, eq=False)
class Reservation:
    """`inputs` and `outputs`: views of its rows in the columns. What is in them at first is left over from others."""

    row: int
    rows: int
    inputs: list[Array]
    outputs: list[Array]
    #: Its producer's note of what it holds.
    held: list[int]
    #: Of the last request that was made of it; -1: none was.
    number: int = -1

"""The batch planner: given what waits in the lanes and a clock, what runs next. Pure: no lane, no engine, no clock.

A lane's waiting requests are shown as a window of its descriptors, oldest first. A *piece* is a stretch of them, from the
oldest on, that one action settles.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shm.layout import ABANDONED, PACKED

Array = npt.NDArray[Any]


class Action(enum.Enum):
    """What a piece wants."""

    ROWS = enum.auto()  # run these rows as one contiguous slice of the columns
    ALONE = enum.auto()  # run this one request by itself: packed tensors
    EXPIRED = enum.auto()  # answer DEADLINE_EXCEEDED without a run
    ABANDONED = enum.auto()  # nobody waits any more: answer anything


@dataclass(frozen=True, slots=True)
class Piece:
    """`count` requests from the oldest on; with ROWS, `rows` rows from `row` on."""

    action: Action
    count: int
    row: int = 0
    rows: int = 0


def single(position: int, rows: int, flags: int, deadline: int, now: int) -> Piece:
    """The piece made of one request, by its descriptor's words."""
    if flags & ABANDONED:
        return Piece(Action.ABANDONED, 1)
    if deadline and deadline <= now:
        return Piece(Action.EXPIRED, 1)
    if flags & PACKED:
        return Piece(Action.ALONE, 1)
    return Piece(Action.ROWS, 1, position, rows)


def first_piece(window: Array, now: int, most_rows: int) -> Piece:
    """The oldest piece of a window of one or more descriptors.

    Rows go together while each request's rows follow the one before, none is past its deadline and they are no more than
    `most_rows`; a request with more rows than that goes by itself.
    """
    head = window[0]
    position = int(head["position"])
    piece = single(position, int(head["rows"]), int(head["flags"]), int(head["deadline"]), now)
    if piece.action is not Action.ROWS or len(window) == 1:
        return piece
    rows = window["rows"]
    ends = np.cumsum(rows, dtype=np.int64)
    count = int(np.searchsorted(ends, most_rows, side="right"))
    deadlines = window["deadline"]
    fits = window["position"][:count] - head["position"] == ends[:count] - rows[:count]
    if window["flags"].any():
        fits &= window["flags"][:count] == 0
    if deadlines.any():
        fits &= (deadlines[:count] == 0) | (deadlines[:count] > now)
    if not fits.all():
        count = int(np.argmin(fits))
    if count <= 1:
        return piece
    return Piece(Action.ROWS, count, position, int(ends[count - 1]))


def plan(windows: Sequence[Array | None], start: int, now: int, most_rows: int) -> list[tuple[int, Piece]]:
    """What runs next of the lanes of one queue: (lane's index, piece), all of them one batch.

    Lanes take turns at being first, by `start`. Pieces of ROWS of several lanes join until `most_rows`; any other piece is
    settled by itself, first come first served. Empty when nothing waits (every window is None).
    """
    chosen: list[tuple[int, Piece]] = []
    room = most_rows
    for step in range(len(windows)):
        index = (start + step) % len(windows)
        window = windows[index]
        if window is None or room <= 0:
            continue
        piece = first_piece(window, now, room)
        if not chosen and piece.action is not Action.ROWS:
            return [(index, piece)]
        if not chosen or (piece.action is Action.ROWS and piece.rows <= room):
            chosen.append((index, piece))
            room -= piece.rows
    return chosen

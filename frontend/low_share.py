"""What requests of low priority hold of a lane: half of it at most, so that others always find room."""

from __future__ import annotations

from typing import NamedTuple

from shm.layout import LaneSpec


class Held(NamedTuple):
    """Of a lane: slots, rows of its columns, bytes of its request ring."""

    slots: int
    rows: int = 0
    size: int = 0


class LowShare:
    """Until their slots are free again. A request that needs more than half of the bytes by itself may have them alone."""

    __slots__ = ("_most_bytes", "_most_rows", "_most_slots", "_rows", "_size", "_slots")

    def __init__(self, spec: LaneSpec) -> None:
        self._most_slots = spec.slots // 2
        self._most_rows = spec.rows // 2
        self._most_bytes = spec.request_bytes // 2
        self._slots = self._rows = self._size = 0

    def room(self, rows_each: int) -> int:
        """For how many requests of so many rows there is."""
        return max(min(self._most_slots - self._slots, (self._most_rows - self._rows) // rows_each), 0)

    def has_bytes(self, size: int) -> bool:
        """Is there room for one packed request?"""
        return self._slots < self._most_slots and (not self._size or self._size + size <= self._most_bytes)

    def take(self, held: Held) -> None:
        self._slots += held.slots
        self._rows += held.rows
        self._size += held.size

    def give_back(self, held: Held) -> None:
        self._slots -= held.slots
        self._rows -= held.rows
        self._size -= held.size

"""Where the next block of a ring goes: an allocator of contiguous blocks, freed in the order they were taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator


class Ring:
    """Positions in a ring of `capacity` units (rows or bytes); the memory itself is somebody else's.

    A block goes right behind the newest one while that is within the first `soft` units, and to the lowest gap it fits
    into otherwise. So a big ring (sparse memory, pages taken when touched) keeps a small footprint, neighbours in time
    mostly are neighbours in memory, and there is no room only when no gap is long enough: going back to the front early
    never locks away the free units behind. Once nothing is taken, it starts over at 0, where the cache is warm.
    """

    __slots__ = ("_limit", "_older", "_start", "capacity", "head", "high", "soft")

    def __init__(self, capacity: int, soft: int | None = None) -> None:
        self.capacity = capacity
        self.soft = capacity if soft is None else min(soft, capacity)
        # What is taken: `_older`, stretches of adjacent blocks, oldest first; then the stretch that still grows.
        self._older: deque[tuple[int, int]] = deque()
        self._start = 0
        self.head = 0  # end of the newest block
        self._limit = self.soft  # the newest stretch may grow up to here; at times lower than it need be
        self.high = 0  # highest unit ever taken since the last `trimmed()`

    def find(self, count: int) -> int:
        """First unit of the place for a block of `count` >= 1 contiguous units, or -1 when there is no room for it now.

        Nothing is taken before `take`: who fails in between leaves no hole.
        """
        head = self.head
        return head if head + count <= self._limit else self._search(count)

    def take(self, start: int, end: int) -> None:
        """Units [start, end), which are free, are the newest block now."""
        if start != self.head:
            if self._start < self.head:
                self._older.append((self._start, self.head))
            self._start = start
            self._limit = 0  # the next `find` has to look
        self.head = end
        if end > self.high:  # noqa: PLR1730 - max() is a call, and this is done for every request
            self.high = end

    def free(self, end: int) -> None:
        """Free the oldest block, which ends before unit `end`."""
        older = self._older
        if older:
            stretch_end = older[0][1]
            if end == stretch_end:
                older.popleft()
            else:
                older[0] = (end, stretch_end)
        elif end == self.head:
            self._start = self.head = 0
            self._limit = self.soft
        else:
            self._start = end

    @property
    def empty(self) -> bool:
        return self._start == self.head

    @property
    def room(self) -> int:
        """Units of the largest block that `find` has a place for now."""
        return max((end - start for start, end in self._gaps()), default=0)

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """Stretches of free units, lowest first."""
        at = 0
        for start, end in sorted([*self._older, (self._start, self.head), (self.capacity, self.capacity)]):
            if start > at:
                yield at, start
            at = end

    def _search(self, count: int) -> int:
        lowest = -1
        head = self.head
        for start, end in self._gaps():
            if start == head:
                self._limit = min(end, self.soft)
                if head + count <= self._limit:
                    return head
            if lowest < 0 and end - start >= count:
                lowest = start
        return lowest

    def trimmed(self) -> tuple[int, int] | None:
        """Units beyond the soft limit and all that is taken, but used before, once; None when there are none."""
        top = max(self.soft, self.head, *(end for _, end in self._older))
        if self.high <= top:
            return None
        high, self.high = self.high, top
        return top, high

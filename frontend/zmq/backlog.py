"""How much of a client's answers ZeroMQ still holds, which counts messages, not bytes."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

_MARKED_EVERY: Final = 1 << 20  # bytes


class Tracker(Protocol):
    """Is done when ZeroMQ has let go of what was sent with it."""

    @property
    def done(self) -> bool: ...


class Backlog:
    """Of one client. Answers go out in order, so when a marked one has gone, all before it have too."""

    __slots__ = ("_marks", "_since", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes that may not have gone out yet
        self._since = 0  # those after the last mark
        self._marks: deque[tuple[Tracker, int]] = deque()  # each with the bytes up to it from the one before

    def add(self, size: int) -> bool:
        """An answer of so many bytes is sent. Is it to be marked?"""
        self.size += size
        self._since += size
        return self._since >= _MARKED_EVERY

    def mark(self, tracker: Tracker) -> None:
        """That answer was sent with this."""
        self._marks.append((tracker, self._since))
        self._since = 0

    def settle(self) -> int:
        """Look what has gone out; returns what has not."""
        marks = self._marks
        while marks and marks[0][0].done:
            self.size -= marks.popleft()[1]
        return self.size

    @property
    def is_small(self) -> bool:
        """Has all of it gone out, or nearly?"""
        self.settle()
        return not self._marks

"""Things that every process must make for itself: connections, and the threads that serve them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class _Generation:
    """How many forks lie between this process and the one that imported this module."""

    def __init__(self) -> None:
        self.number = 0
        os.register_at_fork(after_in_child=self._next)

    def _next(self) -> None:
        self.number += 1


_generation: Final = _Generation()


class PerProcess(Generic[T]):
    """Calls `make` when it is first asked, and again in a child of a fork.

    What a child inherits is kept and not touched: letting go of it could say good-bye over the parent's connection. There is
    no lock, which another thread might hold at the fork: of two that are made at once, `drop` gets the one too many.
    """

    def __init__(self, make: Callable[[], T], drop: Callable[[T], object]) -> None:
        self._make = make
        self._drop = drop
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """Raises what `make` does."""
        number = _generation.number
        known = self._made.get(number)
        return self._first(number) if known is None else known

    def made(self) -> T | None:
        """What this process has made so far."""
        return self._made.get(_generation.number)

    def _first(self, number: int) -> T:
        made = self._make()
        kept = self._made.setdefault(number, made)
        if kept is not made:
            self._drop(made)
        return kept

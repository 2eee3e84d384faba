"""The signature of one call, for inputs that don't say all themselves."""

from __future__ import annotations

from collections.abc import Callable

from ringserve.client.deadline import Deadline
from ringserve.client.operations import Which
from ringserve.signature import Signature

#: Finds it, within so many seconds; None: no limit.
Find = Callable[[Which, str, float | None], Signature]


class SignatureLookup:
    """`left`: of the call's seconds what finding it has not taken.

    That is all of them where nothing is to be found. So what most calls tell their server to be their time is always the
    same, and requests that differ in nothing else can be handled together.
    """

    __slots__ = ("_find", "_name", "_which", "left")

    def __init__(self, find: Find, which: Which, name: str, seconds: float | None) -> None:
        self._find = find
        self._which = which
        self._name = name
        self.left = seconds

    def __call__(self) -> Signature:
        """Raises what `find` does."""
        deadline = Deadline(self.left)
        found = self._find(self._which, self._name, self.left)
        self.left = deadline.left()
        return found

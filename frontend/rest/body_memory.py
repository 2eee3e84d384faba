"""How much memory the bodies that are being read may take together."""

from __future__ import annotations

from types import TracebackType

from ringserve.errors import Code, ServingError


class BodyMemory:
    """One for all connections of a front end. Each body is within a limit of its own; many at a time are within this one."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.held = 0

    def lease(self) -> Lease:
        """For one body; give it back with `with`."""
        return Lease(self)

    def _take(self, size: int) -> None:
        if self.held + size > self._most:
            text = f"Bodies of {self.held} bytes are being received, at most {self._most} may be: try again"
            raise ServingError(Code.UNAVAILABLE, text)
        self.held += size


class Lease:
    """What one body has taken so far."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0

    def take(self, size: int) -> None:
        """So many bytes more have come. Raises ServingError (UNAVAILABLE) when there is no room for them."""
        self._memory._take(size)
        self._size += size

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._memory.held -= self._size
        self._size = 0

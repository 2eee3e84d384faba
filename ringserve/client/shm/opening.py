"""Something that was asked of the server and that several wait for: threads, and calls that were started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from ringserve.client.failures import again
from ringserve.client.shm.limit import Limit
from ringserve.errors import ServingError

T = TypeVar("T")


class Opening(Generic[T]):
    """It comes to a result once; an error is one too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._then: list[Callable[[], None]] = []
        self._event: threading.Event | None = None
        self._has_ended = False
        self._result: T | ServingError | None = None

    def end(self, result: T | ServingError) -> None:
        with self._lock:
            self._has_ended = True
            self._result = result
            then, self._then = self._then, []
            if self._event is not None:
                self._event.set()
        for call in then:
            call()

    def then(self, call: Callable[[], None]) -> None:
        """Call it when there is a result, in the thread that brings it; at once if there is one."""
        with self._lock:
            if not self._has_ended:
                self._then.append(call)
                return
        call()

    @property
    def error(self) -> ServingError | None:
        """Of one that has a result."""
        return self._result if isinstance(self._result, ServingError) else None

    def wait(self, limit: Limit) -> None:
        """Until there is a result. Raises ServingError (DEADLINE_EXCEEDED)."""
        with self._lock:
            if not self._has_ended and self._event is None:
                self._event = threading.Event()
        if self._event is not None and not self._event.wait(limit.left()):
            raise limit.late()

    def result(self, limit: Limit) -> T:
        """Waits for it. Raises ServingError: the error, or DEADLINE_EXCEEDED."""
        self.wait(limit)
        result = self._result
        if isinstance(result, ServingError):
            raise again(result)
        return cast(T, result)

"""The answer of a call that was started, when it has come."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Generic, TypeVar

from ringserve.client.transport import CallMetadata, Transport
from ringserve.errors import ServingError

T = TypeVar("T")


class CallFuture(Future[T], Generic[T]):
    """`read` makes the answer out of its bytes. Until that has come it can be cancelled, and the call with it."""

    def __init__(self, read: Callable[[bytes], T]) -> None:
        super().__init__()
        self._read = read
        self._cancel_call: Callable[[], object] | None = None

    def start(
        self, transport: Transport, method: str, message: bytes, timeout: float | None, beside: CallMetadata = ()
    ) -> None:
        """Raises ServingError where there is no call to start."""
        self._cancel_call = transport.start(method, message, timeout, self._settle, beside)

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled and self._cancel_call is not None:
            self._cancel_call()
        return cancelled

    def _settle(self, outcome: bytes | ServingError) -> None:
        with suppress(InvalidStateError):  # cancelled meanwhile
            if isinstance(outcome, ServingError):
                self.set_exception(outcome)
                return
            try:
                answer = self._read(outcome)
            except Exception as error:  # whatever it is, somebody waits
                self.set_exception(error)
            else:
                self.set_result(answer)

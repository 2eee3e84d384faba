"""The answer of a call that was started, when it has come."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Generic, TypeVar

from ringserve.client.operations import Operation
from ringserve.client.transport import Transport
from ringserve.errors import ServingError

T = TypeVar("T")


class CallFuture(Future[T], Generic[T]):
    """Until the answer has come it can be cancelled, and the call with it."""

    def __init__(self) -> None:
        super().__init__()
        self._cancel_call: Callable[[], object] | None = None

    def start(self, transport: Transport, operation: Operation[T], timeout: float | None) -> None:
        """Raises ServingError where there is no call to start."""
        cancel = self._cancel_call = transport.start(operation, timeout, self.settle)
        if self.done():  # by another thread, before there was a call to cancel
            cancel()

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled:
            self._end_call()
        return cancelled

    def abandon(self, error: ServingError) -> None:
        """Fails where there is no answer yet, and cancels the call."""
        with suppress(InvalidStateError):
            self.set_exception(error)
            self._end_call()

    def settle(self, outcome: T | ServingError) -> None:
        with suppress(InvalidStateError):  # cancelled meanwhile
            if isinstance(outcome, ServingError):
                self.set_exception(outcome)
            else:
                self.set_result(outcome)

    def _end_call(self) -> None:
        if self._cancel_call is not None:
            self._cancel_call()

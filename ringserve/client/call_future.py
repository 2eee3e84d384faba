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
        # Not for longer than it is of use: the call knows this future, and such rings wait for the garbage collector.
        self._cancel_call: Callable[[], object] | None = None
        self._is_over = False

    def start(self, transport: Transport, operation: Operation[T], timeout: float | None) -> None:
        """Raises ServingError where there is no call to start."""
        self._cancel_call = transport.start(operation, timeout, self.settle)
        if self._is_over:  # in another thread, before there was a call to cancel
            self._end_call()

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
        self._is_over = True
        self._cancel_call = None
        try:  # not `suppress`, which costs as much as the rest
            if isinstance(outcome, ServingError):
                self.set_exception(outcome)
            else:
                self.set_result(outcome)
        except InvalidStateError:  # cancelled meanwhile
            return

    def _end_call(self) -> None:
        self._is_over = True
        cancel, self._cancel_call = self._cancel_call, None
        if cancel is not None:
            cancel()


def call_started(transport: Transport, operation: Operation[T], timeout: float | None) -> T:
    """As `Transport.call`, by `start`."""
    future: CallFuture[T] = CallFuture()
    future.start(transport, operation, timeout)
    try:
        return future.result()
    except BaseException:  # of a signal's handler, too
        future.cancel()
        raise

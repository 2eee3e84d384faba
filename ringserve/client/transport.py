"""What a client asks of the way to its server: each protocol is a class that has this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from ringserve.client.operation_stream import OperationStream
from ringserve.client.operations import Operation, Which
from ringserve.client.slot import Slot
from ringserve.errors import ServingError

T = TypeVar("T")


class Transport(Protocol):
    """Used by several threads at once, and in children of a fork as if it were a new one.

    It connects when it is first used. `timeout` is in seconds, None: no limit; without any time left a call fails with
    `failures.late` and is not sent.
    """

    def call(self, operation: Operation[T], timeout: float | None) -> T:
        """Waits for the answer.

        Raises ServingError: what the server says, UNAVAILABLE where it can't be reached or went away, DEADLINE_EXCEEDED
        (`failures.late`), INVALID_ARGUMENT for what can't be sent, UNIMPLEMENTED for what the protocol has no words for.
        """

    def start(
        self, operation: Operation[T], timeout: float | None, done: Callable[[T | ServingError], None]
    ) -> Callable[[], object]:
        """`done` gets the answer, once, in this thread or another; it must not wait.

        Returns what cancels the call, which then is over, or fails with CANCELLED; without effect on one that is over. All
        failures go to `done`, but for a closed client (`failures.closed` is raised).
        """

    def close(self) -> None:
        """Calls without an answer fail with `failures.interrupted`, later ones with `failures.closed`."""


@runtime_checkable
class SlotTransport(Transport, Protocol):
    """One that has memory in which requests can be made."""

    def slot(self, which: Which, signature: str, rows: int, timeout: float | None) -> Slot:
        """`timeout`: of making it, and of its runs where they don't say themselves. Raises ServingError."""


@runtime_checkable
class StreamTransport(Transport, Protocol):
    """One that has something better for many small requests than a call for each."""

    def stream(self, most_outstanding: int, timeout: float | None, key: str | None, low: bool) -> OperationStream:
        """`timeout`: of the whole stream. `key` and `low`, the low priority: of all its requests.

        Raises ServingError where the client is closed.
        """


def nothing() -> None:
    """Cancels a call that was never made."""

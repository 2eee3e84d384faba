"""What a client asks of the way to its server; another protocol is another class like `GrpcTransport`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ringserve.errors import ServingError

#: What a call says beside its messages: names, and ASCII texts.
CallMetadata = Sequence[tuple[str, str]]


class StreamCall(Protocol):
    """One call with a stream of messages in either direction."""

    def __iter__(self) -> Iterator[bytes]:
        """The server's messages, by one thread, until the call has ended. Raises ServingError where it didn't end well."""

    def cancel(self) -> None:
        """Ends the call at once."""


class Transport(Protocol):
    """Messages are serialised; `method` is a path, "/package.Service/Method"; `timeout` is in seconds, None: no limit.

    Used by several threads at once.
    """

    def call(self, method: str, message: bytes, timeout: float | None, beside: CallMetadata = ()) -> bytes:
        """The answer. Raises ServingError: what the server says, UNAVAILABLE, DEADLINE_EXCEEDED."""

    def start(
        self,
        method: str,
        message: bytes,
        timeout: float | None,
        done: Callable[[bytes | ServingError], None],
        beside: CallMetadata = (),
    ) -> Callable[[], object]:
        """`done` gets the answer, in this thread or another; returns what cancels the call."""

    def open_stream(
        self, method: str, messages: Iterator[bytes], timeout: float | None, beside: CallMetadata = ()
    ) -> StreamCall:
        """`messages` is asked for the next one when the one before was sent, in a thread of its own."""

    def close(self) -> None:
        """Calls that have no answer yet fail."""

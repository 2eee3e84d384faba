"""A call with a stream of messages, as its handler sees it."""

from __future__ import annotations

from typing import Protocol


class Stream(Protocol):
    """All on the event loop's thread. A handler that returns ends the call with OK, one that raises ServingError with its
    status; it is cancelled when the client is gone, when its deadline is over, and when the server ends.
    """

    @property
    def timeout(self) -> int:
        """What was left of the call's deadline when it began, in ns; 0: it has none."""

    def metadata(self, name: str) -> str | None:
        """What the client sent beside its messages; `name` in small letters."""

    async def read(self) -> bytes | None:
        """The next message; None: the client has sent its last."""

    async def write(self, message: bytes) -> None:
        """Returns when the transport has taken the message. One at a time."""

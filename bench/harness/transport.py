"""What the generator needs of a protocol: slots, each of which carries one request at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

#: The kind of an answer that is as it should be.
RIGHT: Final = ""
#: Kinds of failure that every protocol has; others are status codes as the protocol says them: "503", "UNAVAILABLE".
WRONG: Final = "wrong answer"
CONNECTION: Final = "connection lost"
TIMEOUT: Final = "timeout"


class Transport(Protocol):
    """Slots are numbered from 0. Whoever drives it never sends into a slot that has a request on its way.

    A slot is ready again as soon as `poll` has said what became of its request, whatever that was: a connection that is
    lost is opened anew by the transport, which reports CONNECTION for as long as that fails.
    """

    def send(self, slot: int, request: int) -> None:
        """Start the request with this number of those of the transport's. Never raises for the server's sake."""
        ...

    def poll(self, seconds: float) -> Iterable[tuple[int, str]]:
        """The slots whose requests have ended, with RIGHT or the kind of failure; waits so long at most for the first one.

        Requests are due at times of their own, so it must not wait a millisecond longer: see short_wait.py for epoll. 0 does
        not wait. It may return early with nothing.

        What it yields is looked at one by one, and the clock is read for each: yield an answer as soon as it is read.
        """
        ...

    def abandon(self, slot: int) -> None:
        """Its request has taken too long: forget it. The slot is ready; an answer that comes after all is dropped."""
        ...

    def close(self) -> None: ...

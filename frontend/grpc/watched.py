"""A status that many calls watch."""

from __future__ import annotations

import asyncio
from typing import Final

_AT_A_TIME: Final = 100  # those who wait that are told in one turn of the loop: requests come in between


class Watched:
    """`status` now, and `watchers`: how many calls watch it, kept by its owner."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.watchers = 0
        self._is_last = False
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()

    def put(self, status: int) -> None:
        """It is this one now; those who wait are told of a change."""
        if status != self.status:
            self.status = status
            self._tell_all()

    def close(self) -> None:
        """No other status follows: nobody waits any more."""
        self._is_last = True
        self._tell_all()

    def _tell_all(self) -> None:
        waiting, self._waiting = list(self._waiting), set()
        self._tell(waiting)

    def _tell(self, waiting: list[asyncio.Future[None]]) -> None:
        for future in waiting[-_AT_A_TIME:]:
            if not future.done():
                future.set_result(None)
        del waiting[-_AT_A_TIME:]
        if waiting:
            self._loop.call_soon(self._tell, waiting)

    async def other_than(self, told: int | None) -> int | None:
        """The status, once it is not (or no longer) the one that was `told` (None: nothing was); None: no other follows."""
        while self.status == told:
            if self._is_last:
                return None
            future = self._loop.create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)
        return self.status

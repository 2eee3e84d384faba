"""Clients that take nothing of what they are sent: they need not be fast, but they have to take some."""

from __future__ import annotations

import asyncio
from typing import Final

STALLED_SECONDS: Final = 50.0  # without a byte taken by a client that is being answered: upstream's limit


class StallWatch:
    """One connection's. From `begin` to `end` a transport of which nothing is taken for so long is aborted."""

    __slots__ = ("_loop", "_timer", "_unsent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def begin(self, transport: asyncio.WriteTransport) -> None:
        self._unsent = transport.get_write_buffer_size()
        self._timer = self._loop.call_later(STALLED_SECONDS, self._check, transport)

    def end(self) -> None:
        """Does nothing where it has not begun."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, transport: asyncio.WriteTransport) -> None:
        if transport.get_write_buffer_size() >= self._unsent:
            transport.abort()
        else:
            self.begin(transport)

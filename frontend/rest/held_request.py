"""A known head and not all of its body: the rest is waited for, for a moment, before the parser is troubled with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: Bytes of a body whose rest is waited for here.
MOST_HELD: Final = 64 << 10
HELD_SECONDS: Final = 0.05  # then it is slow, and aiohttp's


class HeldRequest:
    """One connection's. `data`: what has come of it, which the parser has not seen; empty: none is held."""

    __slots__ = ("_loop", "_timer", "data")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.data = b""

    def hold(self, data: bytes, give_up: Callable[[], None]) -> None:
        """`data`: all of it so far. `give_up` is called HELD_SECONDS after its beginning, however slowly more comes."""
        self.data = data
        if self._timer is None:
            self._timer = self._loop.call_later(HELD_SECONDS, give_up)

    def take(self) -> bytes:
        """What is held, which is held no more."""
        data, self.data = self.data, b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return data

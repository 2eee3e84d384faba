"""An event loop whose turn another thread may take while nothing else is running in it.

What a callback touches is touched by one thread at a time, as ever; only it need not always be the loop's. A thread that has
something to do there, and finds the loop asleep, does it at once: waking the loop's thread would take longer than most of
what there is to do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol, TypeVarTuple

import uvloop

Ts = TypeVarTuple("Ts")


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class TurnLoop(uvloop.Loop):
    """Callbacks hold the turn. They may be scheduled by whoever has it, in any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()
        self._thread = threading.get_ident()

    def adopt(self) -> None:
        """Let the calling thread's coroutines and futures belong to this loop. Called in that thread."""
        asyncio._set_running_loop(self)

    def try_now(self, callback: Callable[[], None]) -> bool:
        """Call it in the calling thread, which has adopted this loop. False: another callback runs; it was not called."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            callback()
        finally:
            self._turn.release()
        return True

    def _take(self, callback: Callable[[*Ts], object], *arguments: *Ts) -> None:
        with self._turn:
            callback(*arguments)

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        if threading.get_ident() == self._thread:
            return super().call_soon(self._take, callback, *args, context=context)
        return super().call_soon_threadsafe(self._take, callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(self._take, callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """In the loop's own thread. `call_at` comes here too."""
        return super().call_later(delay, self._take, callback, *args, context=context)

    def add_reader(self, fd: int | HasFileno, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        """In the loop's own thread."""
        super().add_reader(fd, self._take, callback, *args)

"""A plain poll loop over ZeroMQ's sockets and the doorbell, and asyncio only for what they don't need.

ZeroMQ's sockets are no file descriptors: their own poll has to ask them. So it is what the event loop sleeps in: as its
selector it serves requests and completions by itself, and returns to the loop when that has something to do: control
messages, timers, and what requests left to it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import selectors
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TypeVarTuple

import zmq

Ts = TypeVarTuple("Ts")

_logger = logging.getLogger(__name__)


class PollSelector(selectors.EpollSelector):
    """`watch` ZeroMQ's sockets and file descriptors; the loop's own ones it registers as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.is_wanted = False  # has the loop been given something to do?
        self._poller = zmq.Poller()
        self._handlers: dict[object, Callable[[], None]] = {}
        self._poller.register(self.fileno(), zmq.POLLIN)

    def watch(self, source: zmq.Socket[bytes] | int, handler: Callable[[], None]) -> None:
        """Call `handler` whenever there is something to read."""
        self._handlers[source] = handler
        self._poller.register(source, zmq.POLLIN)

    def ignore(self, source: zmq.Socket[bytes] | int) -> None:
        """No longer."""
        del self._handlers[source]
        self._poller.unregister(source)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve what comes until the loop has something to do, `timeout` seconds at the most; the events are those of the
        loop's own descriptors.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(math.ceil((end - time.monotonic()) * 1000), 0)
            found = self._poller.poll(left)
            if self._serve(found):
                return super().select(0)
            if self.is_wanted or not found or left == 0:
                self.is_wanted = False
                return []

    def _serve(self, found: Sequence[tuple[object, int]]) -> bool:
        """Are some of them the loop's own?"""
        is_mine = False
        for source, _ in found:
            handler = self._handlers.get(source)
            if handler is None:
                is_mine = True
                continue
            try:
                handler()
            except Exception:
                _logger.exception("a message or a completion failed in a way it never should")
        return is_mine


class PollLoop(asyncio.SelectorEventLoop):
    """An event loop that sleeps in a `PollSelector`, and tells it when it has something to do."""

    def __init__(self, selector: PollSelector) -> None:
        self._poll_selector = selector
        super().__init__(selector)

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        self._poll_selector.is_wanted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._poll_selector.is_wanted = True
        return super().call_at(when, callback, *args, context=context)

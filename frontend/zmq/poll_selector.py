"""A plain poll loop over ZeroMQ's sockets and the doorbell, and asyncio only for what they don't need.

ZeroMQ's sockets are no file descriptors: their own poll has to ask them. So it is what the event loop sleeps in: as its
selector it serves requests and completions by itself, and returns to the loop when that has something to do: control
messages, timers, and what requests left to it.
"""

from __future__ import annotations

import logging
import math
import selectors
from collections.abc import Callable

import zmq

_logger = logging.getLogger(__name__)


class PollSelector(selectors.EpollSelector):
    """`watch` ZeroMQ's sockets and file descriptors; the loop's own ones it registers as ever."""

    def __init__(self) -> None:
        super().__init__()
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
        """Serve what is there, after `timeout` seconds at the latest; the events are those of the loop's own descriptors."""
        is_mine = False
        for source, _ in self._poller.poll(None if timeout is None else math.ceil(max(timeout, 0) * 1000)):
            handler = self._handlers.get(source)
            if handler is None:
                is_mine = True
            else:
                try:
                    handler()
                except Exception:
                    _logger.exception("a message or a completion failed in a way it never should")
        return super().select(0) if is_mine else []

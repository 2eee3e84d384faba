"""The supervisor's view of a front end: what it is told, and what it asks for."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from manager.child_process import ChildProcess
from manager.listener import share_with_the_past
from ringserve.channel import Message
from ringserve.options import ServerOptions

_logger = logging.getLogger(__name__)


class FrontEndProcess(ChildProcess):
    """One front end of a protocol, with a listening socket that outlives it."""

    def __init__(self, protocol: str, index: int, listener: socket.socket) -> None:
        super().__init__(f"frontend {protocol} {index}", ["frontend", protocol, "--index", str(index)])
        self.listener = listener
        self.open = False  # may it accept connections?
        self._want_lane: Callable[[FrontEndProcess, Message], None]

    async def serve(
        self,
        options: ServerOptions,
        introduce: Callable[[FrontEndProcess], None],
        want_lane: Callable[[FrontEndProcess, Message], None],
    ) -> None:
        """Keep the front end running; `introduce` tells a new process all that is served."""
        self._want_lane = want_lane

        async def boot() -> None:
            await self.booted()
            introduce(self)
            if self.open:
                await self.call({"type": "open"})
                _logger.info("%s is back (pid %d)", self.title, self.pid)

        await self.keep(options, {"listener": self.listener.fileno()}, boot)

    def handle(self, message: Message) -> None:
        if message["type"] == "want_lane":
            self._want_lane(self, message)

    async def accept(self) -> None:
        """Let it accept connections from now on. Raises ServingError when it can't."""
        self.open = True
        share_with_the_past(self.listener)
        await self.call({"type": "open"})

"""The supervisor's view of a front end: what it is told, and what it asks for."""

from __future__ import annotations

import socket
from collections.abc import Callable

from manager.child_process import ChildProcess
from ringserve.channel import Message
from ringserve.options import ServerOptions


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
            introduce(self)
            if self.open:
                self.send({"type": "open"})

        await self.keep(options, {"listener": self.listener.fileno()}, boot)

    def handle(self, message: Message) -> None:
        if message["type"] == "want_lane":
            self._want_lane(self, message)

    def accept(self) -> None:
        """Let it accept connections from now on."""
        self.open = True
        self.send({"type": "open"})

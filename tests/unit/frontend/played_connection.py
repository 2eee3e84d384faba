"""Connections of a REST server whose transports the test plays: it says which bytes are one piece, and when they come."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from front_end_stage import Stage, stage
from worker_side import WorkerSide

from frontend.rest.connection import Connection, Connections
from frontend.rest.handler import Handler
from frontend.rest.known_heads import KnownHead, KnownHeads
from frontend.rest.site import Site
from ringserve.options import ServerOptions

#: What answers to the same request need not have in common: times, and whether the server had to ask for a body.
_PASSING = re.compile(rb"\r\n(?:Date|Server-Timing): [^\r]*|HTTP/1\.1 100 Continue\r\n\r\n")
_QUIET_TURNS = 30  # of the event loop without a byte, after which none comes


class NoHeads(KnownHeads):
    """Every request goes through the parser."""

    def find(self, data: bytes) -> tuple[KnownHead | None, int]:
        return None, 0


class PlayedTransport(asyncio.Transport):
    """Of one client."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.written = b""
        self.is_stalled = False
        self._pieces: list[bytes] = []
        self._reads = True
        self._closing = False
        connection.connection_made(self)

    @property
    def answers(self) -> bytes:
        return _PASSING.sub(b"", self.written)

    def give(self, data: bytes) -> None:
        """One piece, which waits while nobody reads."""
        self._pieces.append(data)
        self._deliver()

    def _deliver(self) -> None:
        while self._pieces and self._reads and not self._closing:
            self.connection.data_received(self._pieces.pop(0))

    def stall(self, is_stalled: bool) -> None:
        """The client takes no answers, for a while."""
        if is_stalled != self.is_stalled and not self._closing:
            self.is_stalled = is_stalled
            (self.connection.pause_writing if is_stalled else self.connection.resume_writing)()

    def late(self) -> None:
        """The time is up in which a body is waited for."""
        self.connection._give_up_holding()

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True
        asyncio.get_running_loop().call_soon(self._deliver)

    def write(self, data: Any) -> None:
        if not self._closing:
            self.written += data

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 1 << 20 if self.is_stalled else 0

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    abort = close


class PlayedServer:
    """A lane's worker answers as many requests as it is told to."""

    def __init__(self, on: Stage, worker: WorkerSide, heads: KnownHeads) -> None:
        self.heads = heads
        self._on = on
        self._worker = worker
        self._site = Site(on.front_end, ServerOptions())
        self._site.heads = heads
        self._server = Connections(Handler(self._site).handle, self._site)
        self._clients: list[PlayedTransport] = []

    def connect(self) -> PlayedTransport:
        connection = self._server()
        assert isinstance(connection, Connection)
        self._clients.append(PlayedTransport(connection))
        return self._clients[-1]

    def answer(self, most: int = 1 << 30) -> None:
        count = min(most, self._worker.consumer.waiting)
        if count:
            self._on.answer(self._worker, count)

    async def settle(self) -> None:
        """Everything has come that will come to these clients."""
        quiet = 0
        before: tuple[int, ...] = ()
        while quiet < _QUIET_TURNS:
            self.answer()
            await asyncio.sleep(0)
            now = tuple(len(client.written) + client.is_closing() for client in self._clients)
            quiet = quiet + 1 if now == before else 0
            before = now

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        await self.settle()
        await self._server.shutdown(0)


@asynccontextmanager
async def played_server(heads: KnownHeads) -> AsyncIterator[PlayedServer]:
    async with stage() as on:
        _, worker = await on.open()
        server = PlayedServer(on, worker, heads)
        yield server
        await server.close()

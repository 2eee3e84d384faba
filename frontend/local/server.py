"""The server of local clients: their control connections, on a socket that the supervisor made."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection
from typing import Final

from frontend.front_end import FrontEnd
from frontend.local.client import LocalClient
from frontend.local.lane_desk import LaneDesk
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions

_logger = logging.getLogger(__name__)

_MOST_CLIENTS: Final = 256
_MOST_AT_ONCE: Final = 16  # connections accepted before others have their turn
_PAUSE_SECONDS: Final = 1.0  # before another try to accept, where there is no room for a connection
_DRAIN_POLL_SECONDS: Final = 0.02
_DRAIN_SECONDS: Final = 6.0  # more than a client has to give up its lanes


async def serve(front_end: FrontEnd, listener: socket.socket, options: ServerOptions) -> None:
    """Accept clients once the supervisor says so, until it says stop; then let them give up their lanes."""
    server = LocalServer(front_end, options.max_request_bytes)
    if await front_end.may_open():
        server.listen(listener)
        front_end.listening()
        await front_end.stopping.wait()
        await server.drain()
    server.close()


class LocalServer:
    """All local clients."""

    def __init__(self, front_end: FrontEnd, most_request_bytes: int) -> None:
        self.clients: set[LocalClient] = set()
        self._desk = LaneDesk(front_end, most_request_bytes)
        self._changed: set[str] = set()  # models of which clients are to be told
        self._listener: socket.socket | None = None
        self._loop = asyncio.get_running_loop()
        front_end.catalog.listen(self._note)

    def listen(self, listener: socket.socket) -> None:
        """Accept the connections that come there, which is listened on already."""
        listener.setblocking(False)
        self._listener = listener
        self._loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(_MOST_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _logger.warning("no room for a local client: %s", error.strerror)
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_PAUSE_SECONDS, self._accept_again)
                return
            self._welcome(connection)

    def _accept_again(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _welcome(self, connection: socket.socket) -> None:
        client = LocalClient(connection, self._desk, self.clients.discard)
        self.clients.add(client)
        if len(self.clients) > _MOST_CLIENTS:
            client.refuse(ServingError(Code.RESOURCE_EXHAUSTED, f"There are {_MOST_CLIENTS} local clients already"))

    def _note(self, names: Collection[str]) -> None:
        """The catalog changes, often many times in a row."""
        if not self._changed:
            self._loop.call_soon(self._look)
        self._changed.update(names)

    def _look(self) -> None:
        names, self._changed = self._changed, set()
        for client in list(self.clients):
            client.look(names)

    async def drain(self) -> None:
        """No new clients; those that there are give up their lanes, or lose them."""
        self._stop_listening()
        for client in list(self.clients):
            client.retire_all()
        give_up = self._loop.time() + _DRAIN_SECONDS
        while any(client.has_lanes for client in self.clients) and self._loop.time() < give_up:
            await asyncio.sleep(_DRAIN_POLL_SECONDS)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        self._stop_listening()
        for client in list(self.clients):
            client.close()

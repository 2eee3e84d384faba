"""The admin socket: requests and answers of one line of JSON each, from this user or root on this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from typing import Any, Final

from manager.admin_listener import AdminListener, listen
from manager.admin_verbs import AdminVerbs, error_fields
from manager.administered import Administered
from ringserve.admin_socket import OFF, default_path
from ringserve.errors import Code, ServingError

_logger = logging.getLogger(__name__)

_LONGEST_REQUEST: Final = 1 << 20
_MOST_CONNECTIONS: Final = 32
_IDLE_SECONDS: Final = 60.0  # for a whole request to come
_SEND_SECONDS: Final = 10.0  # for an answer to be taken
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: process, user, group


class AdminServer:
    """Serves the admin verbs on a UNIX socket, several connections at once, the requests of each in order."""

    def __init__(self, path: str, administered: Administered, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self.path = path
        self._verbs = AdminVerbs(administered)
        self._idle_seconds = idle_seconds
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: AdminListener | None = None
        self._server: asyncio.Server | None = None
        self._closed = False

    async def start(self) -> None:
        """Raises ServingError when the socket can't be made; see `listen`."""
        self._listener = await listen(self.path)
        self._server = await asyncio.start_unix_server(self._accept, sock=self._listener.sock, limit=_LONGEST_REQUEST)

    async def close(self) -> None:
        """No new connections, the present ones cut, the file removed. Changes under way are given up."""
        self._closed = True
        if self._listener is not None:
            self._listener.remove()
        if self._server is not None:
            self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._verbs.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:  # connected in the last moment
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError):  # the other side is gone, or takes no answer
            pass
        finally:
            writer.transport.abort()  # whatever was to be sent has been: see _send

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refusal = self._refusal(writer.get_extra_info("socket"))
        if refusal is not None:
            await _send(writer, {"error": error_fields(refusal)})
            return
        while True:
            try:
                line = await self._line(reader)
            except ServingError as error:
                await _send(writer, {"error": error_fields(error)})
                return
            if not line:
                return
            await _send(writer, await self._answer(line))

    def _refusal(self, sock: socket.socket) -> ServingError | None:
        _, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if user not in (os.geteuid(), 0):
            return ServingError(Code.PERMISSION_DENIED, f"user {user} may not use the admin socket")
        if len(self._connections) > _MOST_CONNECTIONS:
            text = f"there are {_MOST_CONNECTIONS} connections to the admin socket already"
            return ServingError(Code.RESOURCE_EXHAUSTED, text)
        return None

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        """The next request; empty when there will be none. Raises ServingError where nothing after it can be understood."""
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return b""
            raise ServingError(Code.INVALID_ARGUMENT, "the request has no end of line") from None
        except asyncio.LimitOverrunError:
            text = f"the request is longer than {_LONGEST_REQUEST} bytes"
            raise ServingError(Code.INVALID_ARGUMENT, text) from None
        except TimeoutError:
            text = f"no request has come within {self._idle_seconds:g} s"
            raise ServingError(Code.DEADLINE_EXCEEDED, text) from None

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"result": await self._verbs.do(line)}
        except ServingError as error:
            return {"error": error_fields(error)}
        except Exception as error:
            _logger.exception("a request to the admin socket failed")
            text = f"the server failed at this request: {type(error).__name__}: {error}"
            return {"error": {"code": Code.INTERNAL.name, "message": text}}


async def open_admin(value: str, rest_port: int, administered: Administered) -> AdminServer | None:
    """The admin server that --admin_socket (`value`) asks for, started; None when there is to be none.

    A path that was asked for and can't be had raises ServingError. Without the default one a server still serves: there may
    be no folder to write to at all.
    """
    if value == OFF:
        return None
    try:
        server = AdminServer(value or default_path(rest_port), administered)
        await server.start()
    except ServingError as error:
        if value:
            raise
        _logger.warning("no admin socket: %s", error.message)
        return None
    _logger.info("admin socket: %s", server.path)
    return server


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    """Returns when nothing is left in this process. Raises TimeoutError when the other side doesn't read."""
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(_SEND_SECONDS):
        await writer.drain()

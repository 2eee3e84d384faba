"""A REST server over a `Stage`, on a real port, and a client that speaks HTTP byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from front_end_stage import Stage

from frontend.rest.connection import Connections
from frontend.rest.handler import Handler
from frontend.rest.site import Site
from ringserve.options import ServerOptions

PREDICT = "/v1/models/m:predict"


@asynccontextmanager
async def served(on: Stage, options: ServerOptions | None = None, drain: float = 5.0) -> AsyncIterator[int]:
    """The port."""
    site = Site(on.front_end, options or ServerOptions())
    runner = web.ServerRunner(Connections(Handler(site).handle, site), shutdown_timeout=drain)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class RawAnswer:
    """A status, headers by lower-case name, and a body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(
        self, body: bytes | str, path: str = PREDICT, *headers: str, method: str = "POST", version: str = "1.1"
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        lines = (f"{method} {path} HTTP/{version}", "Host: x", f"Content-Length: {len(data)}", *headers, "", "")
        self.writer.write("\r\n".join(lines).encode() + data)

    async def answer(self, has_body: bool = True) -> RawAnswer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]) if has_body else 0)
        return RawAnswer(int(status.split()[1]), headers, body)

    async def ended(self) -> bool:
        """Whether the server closes the connection without another byte."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()

"""A client on a connection that stays open, for many at once on one event loop."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Self

from end_to_end.http_answer import LIMIT, Answer, Body, as_bytes


class DroppedError(Exception):
    """The connection ended before a byte of the answer came: the server may never have seen the question."""


class TornError(Exception):
    """The connection ended in the middle of an answer."""


class KeepAliveClient:
    """Asks one question after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Raises OSError when nobody listens."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 26))

    async def ask(self, method: str, path: str, body: Body = None) -> Answer:
        """Raises DroppedError or TornError when the connection ends, TimeoutError when nothing comes."""
        content = as_bytes(body) or b""
        head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        return await self.answer()

    async def answer(self) -> Answer:
        """The next answer."""
        async with asyncio.timeout(LIMIT):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if getattr(error, "partial", b""):
                    raise TornError(error) from error
                raise DroppedError(error) from error
            first, *lines = head.decode("latin-1").rstrip().split("\r\n")
            headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
            try:
                content = await self._reader.readexactly(int(headers["content-length"]))
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                raise TornError(error) from error
        return Answer(int(first.split()[1]), headers, content)

    async def ask_json(self, path: str, body: Body) -> object:
        """What a question that must be answered is answered with."""
        answer = await self.ask("POST", path, body)
        assert answer.status == 200, answer
        document: object = json.loads(answer.body)
        return document

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

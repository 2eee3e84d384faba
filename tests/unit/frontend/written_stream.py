"""A call's stream without a transport: what the client sends is put in, what is written is taken out."""

from __future__ import annotations

import asyncio


class WrittenStream:
    """Implements `frontend.grpc.stream.Stream`. `room`: messages that are written before a write waits for `take`."""

    timeout = 0

    def __init__(self, *messages: bytes, ended: bool = True, room: int = 0) -> None:
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._written: asyncio.Queue[bytes] = asyncio.Queue(room)
        for message in messages:
            self.send(message)
        if ended:
            self.send(None)

    def metadata(self, name: str) -> str | None:
        return None

    async def read(self) -> bytes | None:
        return await self._messages.get()

    async def write(self, message: bytes) -> None:
        await self._written.put(message)

    def send(self, message: bytes | None) -> None:
        """None: the client has sent its last."""
        self._messages.put_nowait(message)

    async def take(self) -> bytes:
        """The next message that was written."""
        async with asyncio.timeout(10):
            return await self._written.get()

    @property
    def untaken(self) -> int:
        """Messages that were written and not taken."""
        return self._written.qsize()

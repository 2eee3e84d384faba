"""The server of local clients between a supervisor that the test plays and clients that it plays too, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from front_end_stage import Stage, stage, until

from frontend.local.server import LocalServer
from ringserve.channel import Decoder, Message, _encode, _receive
from ringserve.signature import DEFAULT_SIGNATURE
from shm.lane import Lane
from shm.layout import LaneSpec

MOST_REQUEST_BYTES = 1 << 16
LIMIT_SECONDS = 30.0
HELLO: Message = {"type": "hello", "v": 1, "pid": 1}
OPEN: Message = {"type": "open", "model": "m", "signature": DEFAULT_SIGNATURE, "inputs": None}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class Client:
    """A local client that sends what the test wants."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.setblocking(False)
        self._decoder = Decoder()
        self._got: list[tuple[Message, list[int]]] = []
        self.ended = False

    async def send(self, *messages: Message) -> None:
        await self.send_bytes(b"".join(_encode(message, ()) for message in messages))

    async def send_bytes(self, data: bytes) -> None:
        """All of it, or as much as the server takes before it closes the connection."""
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def read(self) -> bool:
        """What is there; was there anything, or the end?"""
        try:
            data, fds = _receive(self.socket)
        except BlockingIOError:
            return False
        except ConnectionError:
            data, fds = b"", []
        self.ended = not data
        self._got += self._decoder.feed(data, fds)
        return True

    async def receive(self) -> tuple[Message, list[int]]:
        await until(lambda: self._got or (self.read() and self._got) or self.ended)
        assert self._got, "the server has closed the connection"
        return self._got.pop(0)

    async def message(self) -> Message:
        message, fds = await self.receive()
        assert not fds
        return message

    async def hello(self) -> Message:
        await self.send(HELLO)
        return await self.message()

    async def end(self) -> None:
        """The server closes the connection, and says nothing more."""
        await until(lambda: self.ended or self.read())
        await until(lambda: self.ended or (self.read() and self.ended))
        assert not self._got, self._got

    def close(self) -> None:
        self.socket.close()
        for _, fds in self._got:
            for fd in fds:
                os.close(fd)


class LocalStage:
    """All versions are of the model m; `front` is the front end with its supervisor."""

    def __init__(self, front: Stage, folder: str) -> None:
        self.front = front
        self.path = f"{folder}/shm.sock"
        self.clients: list[Client] = []
        self._numbers = 0
        self.server = LocalServer(front.front_end, MOST_REQUEST_BYTES)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(512)
        self.server.listen(listener)

    def connect(self) -> Client:
        client = Client(self.path)
        self.clients.append(client)
        return client

    async def client(self) -> Client:
        """One that has said hello."""
        client = self.connect()
        await client.hello()
        return client

    async def order(self) -> Message:
        """What the front end asks the supervisor for."""
        await until(lambda: "local_lane" in self.front.types())
        return self.front.told.pop(self.front.types().index("local_lane"))

    async def make_lane(self, worker: str = "cpu:0", columns: Any = None) -> tuple[int, socket.socket]:
        """Be the supervisor that makes the lane it is asked for: the lane's number, and the worker's end of the bell."""
        order = await self.order()
        self._numbers += 1
        lane = Lane.create(LaneSpec.from_wire(columns, MOST_REQUEST_BYTES), {})
        ours, theirs = socket.socketpair()
        message = {"lane": self._numbers, "columns": columns, "ring_bytes": MOST_REQUEST_BYTES, "most_rows": 7}
        self.front.say("told", [lane.segment.fd, theirs.fileno()], call=order["call"], worker=worker, **message)
        theirs.close()
        lane.close()
        return self._numbers, ours

    async def open(self, client: Client, **asked: Any) -> tuple[int, socket.socket, Message]:
        """A lane for a client, which has the descriptors closed at once; the worker's end; what the client was told."""
        await client.send({**OPEN, "call": 1, **asked})
        number, bell = await self.make_lane()
        message, fds = await client.receive()
        assert len(fds) == 2
        for fd in fds:
            os.close(fd)
        return number, bell, message

    async def dropped(self) -> int:
        """The lane that the supervisor is told to drop."""
        await until(lambda: "drop_local" in self.front.types())
        number: int = self.front.told.pop(self.front.types().index("drop_local"))["lane"]
        return number


@asynccontextmanager
async def local_stage() -> AsyncIterator[LocalStage]:
    """Nothing that was opened may be left, but what the script itself has failed to close."""
    with tempfile.TemporaryDirectory() as folder:
        async with stage() as front:
            gc.collect()  # what an earlier test has left goes now, not while this one counts
            before = open_files()
            made = LocalStage(front, folder)
            try:
                yield made
            finally:
                for client in made.clients:
                    client.close()
                made.server.close()
            await until(lambda: open_files() == before)


def play(script: Callable[[LocalStage], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        async with asyncio.timeout(LIMIT_SECONDS), local_stage() as on:
            await script(on)

    asyncio.run(scene())

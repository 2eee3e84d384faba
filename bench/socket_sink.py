"""The floor for large bodies: a server that takes so many bytes, answers with one, and takes the next.

A program; it prints its port. The bytes go where they would have to be for someone to use them: one after the other into
memory that is there for them.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import cast

import uvloop

from ringserve.child import become


class Sink(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, size: int) -> None:
        self._buffer = memoryview(bytearray(size))
        self._at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        self._at += nbytes
        if self._at == len(self._buffer):
            self._at = 0
            self._transport.write(b"+")


async def _serve(size: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Sink(size), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True)
    become("bench socket sink")
    uvloop.run(_serve(parser.parse_args().size))


if __name__ == "__main__":
    main()

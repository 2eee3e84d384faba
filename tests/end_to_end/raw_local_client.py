"""A local client by hand: messages over the control socket, words in the lane's memory, bytes over the bell. It checks
nothing, and so can say and write what no client of ours would.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import msgpack

from ringserve.channel import Decoder, _receive
from shm.lane import Lane
from shm.layout import (
    COMPLETED,
    DESCRIPTOR_WORDS,
    FLAGS_SHIFT,
    LENGTH_WORD,
    POSITION_WORD,
    RELEASED,
    ROWS_WORD,
    SUBMITTED,
    VERDICT_WORD,
    LaneSpec,
)
from shm.segment import Segment

LIMIT = 20.0
_HEAD = struct.Struct("<II")


def framed(message: Any) -> bytes:
    body = msgpack.packb(message)
    return bytes(_HEAD.pack(len(body), 0) + body)


class RawLane:
    """`lane` has the words, `bell` is a socket that never blocks."""

    def __init__(self, terms: dict[str, Any], segment: int, bell: int) -> None:
        self.terms = terms
        self.spec = LaneSpec.from_wire(terms["columns"], terms["ring_bytes"])
        self.lane = Lane(Segment(segment, self.spec.size), self.spec)
        self.words = self.lane.words
        self.fd = segment
        self.bell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, bell)
        self.bell.setblocking(False)

    def ring(self) -> None:
        """Raises OSError where the lane is over."""
        with suppress(BlockingIOError):
            self.bell.send(b"\0")

    @property
    def is_over(self) -> bool:
        try:
            return not self.bell.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def descriptor(self, number: int) -> memoryview:
        base = number % self.spec.slots * DESCRIPTOR_WORDS
        return self.lane.descriptor_words[base : base + DESCRIPTOR_WORDS]

    def write(self, number: int, position: int, length: int, rows: int, flags: int = 0) -> None:
        words = self.descriptor(number)
        words[:] = memoryview(bytes(8 * DESCRIPTOR_WORDS)).cast("Q")
        words[1] = time.monotonic_ns()
        words[POSITION_WORD], words[LENGTH_WORD] = position, length
        words[ROWS_WORD] = rows & 0xFFFFFFFF | flags << FLAGS_SHIFT

    def submit(self, position: int, length: int = 0, rows: int = 0, flags: int = 0) -> int:
        """One more request; its number."""
        number = self.words[SUBMITTED]
        self.write(number, position, length, rows, flags)
        self.words[SUBMITTED] = number + 1
        self.ring()
        return int(number)

    def code(self, number: int) -> int:
        """What a request has ended with, which is waited for; -1: the lane is over."""
        give_up = time.monotonic() + LIMIT
        while self.words[COMPLETED] <= number:
            if self.is_over and self.words[COMPLETED] <= number:
                return -1
            assert time.monotonic() < give_up, "no answer"
            time.sleep(0.0002)
        return int(self.descriptor(number)[VERDICT_WORD] & 0xFFFF)

    def release(self) -> None:
        self.words[RELEASED] = self.words[COMPLETED]

    def close(self) -> None:
        self.bell.close()
        self.lane.close()


class RawLocalClient:
    """A control connection."""

    def __init__(self, path: str, hello: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(LIMIT)
        self.socket.connect(path)
        self._decoder = Decoder()
        self._got: list[tuple[dict[str, Any], list[int]]] = []
        self._calls = 0
        if hello:
            self.send({"type": "hello", "v": 1, "pid": 1})
            assert self.receive()[0]["type"] == "welcome"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def send(self, message: Any) -> None:
        self.socket.sendall(framed(message))

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message and its descriptors. Raises EOFError."""
        while not self._got:
            data, fds = _receive(self.socket)
            if not data:
                raise EOFError
            self._got += self._decoder.feed(data, fds)
        return self._got.pop(0)

    def ask_for_lane(self, model: str, signature: str = "", **fields: Any) -> None:
        self._calls += 1
        self.send({"type": "open", "call": self._calls, "model": model, "signature": signature, "inputs": None, **fields})

    def open(self, model: str, signature: str = "", **fields: Any) -> RawLane:
        """Fails where there is none."""
        self.ask_for_lane(model, signature, **fields)
        while True:
            message, fds = self.receive()
            if message["type"] == "lane":
                return RawLane(message, *fds)
            assert message["type"] in {"retire", "close"}, message

    @property
    def is_closed(self) -> bool:
        """By the server, which is waited for."""
        with suppress(ConnectionError):
            while self.socket.recv(1 << 16):
                pass
        return True

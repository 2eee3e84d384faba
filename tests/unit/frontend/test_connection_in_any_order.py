"""Connections, lanes and versions under requests, pieces, answers, errors, time-outs and departures in any order.

What becomes of a request is decided when the worker answers it, or its time is up; what its client reads must be that.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
import uvloop
from front_end_stage import M1, Stage, stage, until
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_stage import PREDICT, RawAnswer, RawClient, served
from worker_side import WorkerSide

from frontend.open_lane import TIMED_OUT
from ringserve.options import ServerOptions
from shm.layout import PACKED
from shm.packed import PackedTensor

FAR = 1 << 62  # ns: later than any deadline
CLIENTS = 3
HOUR = 3_600_000  # ms

#: (status, what the body says) of a request.
Verdict = tuple[int, Any]


class Send(NamedTuple):
    """A client has so many more requests to send."""

    client: int
    kind: str
    count: int


class Push(NamedTuple):
    """Bytes of them go out; 0: all."""

    client: int
    size: int


class Turns(NamedTuple):
    """Of the event loop."""

    count: int


class Answer(NamedTuple):
    """The worker completes so many requests, if there are as many, in one batch or in several."""

    count: int
    together: bool


class Fail(NamedTuple):
    """The worker completes a request with this error."""

    code: int


class Expire(NamedTuple):
    """The time of all requests in the lane is up."""


class Leave(NamedTuple):
    """A client goes away, and another comes."""

    client: int
    politely: bool


class Open(NamedTuple):
    """The lane is there."""


Step = Send | Push | Turns | Answer | Fail | Expire | Leave | Open
KINDS = ("plain", "packed", "chunked", "gzip", "compressed answer", "malformed", "unknown", "status")

clients = st.integers(0, CLIENTS - 1)
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(Send, clients, st.sampled_from(KINDS), st.integers(1, 4)),
    st.builds(Send, clients, st.just("plain"), st.sampled_from([1, 3, 40, 100])),  # aiohttp parses 32 ahead
    st.builds(Push, clients, st.just(0) | st.integers(1, 400)),
    st.builds(Turns, st.integers(1, 6)),
    st.builds(Answer, st.integers(1, 5), st.booleans()),
    st.builds(Fail, st.sampled_from([3, 13, 14])),
    st.builds(Expire),
    st.builds(Leave, clients, st.booleans()),
    st.builds(Open),
)


def request(kind: str, number: int) -> bytes:
    """As it goes over the wire."""
    path, body, headers = PREDICT, b'{"instances": [%d]}' % number, ["Host: x"]
    if kind == "packed":
        body = b'{"instances": [[%d]]}' % number  # rows that the lane has no columns for
    elif kind == "compressed answer":
        headers.append("Accept-Encoding: gzip")
    elif kind == "gzip":
        body = gzip.compress(body)
        headers.append("Content-Encoding: gzip")
    elif kind == "malformed":
        body = b'{"instances": [%d' % number
    elif kind == "unknown":
        path = f"/v1/models/m{number}:predict"
    elif kind == "status":
        return f"GET /v1/models/m{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    if kind == "chunked":
        headers.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])
    else:
        headers.append(f"Content-Length: {len(body)}")
    return "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""]).encode() + body


def verdict(answer: RawAnswer) -> Verdict:
    body = gzip.decompress(answer.body) if "content-encoding" in answer.headers else answer.body
    document = json.loads(body)
    if answer.status == 200:
        value = document["predictions"][0]
        return 200, value[0] if isinstance(value, list) else value
    assert list(document) == ["error"]
    return answer.status, document["error"]


class Client:
    """What it has asked, and what of that is not sent yet."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        self.asked: list[tuple[str, int]] = []
        self.unsent = b""

    def push(self, size: int) -> None:
        size = size or len(self.unsent)
        self.raw.writer.write(self.unsent[:size])
        self.unsent = self.unsent[size:]

    async def leave(self, politely: bool) -> None:
        if politely:
            self.raw.writer.write_eof()
        else:
            self.raw.writer.transport.abort()
        with suppress(ConnectionError):
            await self.raw.reader.read()


class World:
    """All of it, and what is to become of each request."""

    def __init__(self, on: Stage, port: int) -> None:
        self.on = on
        self.port = port
        self.clients: list[Client] = []
        self.worker: WorkerSide | None = None
        self.verdicts: dict[int, Verdict] = {}
        self.numbers = 0

    async def connect(self) -> Client:
        return Client(RawClient(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)))

    async def take(self, step: Step) -> None:
        match step:
            case Send(client, kind, count):
                for _ in range(count):
                    self.numbers += 1
                    self.clients[client].asked.append((kind, self.numbers))
                    self.clients[client].unsent += request(kind, self.numbers)
            case Push(client, size):
                self.clients[client].push(size)
            case Turns(count):
                for _ in range(count):
                    await asyncio.sleep(0)
            case Answer(count, together):
                self.answer(count, together)
            case Fail(code):
                self.fail(code)
            case Expire():
                self.expire()
            case Leave(client, politely):
                await self.clients[client].leave(politely)
                self.clients[client] = await self.connect()
            case Open():
                await self.open()

    async def open(self) -> None:
        if self.worker is None:
            self.worker = self.on.lane()
            await self.on.heard()

    def waiting(self) -> int:
        return self.worker.consumer.waiting if self.worker is not None else 0

    def number(self, at: int) -> int:
        """What the request is about that has this place in the lane."""
        assert self.worker is not None
        consumer = self.worker.consumer
        position, _, _, flags, _ = consumer.describe(at)
        if flags & PACKED:
            return int(memoryview(consumer.request(at)[0].data).cast("B").cast("f")[0])
        return int(consumer.lane.inputs[0][position])

    def decide(self, number: int, outcome: Verdict) -> None:
        self.verdicts.setdefault(number, outcome)  # the first word counts

    def answer(self, count: int, together: bool) -> None:
        """Rows that lie in the columns together; packed requests one by one."""
        while self.worker is not None and count and self.waiting():
            taken = self.worker.consumer.taken
            number = self.number(taken)
            if self.worker.consumer.describe(taken)[3] & PACKED:
                self.worker.answer(1, [PackedTensor(1, (1, 1), memoryview(bytes(float_bytes(2 * number))))])
                batch = 1
            else:
                batch = self.columns(min(count, self.waiting())) if together else 1
                self.worker.answer(batch)
            count -= batch
            if not together:
                self.on.bell.ring()
        self.on.bell.ring()

    def columns(self, most: int) -> int:
        """How many requests follow each other in the columns, whose answers are now decided."""
        raise NotImplementedError

    def fail(self, code: int) -> None:
        if self.worker is not None and self.waiting():
            number = self.number(self.worker.consumer.taken)
            self.worker.fail(code, b"not %d" % number)
            self.decide(number, ({3: 400, 13: 500, 14: 503}[code], f"not {number}"))
            self.on.bell.ring()

    def expire(self) -> None:
        raise NotImplementedError

"""A front end, its clients and its worker, and what is to become of each request, in whatever order; for tests."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import suppress
from typing import Any

from any_order_steps import CLIENTS, Answer, Expire, Fail, Leave, Open, Push, Send, Step, Turns, request
from front_end_stage import M1, Stage
from rest_stage import RawAnswer, RawClient
from worker_side import WorkerSide, array

from frontend.catalog import Version
from frontend.open_lane import TIMED_OUT
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import PACKED
from shm.packed import PackedTensor

FAR = 1 << 62  # ns: later than any deadline
_HTTP = {3: 400, 13: 500, 14: 503}

#: (status, the first value of the answer or the error's text) of a request.
Verdict = tuple[int, Any]


def verdict(answer: RawAnswer) -> Verdict:
    document = json.loads(gzip.decompress(answer.body) if "content-encoding" in answer.headers else answer.body)
    if answer.status == 200:
        (value,) = document["predictions"]
        return 200, value[0] if isinstance(value, list) else value
    assert list(document) == ["error"]
    return answer.status, document["error"]


class Client:
    """What it has asked, and what of that is not sent yet."""

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        self.asked: list[tuple[str, int]] = []
        self.unsent = b""

    def push(self, size: int = 0) -> None:
        size = size or len(self.unsent)
        self.raw.writer.write(self.unsent[:size])
        self.unsent = self.unsent[size:]

    async def close(self) -> None:
        self.raw.writer.close()
        with suppress(ConnectionError):
            await self.raw.writer.wait_closed()


class AnyOrder:
    """Requests' verdicts fall when the worker completes them or their time is up."""

    def __init__(self, on: Stage, port: int, version: Version) -> None:
        self.on = on
        self.clients: list[Client] = []
        self.left: list[Client] = []
        self._port = port
        self._endpoint = version.endpoint(DEFAULT_SIGNATURE)
        self._worker: WorkerSide | None = None
        self._verdicts: dict[int, Verdict] = {}
        self._numbers = 0

    async def begin(self) -> None:
        for _ in range(CLIENTS):
            self.clients.append(await self._connected())

    async def _connected(self) -> Client:
        return Client(RawClient(*await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 26)))

    async def take(self, step: Step) -> None:
        match step:
            case Send(client, kind, count, at_once):
                for _ in range(count):
                    self._numbers += 1
                    self.clients[client].asked.append((kind, self._numbers))
                    self.clients[client].unsent += request(kind, self._numbers)
                if at_once:
                    self.clients[client].push()
            case Push(client, size):
                self.clients[client].push(size)
            case Turns(count):
                for _ in range(count):
                    await asyncio.sleep(0)
            case Answer(count, one_by_one):
                self.answer(count, one_by_one)
            case Fail(code):
                self._fail(code)
            case Expire():
                self._expire()
            case Leave(client, politely):
                await self._leave(client, politely)
            case Open():
                await self.open()

    async def open(self) -> None:
        if self._worker is None:
            self._worker = self.on.lane()
            await self.on.heard()

    def answer(self, most: int, one_by_one: bool = False) -> None:
        worker = self._worker
        if worker is None:
            return
        for _ in range(min(most, worker.consumer.waiting)):
            at = worker.consumer.taken
            number = self._number(worker, at)
            self._verdicts.setdefault(number, (200, 2.0 * number))
            worker.answer(
                1, [PackedTensor(1, (1, 1), array(2.0 * number).tobytes())] if self._is_packed(worker, at) else None
            )
            if one_by_one:
                self.on.bell.ring()
        self.on.bell.ring()

    def _fail(self, code: int) -> None:
        worker = self._worker
        if worker is not None and worker.consumer.waiting:
            number = self._number(worker, worker.consumer.taken)
            self._verdicts.setdefault(number, (_HTTP[code], f"not {number}"))
            worker.fail(code, b"not %d" % number)
            self.on.bell.ring()

    def _expire(self) -> None:
        for lane in self._endpoint.lanes:
            assert self._worker is not None
            for pending in lane._waiting:  # those that the worker has completed unheard, too
                self._verdicts[self._number(self._worker, pending.number)] = (504, TIMED_OUT)
            lane.expire(FAR)

    @staticmethod
    def _is_packed(worker: WorkerSide, at: int) -> bool:
        return bool(worker.consumer.describe(at)[3] & PACKED)

    def _number(self, worker: WorkerSide, at: int) -> int:
        """What the request is about that has this place in the lane."""
        if self._is_packed(worker, at):
            return int(memoryview(worker.consumer.request(at)[0].data).cast("f")[0])
        return int(worker.consumer.lane.inputs[0][worker.consumer.describe(at)[0]])

    async def _leave(self, index: int, politely: bool) -> None:
        client = self.clients[index]
        self.clients[index] = await self._connected()
        if politely:
            client.raw.writer.write_eof()
            self.left.append(client)
        else:
            client.raw.writer.transport.abort()
            with suppress(ConnectionError):
                await client.raw.reader.read()
            await client.close()

    async def check(self, client: Client, whole: bool) -> None:
        """Its answers are right and in order. `whole`: none is missing; otherwise the connection ends after some of them."""
        for kind, number in client.asked:
            try:
                found = verdict(await client.raw.answer())
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                assert not whole and not getattr(error, "partial", b""), f"{kind} {number} has no answer, or half of one"
                return
            expected = self._expected(kind, number)
            assert found == expected, f"{kind} {number}: {found}, not {expected}"
        if not whole:
            assert await client.raw.ended()

    def _expected(self, kind: str, number: int) -> Verdict:
        if kind == "malformed":
            end = len(f'{{"instances": [{number}')
            return 400, f"JSON Parse error: Missing a comma or ']' after an array element. at offset: {end}"
        if kind == "unknown":
            return 404, f"Servable not found for request: Latest(m{number})"
        if kind == "status":
            return 404, f"Could not find any versions of model m{number}"
        return self._verdicts[number]

    async def retire(self) -> None:
        """The version goes once nobody holds it."""
        self.on.say("retire", servable=M1, call=7)
        while {"type": "answer", "call": 7} not in self.on.told:
            await asyncio.sleep(0)

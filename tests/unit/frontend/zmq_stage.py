"""A ZeroMQ front end without sockets: messages go to its dispatcher, and its answers are kept, by peer."""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import msgpack
import numpy as np
from front_end_stage import DECLARED, Stage, stage, until
from worker_side import SPEC, WorkerSide, lane_pair

from frontend.endpoint import Endpoint, Form
from frontend.open_lane import OpenLane
from frontend.zmq.dispatcher import Dispatcher
from frontend.zmq.router import Router
from ringserve.errors import ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from shm.doorbell import Doorbell
from shm.layout import LaneSpec
from shm.packed import PackedTensor


class Peer(NamedTuple):
    """A client; `delimited`: its messages begin with an empty frame, as REQ sockets' do."""

    identity: bytes
    delimited: bool = False


PEER = Peer(b"client")
#: What became of a request: its rows twice, an error, or tensors of its own.
Fate = ServingError | Sequence[PackedTensor] | None


def pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def identifier(number: int) -> bytes:
    """As the client library makes them."""
    return struct.pack(">Q", number)


def asking(identifier: Any, *numbers: Any, shape: Sequence[int] | None = None, **fields: Any) -> bytes:
    """A predict request of floats."""
    array = np.array(numbers, "<f4")
    inputs = [["x", "float", list(array.shape if shape is None else shape), array.tobytes()]]
    return pack({"v": 1, "model": "m", **fields, "id": identifier, "inputs": inputs})


class Sent:
    """Stands for the router: what was sent."""

    def __init__(self) -> None:
        self.parts: list[tuple[Peer, Sequence[bytes]]] = []
        self.behind: set[bytes] = set()

    def is_behind(self, identity: bytes) -> bool:
        return identity in self.behind

    def send(self, identity: bytes, delimited: bool, parts: Sequence[bytes]) -> None:
        self.parts.append((Peer(identity, delimited), [bytes(part) for part in parts]))

    def send_each(self, identities: Sequence[bytes], answers: Sequence[bytes]) -> None:
        for identity, answer in zip(identities, answers, strict=True):
            self.send(identity, False, (answer,))

    def answers(self, peer: Peer = PEER) -> list[dict[str, Any]]:
        """All answers to a peer, those of one message one by one; outputs in frames are put where they belong."""
        found: list[dict[str, Any]] = []
        for to, (header, *frames) in self.parts:
            if to == peer:
                message = msgpack.unpackb(header, unicode_errors="surrogateescape")
                for answer in message if isinstance(message, list) else [message]:
                    for output in answer.get("outputs", ()):
                        if isinstance(output[3], int):
                            output[3] = frames[output[3]]
                    found.append(answer)
        return found


def values(answer: dict[str, Any], alias: str = "y") -> Any:
    """The numbers of an output, or (code, text) of an error."""
    if "error" in answer:
        return answer["code"], answer["error"]
    for name, dtype, shape, data in answer["outputs"]:
        if name == alias:
            if dtype == "string":
                return data
            storage = {"float": "<f4", "int64": "<i8", "int32": "<i4", "double": "<f8"}[dtype]
            return np.frombuffer(data, storage).reshape(shape).tolist()
    raise AssertionError(f"{alias} is not in {answer}")


class ZmqStage:
    """`on`: the front end; `sent`: its answers."""

    def __init__(self, on: Stage, *flags: tuple[str, Any]) -> None:
        self.on = on
        self.sent = Sent()
        self.options = ServerOptions(**dict(flags))
        self.dispatcher = Dispatcher(on.front_end, cast(Router, self.sent), self.options)
        self._numbers = itertools.count(100)

    def take(self, *messages: bytes, peer: Peer = PEER, frames: Sequence[memoryview] = ()) -> None:
        """One burst."""
        if frames or peer.delimited:
            for message in messages:
                self.dispatcher.take(*peer, message, frames)
        else:
            self.dispatcher.take_burst([peer.identity] * len(messages), messages)
        self.dispatcher.flush()

    async def answers(self, count: int, peer: Peer = PEER) -> list[dict[str, Any]]:
        """When there are so many; there must not be more."""
        await until(lambda: len(self.sent.answers(peer)) >= count)
        for _ in range(3):
            await asyncio.sleep(0)
        found = self.sent.answers(peer)
        assert len(found) == count, found
        return found

    async def serve(self, declared: Signature = DECLARED, number: int = 1) -> Endpoint:
        return (await self.on.serve(number, declared)).endpoint(DEFAULT_SIGNATURE)

    def small_lane(
        self, endpoint: Endpoint, worker: str = "cpu:0", spec: LaneSpec = SPEC, form: Form | None = ((1, ()),)
    ) -> tuple[OpenLane, WorkerSide]:
        """A lane of few slots, as if the supervisor had sent it."""
        lane, side = lane_pair(worker, spec)
        lane.number = next(self._numbers)
        front_end = self.on.front_end
        if worker not in front_end._workers:
            front_end._workers[worker] = Doorbell(os.dup(self.on.worker_bell.fd))
        front_end._lanes.append(lane)
        endpoint.add(lane, None, form)
        return lane, side

    def settle(self, worker: WorkerSide, fates: Sequence[Fate], rung: bool = True) -> None:
        """Complete the oldest requests, together."""
        settle(worker, fates)
        if rung:
            self.on.bell.ring()

    def holders(self, number: int = 1) -> int:
        handle = self.on.front_end.catalog._loaded.get(ServableId("m", number))
        return 0 if handle is None else handle.holders

    def nothing_is_left(self) -> None:
        """No handle, no slot, no request."""
        assert self.dispatcher.count.outstanding == 0
        assert not self.dispatcher._tasks
        for number in (1, 2, 3):
            assert self.holders(number) == 0
        for lane in self.on.front_end._lanes:
            assert lane.idle and lane.outstanding_rows == 0
            assert lane.producer.outstanding == 0
            assert lane.producer._rows.empty and lane.producer._bytes.empty

    def counted(self) -> dict[tuple[str, ...], int]:
        """Requests by their labels: model, version, signature, API, entry point, code."""
        return {labels: words[0] for family, labels, words in self.on.counters.read() if family == "requests"}


@np.errstate(all="ignore")
def settle(worker: WorkerSide, fates: Sequence[Fate]) -> None:
    """Complete the oldest requests in one batch; rows are answered with the sum of their inputs twice, in each output."""
    consumer = worker.consumer
    ticket = consumer.take(len(fates))
    begun = time.monotonic_ns()
    for number, fate in zip(range(ticket.start, ticket.end), fates, strict=True):
        position, _, rows, flags, _ = consumer.describe(number)
        if isinstance(fate, ServingError):
            consumer.set_status(number, int(fate.code))
            text = fate.message.encode()
            assert consumer.answer(number, [PackedTensor(0, (len(text),), text)])
        elif fate is not None:
            assert consumer.answer(number, fate)
        elif flags & 1:
            sent = [np.frombuffer(tensor.data, "<f4").reshape(tensor.shape) for tensor in consumer.request(number)]
            doubled = np.asarray(2 * sum(sent), "<f4")
            assert consumer.answer(number, [PackedTensor(1, doubled.shape, doubled.tobytes())])
        else:
            lane = consumer.lane
            total = np.sum([column[position : position + rows] for column in lane.inputs], axis=0)
            for output in lane.outputs:
                output[position : position + rows] = (2 * total).reshape(rows, *[1] * (output.ndim - 1))
    assert consumer.finish(ticket, begun, time.monotonic_ns(), len(fates))


@asynccontextmanager
async def zmq_stage(**flags: Any) -> AsyncIterator[ZmqStage]:
    async with stage() as on:
        yield ZmqStage(on, *flags.items())

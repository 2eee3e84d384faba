"""Lanes with both their sides in one process: the front end's is real, the test plays the worker."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec

import numpy as np

from frontend.open_lane import OpenLane
from frontend.tensors import Array, Tensor
from ringserve.errors import Code
from ringserve.tensor import BY_NAME
from shm.consumer import LaneConsumer
from shm.lane import Lane
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import LaneProducer

P = ParamSpec("P")

SLOTS, ROWS, RING = 8, 32, 8192
NUMBER = Column("<f4", ())
SPEC = LaneSpec((NUMBER,), (NUMBER,), ROWS, SLOTS, RING, RING)


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that runs on an event loop, not for ever."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


def numbers(*values: Any, dtype: str = "float") -> Tensor:
    array = np.array(values, dtype=BY_NAME[dtype].numpy)
    return Tensor(BY_NAME[dtype], array.shape, array)


def array(*values: float) -> Array:
    return np.array(values, dtype="<f4")


class WorkerSide:
    """A lane's answers. Rows are answered with twice themselves."""

    def __init__(self, lane: Lane, spec: LaneSpec = SPEC) -> None:
        self.consumer = LaneConsumer(lane)
        self.spec = spec

    def request(self) -> list[PackedTensor]:
        """The oldest waiting request, which is a packed one."""
        return self.consumer.request(self.consumer.taken)

    def answer(self, count: int = 1, tensors: Sequence[PackedTensor] | None = None) -> None:
        """Complete the oldest requests, packed ones with these tensors."""
        ticket = self.consumer.take(count)
        begun = time.monotonic_ns()
        for number in range(ticket.start, ticket.end):
            if tensors is not None:
                assert self.consumer.answer(number, tensors)
                continue
            position, _, rows, _, _ = self.consumer.describe(number)
            lane = self.consumer.lane
            lane.outputs[0][position : position + rows] = 2 * lane.inputs[0][position : position + rows]
        assert self.consumer.finish(ticket, begun, time.monotonic_ns(), count)

    def fail(self, code: Code | int, text: bytes | None = None) -> None:
        """Complete the oldest request with an error."""
        ticket = self.consumer.take(1)
        self.consumer.set_status(ticket.start, int(code))
        if text is not None:
            assert self.consumer.answer(ticket.start, [PackedTensor(0, (len(text),), text)])
        assert self.consumer.finish(ticket)

    def flags(self) -> list[int]:
        """Of the requests that wait."""
        taken = self.consumer.taken
        return [self.consumer.describe(number)[3] for number in range(taken, taken + self.consumer.waiting)]

    def abandoned(self, number: int) -> bool:
        return bool(self.consumer.describe(number)[3] & 2)


def lane_pair(worker: str = "cpu:0", spec: LaneSpec = SPEC) -> tuple[OpenLane, WorkerSide]:
    lane = Lane.create(spec, {})
    other = Lane.attach(os.dup(lane.segment.fd), spec)
    for side in (lane, other):
        side.close()  # the mapping stays
    return OpenLane(1, worker, LaneProducer(lane)), WorkerSide(other, spec)

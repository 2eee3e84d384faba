"""A front end between a supervisor and a worker, both played by the test over real sockets, doorbells and lanes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from made_signatures import signature, spec
from worker_side import RING, WorkerSide, numbers

from frontend.catalog import ModelSpec, Version
from frontend.endpoint import Endpoint
from frontend.front_end import FrontEnd
from frontend.request_counters import RequestCounters
from ringserve.channel import AsyncChannel, Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from shm.counters import CounterTable
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import Column, LaneSpec

M1 = ("m", 1)
GONE = "Servable not found for request: Specific(m, 1)"
DECLARED = signature(spec("x"), outputs=(spec("y"),))
COLUMNS = [[[1, "<f4", []]], [[1, "<f4", []]]]


async def until(condition: Callable[[], Any]) -> None:
    """The time limit is the test's."""
    while not condition():
        await asyncio.sleep(0)


class Stage:
    """All versions are of the model m."""

    def __init__(self, control: socket.socket, other: socket.socket) -> None:
        self.bell = Doorbell.create()
        self.worker_bell = Doorbell.create()
        self.told: list[Message] = []  # what the front end told the supervisor
        self.counters = CounterTable.create()
        self.front_end = FrontEnd(control, self.bell, RequestCounters(self.counters))
        self.supervisor = AsyncChannel(other, lambda message, _: self.told.append(message), lambda: None)

    def close(self) -> None:
        for bell in (self.bell, self.worker_bell, *self.front_end._workers.values()):
            bell.close()
        self.counters.close()

    def types(self) -> list[str]:
        return [message["type"] for message in self.told]

    def say(self, type_: str, fds: Sequence[int] = (), **message: Any) -> None:
        self.supervisor.send({"type": type_, **message}, fds)

    async def heard(self) -> None:
        """The front end has read all that was said."""
        answer = {"type": "answer", "call": "heard"}
        self.say("retire", servable=["none", 0], call="heard")
        await until(lambda: answer in self.told)
        self.told.remove(answer)

    async def serve(self, number: int = 1, declared: Signature = DECLARED) -> Version:
        self.say("servable", servable=["m", number], metadata={}, signatures=[declared.to_wire()], routed=True)
        await until(lambda: self.front_end.catalog.find(ServableId("m", number)))
        version = self.front_end.catalog.find(ServableId("m", number))
        assert version is not None
        return version

    def lane(self, number: int = 1, inputs: Any = None, worker: str = "cpu:0") -> WorkerSide:
        """Hand over a lane to this version."""
        made = LaneSpec.for_columns((Column("<f4", ()),), (Column("<f4", ()),), ring_bytes=RING)
        lane = Lane.create(made, {})
        message: Message = {"servable": ["m", number], "signature": DEFAULT_SIGNATURE, "inputs": inputs, "columns": COLUMNS}
        fds = [lane.segment.fd, self.worker_bell.fd]
        self.say("lane", fds, lane=number, worker=worker, ring_bytes=RING, **message)
        lane.close()
        return WorkerSide(lane, made)

    async def open(self, number: int = 1) -> tuple[Endpoint, WorkerSide]:
        endpoint = (await self.serve(number)).endpoint(DEFAULT_SIGNATURE)
        worker = self.lane(number)
        await until(lambda: endpoint.base)
        return endpoint, worker

    def request(self, *values: float, number: int | None = None, timeout: int = 0) -> asyncio.Task[Any]:
        return asyncio.create_task(self._request(values, ModelSpec("m", number), timeout))

    async def _request(self, values: Sequence[float], wanted: ModelSpec, timeout: int) -> Any:
        """As every protocol does it."""
        with self.front_end.catalog.servable_handle(wanted) as version:
            endpoint = version.endpoint(DEFAULT_SIGNATURE)
            if not endpoint.base:
                await endpoint.open()
            pending = self.front_end.submit(endpoint, [numbers(*values)], timeout)
            try:
                await pending.future
                (answer,) = endpoint.answer(pending)
                assert not isinstance(answer.data, list)
                return answer.data.tolist()
            finally:
                pending.done()

    def answer(self, worker: WorkerSide, count: int = 1) -> None:
        worker.answer(count)
        self.bell.ring()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    control, other = socket.socketpair()
    with control, other:
        made = Stage(control, other)
        yield made
        # The front end ends its process when its supervisor goes: neither socket may be seen to close.
        asyncio.get_running_loop().remove_reader(control.fileno())
        asyncio.get_running_loop().remove_reader(other.fileno())
        asyncio.get_running_loop().remove_reader(made.bell.fd)
        made.close()


async def refusal(task: asyncio.Task[Any]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        await task
    return caught.value.code, caught.value.message

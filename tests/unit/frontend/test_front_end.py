"""A front end between a supervisor and a worker, both played by the test over real sockets, doorbells and lanes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from made_signatures import signature, spec
from worker_side import RING, WorkerSide, numbers, on_loop

from frontend.catalog import ModelSpec, Version, VersionStatus
from frontend.endpoint import Endpoint
from frontend.front_end import FrontEnd
from frontend.open_lane import Pending
from ringserve.channel import AsyncChannel, Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import Column, LaneSpec

M1 = ("m", 1)
GONE = "Servable not found for request: Specific(m, 1)"
COLUMNS = [[[1, "<f4", []]], [[1, "<f4", []]]]


async def until(condition: Callable[[], Any]) -> None:
    """The time limit is the test's."""
    while not condition():
        await asyncio.sleep(0)


class Stage:
    def __init__(self, control: socket.socket, other: socket.socket) -> None:
        self.bell = Doorbell.create()
        self.worker_bell = Doorbell.create()
        self.told: list[Message] = []  # what the front end told the supervisor
        self.front_end = FrontEnd(control, self.bell)
        self.supervisor = AsyncChannel(other, lambda message, _: self.told.append(message), lambda: None)

    def close(self) -> None:
        self.bell.close()
        self.worker_bell.close()

    def types(self) -> list[str]:
        return [message["type"] for message in self.told]

    def say(self, type_: str, fds: Sequence[int] = (), **message: Any) -> None:
        self.supervisor.send({"type": type_, **message}, fds)

    async def serve(self, number: int = 1) -> Version:
        signatures = [signature(spec("x"), outputs=(spec("y"),)).to_wire()]
        self.say("servable", servable=["m", number], metadata={}, signatures=signatures, routed=True)
        await until(lambda: self.front_end.catalog.find(ServableId("m", number)))
        return self.front_end.catalog.resolve(ModelSpec("m", number))

    def lane(self, number: int = 1, inputs: Any = None) -> WorkerSide:
        """Hand over a lane."""
        made = LaneSpec.for_columns((Column("<f4", ()),), (Column("<f4", ()),), ring_bytes=RING)
        lane = Lane.create(made, {})
        message = {"servable": ["m", number], "signature": "serving_default", "inputs": inputs, "columns": COLUMNS}
        fds = [lane.segment.fd, self.worker_bell.fd]
        self.say("lane", fds, lane=number, worker="cpu:0", ring_bytes=RING, **message)
        lane.close()
        return WorkerSide(lane, made)

    async def open(self) -> tuple[Endpoint, WorkerSide]:
        endpoint = (await self.serve()).endpoint("serving_default")
        worker = self.lane()
        await until(lambda: endpoint.base)
        return endpoint, worker

    def request(self, endpoint: Endpoint, *values: float, timeout: int = 0) -> asyncio.Task[Any]:
        return asyncio.create_task(self._request(endpoint, values, timeout))

    async def _request(self, endpoint: Endpoint, values: Sequence[float], timeout: int) -> Any:
        """As every protocol does it."""
        if not endpoint.base:
            await endpoint.open()
        pending: Pending = self.front_end.submit(endpoint, [numbers(*values)], timeout)
        try:
            await pending.future
            (answer,) = endpoint.answer(pending)
            assert not isinstance(answer.data, list)
            return answer.data.tolist()
        finally:
            pending.done()


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


@on_loop
async def test_the_first_request_has_a_lane_made() -> None:
    async with stage() as on:
        endpoint = (await on.serve()).endpoint("serving_default")
        requests = [on.request(endpoint, value) for value in (1, 2)]
        await until(lambda: "want_lane" in on.types())
        assert on.types() == ["ready", "want_lane"]
        assert on.told[1]["servable"] == ["m", 1]
        assert on.told[1]["inputs"] is None
        worker = on.lane()
        await until(lambda: worker.consumer.waiting == 2)
        worker.answer(2)
        on.bell.ring()
        assert await asyncio.gather(*requests) == [[2.0], [4.0]]
        assert on.front_end.idle


@on_loop
async def test_one_ring_for_the_first_request_and_one_for_all_others_of_a_turn() -> None:
    async with stage() as on:
        endpoint, worker = await on.open()
        requests = [on.request(endpoint, 1) for _ in range(5)]
        await until(lambda: worker.consumer.waiting == 5)
        await asyncio.sleep(0)
        assert os.eventfd_read(on.worker_bell.fd) == 2
        worker.answer(5)
        on.bell.ring()
        await asyncio.gather(*requests)
        later = on.request(endpoint, 1)
        await until(lambda: worker.consumer.waiting)
        await asyncio.sleep(0)
        assert os.eventfd_read(on.worker_bell.fd) == 1
        worker.answer()
        on.bell.ring()
        assert await later == [2.0]


@on_loop
async def test_requests_past_their_deadline() -> None:
    async with stage() as on:
        endpoint, worker = await on.open()
        late, patient = on.request(endpoint, 1, timeout=1), on.request(endpoint, 2, timeout=60 * 10**9)
        assert await refusal(late) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        assert worker.abandoned(0) and not worker.abandoned(1)
        assert not on.front_end.idle
        worker.answer(2)
        on.bell.ring()
        assert await patient == [4.0]
        assert on.front_end.idle


@on_loop
async def test_clients_that_go_away() -> None:
    async with stage() as on:
        endpoint, worker = await on.open()
        requests = [on.request(endpoint, 1) for _ in range(3)]
        await until(lambda: worker.consumer.waiting == 3)
        requests[0].cancel()
        requests[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await requests[2]
        worker.answer(3)
        on.bell.ring()
        assert await requests[1] == [2.0]
        assert on.front_end.idle
        assert endpoint.base[0].producer.released == 3


@on_loop
async def test_retiring_waits_for_requests_in_flight() -> None:
    async with stage() as on:
        endpoint, worker = await on.open()
        running, given_up = on.request(endpoint, 1), on.request(endpoint, 2)
        await until(lambda: worker.consumer.waiting == 2)
        given_up.cancel()
        on.say("retire", servable=M1, call=7)
        catalog = on.front_end.catalog
        await until(lambda: catalog.find(ServableId(*M1)) is None)
        with pytest.raises(ServingError):
            catalog.resolve(ModelSpec("m"))
        assert "answer" not in on.types()
        worker.answer()
        on.bell.ring()
        assert await running == [2.0]
        assert "answer" not in on.types(), "the worker may still be at what nobody waits for"
        worker.answer()
        on.bell.ring()
        await until(lambda: on.told[-1] == {"type": "answer", "call": 7})
        assert on.types().count("answer") == 1
        assert endpoint.base[0].producer.lane.segment.fd == -1


@on_loop
async def test_retiring_what_nobody_uses() -> None:
    async with stage() as on:
        await on.open()
        on.say("retire", servable=M1, call=1)
        await until(lambda: on.told[-1] == {"type": "answer", "call": 1})
        on.say("retire", servable=M1, call=2)
        on.say("retire", servable=["x", 9], call=3)
        await until(lambda: on.told[-1] == {"type": "answer", "call": 3})
        assert on.told[-2] == {"type": "answer", "call": 2}


@on_loop
async def test_retired_while_a_request_waits_for_its_lane() -> None:
    async with stage() as on:
        request = on.request((await on.serve()).endpoint("serving_default"), 1)
        await until(lambda: "want_lane" in on.types())
        on.say("retire", servable=M1, call=1)
        assert await refusal(request) == (Code.NOT_FOUND, GONE)
        await until(lambda: on.told[-1] == {"type": "answer", "call": 1})


@on_loop
async def test_a_lane_and_its_retirement_in_one_breath() -> None:
    """The request is answered or refused, by a lane that both sides still have: it never waits for nobody."""
    async with stage() as on:
        request = on.request((await on.serve()).endpoint("serving_default"), 1)
        await until(lambda: "want_lane" in on.types())
        worker = on.lane()
        on.say("retire", servable=M1, call=1)  # both lie in the socket before the front end reads
        await until(lambda: request.done() or worker.consumer.waiting or "answer" in on.types())
        await asyncio.sleep(0)
        if worker.consumer.waiting:
            assert "answer" not in on.types(), "a request is in a lane that was let go"
            worker.answer()
            on.bell.ring()
            assert await request == [2.0]
        else:
            assert await refusal(request) == (Code.NOT_FOUND, GONE)
        await until(lambda: on.told[-1] == {"type": "answer", "call": 1})


@on_loop
async def test_a_lane_that_cannot_be_made() -> None:
    async with stage() as on:
        endpoint = (await on.serve()).endpoint("serving_default")
        request = on.request(endpoint, 1)
        await until(lambda: "want_lane" in on.types())
        refused: Message = {"servable": M1, "signature": "serving_default", "code": 8, "message": "no memory"}
        on.say("lane_refused", (), inputs=[[1, "<f4", [2]]], **refused)  # another one: nobody waits for that
        on.say("lane_refused", (), inputs=None, **refused)
        assert await refusal(request) == (Code.RESOURCE_EXHAUSTED, "no memory")
        on.say("lane_refused", (), inputs=None, **{**refused, "servable": ["x", 1]})
        again = on.request(endpoint, 3)
        await until(lambda: on.types().count("want_lane") == 2)
        worker = on.lane()
        await until(lambda: worker.consumer.waiting)
        worker.answer()
        on.bell.ring()
        assert await again == [6.0]


@on_loop
async def test_a_lane_that_comes_too_late_is_closed() -> None:
    async with stage() as on:
        await on.open()
        before = len(os.listdir("/proc/self/fd"))
        on.lane(number=5)
        on.say("open", call=4)
        await on.front_end.opened.wait()
        assert len(os.listdir("/proc/self/fd")) == before


@on_loop
async def test_statuses() -> None:
    async with stage() as on:
        on.say("status", model="m", versions=[[2, 50, 13, "broken"], [1, 30, 0, ""]])
        on.say("open", call=4)
        await on.front_end.opened.wait()
        assert on.front_end.catalog.status("m", None) == [
            VersionStatus(2, State.END, Code.INTERNAL, "broken"),
            VersionStatus(1, State.AVAILABLE, Code.OK, ""),
        ]


@on_loop
async def test_opening_and_stopping() -> None:
    async with stage() as on:
        assert not on.front_end.opened.is_set()
        on.say("open", call=4)
        await on.front_end.opened.wait()
        on.front_end.listening()
        await until(lambda: on.told[-1] == {"type": "answer", "call": 4})
        assert on.types() == ["ready", "answer"]
        on.say("stop")
        await on.front_end.stopping.wait()

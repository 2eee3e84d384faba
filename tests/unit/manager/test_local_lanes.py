"""Lanes of local clients: to whom they are handed, and what is left of them when anybody goes."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
from fake_loader import settle
from stage import run

from manager.event_bus import EventBus
from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes
from manager.local_lanes import LocalLanes
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from shm.lane import Lane
from shm.layout import LaneSpec

M = ServableId("m", 1)
RING, MOST = 1 << 16, 1 << 14
COLUMNS = [[[1, "<f4", []]], [[1, "<f4", []]]]
LOADED: Message = {"signatures": [["other"]], "metadata": {}, "warm_up": {}, "batching": None}
ROUTE: Message = {"servable": M, "signature": "other", "inputs": None}


class Side:
    """In place of a worker or a front end: keeps what it is told, with descriptors of its own."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.device = title.removeprefix("worker ")
        self.pid = 1
        self.has_ended = False
        self.informed = True
        self.has_lanes = False
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.report: Message = {"columns": COLUMNS, "batched": True, "reason": "", "most_rows": 5}
        self.sent: list[Message] = []
        self.fds: list[list[int]] = []

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        self.sent.append(message)
        self.fds.append([os.dup(fd) for fd in fds])

    async def call(self, message: Message, fds: Sequence[int] = ()) -> Message:
        kind = message["type"]
        if kind in self.gates:
            await self.gates[kind].wait()
        if kind in self.errors:
            raise self.errors[kind]
        self.send(message, fds)
        return self.report if kind == "form" else {}

    async def load(self, servable: ServableId, request: Message) -> Message:
        return LOADED

    async def unload(self, servable: ServableId) -> None:
        pass

    def of(self, kind: str) -> list[Message]:
        return [message for message in self.sent if message["type"] == kind]

    def close(self) -> None:
        for fds in self.fds:
            for fd in fds:
                os.close(fd)
        self.fds.clear()


class Scene:
    """A front end of local clients and two workers that hold a version."""

    def __init__(self) -> None:
        self.frontend = Side("frontend local 0")
        self.workers = [Side("worker cpu:0"), Side("worker cpu:1")]
        self.local = LocalLanes(RING, MOST)
        bus = EventBus()
        frontends = cast(Sequence[FrontEndProcess], [self.frontend])
        self.serving = Serving(frontends, Lanes(RING), self.local, bus, ServableStateMonitor(bus))
        self.calls = 0

    @property
    def asking(self) -> FrontEndProcess:
        return cast(FrontEndProcess, self.frontend)

    def worker(self, index: int) -> WorkerProcess:
        return cast(WorkerProcess, self.workers[index])

    async def load(self) -> None:
        await self.serving.load(M, {"type": "load"}, [self.worker(0), self.worker(1)])

    async def ask(self, **changes: Any) -> Message:
        """What the front end is told; in the end."""
        self.calls += 1
        self.serving.local_lane(self.asking, {"type": "local_lane", "call": self.calls, **ROUTE, **changes})
        while not self.told(self.calls):
            await asyncio.sleep(0)
        return self.told(self.calls)[0]

    def told(self, call: int) -> list[Message]:
        return [message for message in self.frontend.of("told") if message["call"] == call]

    def close(self) -> None:
        for side in (self.frontend, *self.workers):
            side.close()


def play(script: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        gc.collect()  # what an earlier test has left goes now, not while this one counts
        before = len(os.listdir("/proc/self/fd"))
        scene = Scene()
        try:
            await script(scene)
        finally:
            scene.close()
        assert len(os.listdir("/proc/self/fd")) == before

    run(work())


def test_both_sides_get_the_segment_and_an_end_of_the_bell() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        told = await scene.ask()
        (sent,) = scene.workers[0].of("lane")
        same = ("lane", "columns", "ring_bytes", "most_rows")
        assert [told[name] for name in same] == [sent[name] for name in same]
        assert told["worker"] == "cpu:0"
        assert (sent["local"], sent["most_request_bytes"], sent["servable"]) == (True, MOST, M)
        theirs, ours = scene.workers[0].fds[-1], scene.frontend.fds[-1]
        spec = LaneSpec.from_wire(told["columns"], told["ring_bytes"])
        Lane.attach(os.dup(ours[0]), spec).words[20] = 7
        assert Lane.attach(os.dup(theirs[0]), spec).words[20] == 7
        bell = socket.socket(fileno=os.dup(ours[1]))
        os.write(theirs[1], b"\0")
        assert bell.recv(8) == b"\0"
        scene.workers[0].close()
        assert bell.recv(8) == b""  # nobody but the two has an end of it
        bell.close()

    play(script)


def test_the_worker_with_the_fewest_is_chosen() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        workers = [(await scene.ask())["worker"] for _ in range(4)]
        assert workers == ["cpu:0", "cpu:1", "cpu:0", "cpu:1"]
        for number in [message["lane"] for message in scene.workers[1].of("lane")]:
            scene.serving.drop_local(scene.asking, number)
        assert [(await scene.ask())["worker"] for _ in range(2)] == ["cpu:1", "cpu:1"]

    play(script)


def test_workers_to_be_avoided_get_none() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        scene.serving.set_usable(scene.worker(0), M, False)
        assert [(await scene.ask())["worker"] for _ in range(2)] == ["cpu:1", "cpu:1"]
        scene.serving.set_usable(scene.worker(1), None, False)
        assert (await scene.ask())["code"] == Code.UNAVAILABLE

    play(script)


def test_rows_without_columns_and_versions_that_are_not_loaded() -> None:
    async def script(scene: Scene) -> None:
        assert (await scene.ask())["code"] == Code.NOT_FOUND
        await scene.load()
        scene.workers[0].report = scene.workers[1].report = {"columns": None, "reason": "strings", "batched": False}
        refused = await scene.ask(inputs=[[1, "<f4", [3]]])
        assert (refused["code"], refused["message"]) == (
            Code.FAILED_PRECONDITION,
            "There are no columns for such rows: strings",
        )
        assert (await scene.ask())["columns"] is None  # packed

    play(script)


@pytest.mark.parametrize("step", ["form", "lane"])
@pytest.mark.parametrize("error", [ServingError(Code.UNAVAILABLE, "it ended"), OSError(24, "Too many open files")])
def test_nothing_is_left_of_a_lane_that_cannot_be(step: str, error: Exception) -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        for worker in scene.workers:
            worker.errors[step] = error
        codes = [(await scene.ask())["code"] for _ in range(3)]
        assert set(codes) == {Code.RESOURCE_EXHAUSTED if isinstance(error, OSError) else Code.UNAVAILABLE}
        assert len(scene.local) == 0
        assert not +scene.local._counts
        error.__traceback__ = None  # the frames that it has seen

    play(script)


@pytest.mark.parametrize("step", ["form", "lane"])
def test_a_lane_whose_version_goes_while_it_is_made(step: str) -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        gate = scene.workers[0].gates[step] = asyncio.Event()
        asked = asyncio.ensure_future(scene.ask())
        await settle()
        await scene.serving.unload(M)
        gate.set()
        assert (await asked)["code"] == Code.UNAVAILABLE
        assert len(scene.local) == 0
        assert len(scene.workers[0].of("drop_lane")) == (1 if step == "lane" else 0)

    play(script)


def test_a_lane_for_a_front_end_that_was_replaced_meanwhile() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        gate = scene.workers[0].gates["lane"] = asyncio.Event()
        scene.serving.local_lane(scene.asking, {"type": "local_lane", "call": 1, **ROUTE})
        await settle()
        scene.frontend.pid = 2
        gate.set()
        await settle()
        assert not scene.told(1)
        assert len(scene.local) == 0
        assert len(scene.workers[0].of("drop_lane")) == 1

    play(script)


def test_a_worker_that_is_gone_has_no_lanes_and_is_told_nothing() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        for _ in range(2):
            await scene.ask()
        scene.serving.set_usable(scene.worker(0), None, False)
        assert len(scene.local) == 1
        assert scene.workers[0].of("drop_lane") == []
        scene.serving.set_usable(scene.worker(0), None, True)
        assert (await scene.ask())["worker"] == "cpu:0"

    play(script)


def test_a_worker_that_ended_before_its_lane_was_handed_on() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        scene.workers[0].has_ended = True
        assert (await scene.ask())["code"] == Code.UNAVAILABLE
        assert len(scene.local) == 0

    play(script)


def test_lanes_go_with_their_front_end_and_with_their_version() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        first, second = [(await scene.ask())["lane"] for _ in range(2)]
        scene.serving.drop_local(cast(FrontEndProcess, Side("frontend local 1")), first)
        assert len(scene.local) == 2
        scene.serving.drop_local(scene.asking, first)
        scene.serving.drop_local(scene.asking, first)
        assert [message["lane"] for message in scene.workers[0].of("drop_lane")] == [first]
        scene.serving.introduce(scene.asking)
        assert [message["lane"] for message in scene.workers[1].of("drop_lane")] == [second]
        third = (await scene.ask())["lane"]
        await scene.serving.unload(M)
        assert [message["lane"] for message in scene.workers[0].of("drop_lane")] == [first, third]
        assert len(scene.local) == 0

    play(script)


def test_a_worker_has_so_many_and_no_more() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        scene.local._most = 1
        for _ in range(2):
            assert "lane" in await scene.ask()
        assert (await scene.ask())["code"] == Code.RESOURCE_EXHAUSTED

    play(script)


def test_one_request_in_columns_is_no_larger_than_the_limit() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        scene.workers[0].report["columns"] = [[[1, "<f4", [MOST // 16]]], [[1, "<f4", []]]]
        assert (await scene.ask())["most_rows"] == 4

    play(script)


def test_a_front_end_of_local_clients_has_no_lanes_of_its_own() -> None:
    async def script(scene: Scene) -> None:
        LOADED["signatures"] = [["serving_default"]]
        await scene.load()
        scene.serving.introduce(scene.asking)
        await settle()
        LOADED["signatures"] = [["other"]]
        assert scene.workers[0].sent == []
        assert scene.frontend.of("lane") == []

    play(script)

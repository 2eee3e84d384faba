"""What front ends and workers are told when versions come and go, whoever fails or is restarted meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
from fake_loader import BAD, settle
from fake_processes import ANSWER, FakeFrontEnd, FakeLanes, FakeWorker
from stage import run

from manager.event_bus import EventBus, ServableState
from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes, Route
from manager.local_lanes import LocalLanes
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State
from ringserve.signature import DEFAULT_SIGNATURE

M = ServableId("m", 1)
REQUEST = {"type": "load", "servable": M}
ROUTE = Route(M, DEFAULT_SIGNATURE)


class Scene:
    """Two workers and two front ends."""

    def __init__(self) -> None:
        self.frontends = [FakeFrontEnd(index) for index in range(2)]
        self.workers = [FakeWorker("cpu:0"), FakeWorker("cpu:1")]
        self.lanes = FakeLanes()
        self.bus = EventBus()
        self.monitor = ServableStateMonitor(self.bus, most_ended=1)
        frontends = cast(Sequence[FrontEndProcess], self.frontends)
        self.serving = Serving(frontends, cast(Lanes, self.lanes), LocalLanes(1 << 20, 1 << 18), self.bus, self.monitor)

    async def load(self, workers: int = 2) -> None:
        await self.serving.load(M, REQUEST, cast(Sequence[WorkerProcess], self.workers[:workers]))

    def restart(self, index: int) -> FakeFrontEnd:
        self.frontends[index].restart()
        return self.introduce(index)

    def introduce(self, index: int) -> FakeFrontEnd:
        frontend = self.frontends[index]
        self.serving.introduce(cast(FrontEndProcess, frontend))
        return frontend


def play(script: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        await script(Scene())

    run(work())


def test_a_version_is_loaded_then_its_lanes_are_made_then_requests_find_it() -> None:
    async def script(scene: Scene) -> None:
        gate = scene.workers[1].gates["load"] = asyncio.Event()
        scene.lanes.open.clear()
        load = asyncio.ensure_future(scene.load())
        await settle()
        assert [frontend.messages for frontend in scene.frontends] == [[], []]
        gate.set()
        await settle()
        told = {name: ANSWER[name] for name in ("signatures", "metadata", "batching")}
        message = {"type": "servable", "servable": M, **told}
        assert [frontend.messages for frontend in scene.frontends] == [[{**message, "routed": False}]] * 2
        assert not load.done()
        scene.lanes.open.set()
        await load
        assert sorted(scene.lanes.made) == [(pid, device, ROUTE) for pid in (1000, 2000) for device in ("cpu:0", "cpu:1")]
        assert [frontend.routed for frontend in scene.frontends] == [[M], [M]]
        served = scene.serving.served(M)
        assert served is not None
        assert [worker.device for worker in served.workers] == ["cpu:0", "cpu:1"]
        assert served.warm_up == ANSWER["warm_up"]

    play(script)


def test_a_version_on_some_devices_concerns_only_those() -> None:
    async def script(scene: Scene) -> None:
        await scene.load(workers=1)
        assert [worker.held for worker in scene.workers] == [[M], []]
        assert {device for _, device, _ in scene.lanes.made} == {"cpu:0"}
        scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[0]), {**Route(M, "other").to_wire()})
        await settle()
        assert scene.lanes.made[-1] == (1000, "cpu:0", Route(M, "other"))

    play(script)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_load_that_fails_on_one_worker_leaves_nothing_on_the_other(failing: int) -> None:
    async def script(scene: Scene) -> None:
        scene.workers[failing].error = BAD
        with pytest.raises(ServingError, match="no model in there"):
            await scene.load()
        assert [worker.held for worker in scene.workers] == [[], []]
        assert [frontend.messages for frontend in scene.frontends] == [[], []]
        assert scene.serving.served(M) is None

    play(script)


def test_an_answer_that_is_none_leaves_nothing_either() -> None:
    async def script(scene: Scene) -> None:
        scene.workers[0].answer = {"signatures": [[DEFAULT_SIGNATURE]]}
        with pytest.raises(KeyError):
            await scene.load()
        assert [worker.held for worker in scene.workers] == [[], []]
        assert scene.serving.served(M) is None

    play(script)


def test_a_version_without_a_default_signature_gets_its_lanes_when_they_are_asked_for() -> None:
    async def script(scene: Scene) -> None:
        for worker in scene.workers:
            worker.answer = {**ANSWER, "signatures": [["other"]]}
        await scene.load()
        assert (scene.lanes.made, scene.frontends[0].routed) == ([], [M])

    play(script)


@pytest.mark.parametrize(
    ("error", "code"), [(BAD, Code.INVALID_ARGUMENT), (OSError(24, "Too many open files"), Code.RESOURCE_EXHAUSTED)]
)
def test_a_lane_that_cannot_be_is_told_to_those_who_wait_for_it(error: Exception, code: Code) -> None:
    async def script(scene: Scene) -> None:
        scene.lanes.error = error
        await scene.load()
        for frontend in scene.frontends:
            (refusal,) = frontend.of("lane_refused")
            assert (refusal["servable"], refusal["signature"], refusal["code"]) == (M, DEFAULT_SIGNATURE, code)
            assert frontend.routed == [M]

    play(script)


def test_a_front_end_restarted_while_a_version_is_loaded_learns_of_it_and_of_its_route() -> None:
    async def script(scene: Scene) -> None:
        scene.lanes.open.clear()
        load = asyncio.ensure_future(scene.load())
        await settle()
        frontend = scene.restart(0)
        assert [message["type"] for message in frontend.messages] == ["servable"]
        assert frontend.routed == []
        scene.lanes.open.set()
        await load
        await settle()
        assert frontend.routed == [M]
        assert {(pid, device) for pid, device, _ in scene.lanes.made if pid < 2000} >= {(1001, "cpu:0"), (1001, "cpu:1")}

    play(script)


def test_a_front_end_that_is_yet_to_be_told_of_anything_is_told_nothing_and_gets_no_lanes() -> None:
    """What a process got before it can work would be lost, or there twice, when it is told everything."""

    async def script(scene: Scene) -> None:
        late = scene.frontends[0]
        late.restart()
        scene.lanes.open.clear()
        load = asyncio.ensure_future(scene.load())
        await settle()
        scene.bus.publish(ServableState(M, State.LOADING))
        scene.serving.want_lane(cast(FrontEndProcess, late), ROUTE.to_wire())
        await settle()
        assert late.messages == []
        scene.introduce(0)
        assert late.informed
        await settle()
        scene.lanes.open.set()
        await load
        await settle()
        ours = sorted((pid, device) for pid, device, _ in scene.lanes.made if pid == late.pid)
        assert ours == [(1001, "cpu:0"), (1001, "cpu:1")]
        assert late.routed == [M]
        late.restart()
        await scene.serving.quiesce(M)
        assert late.messages == []

    play(script)


def test_a_lane_that_was_being_made_when_the_version_went_is_not_for_the_one_that_comes_after() -> None:
    async def script(scene: Scene) -> None:
        await scene.load(workers=1)
        scene.lanes.open.clear()
        scene.lanes.made.clear()
        other = Route(M, "other")
        scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[0]), other.to_wire())
        await settle()
        await scene.serving.unload(M)
        scene.workers[0].answer = {**ANSWER, "signatures": [["other"]]}
        await scene.load(workers=1)
        scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[0]), other.to_wire())
        await settle()
        scene.lanes.open.set()
        await settle()
        assert scene.lanes.made == [(1000, "cpu:0", other)]

    play(script)


def test_what_went_wrong_with_a_version_that_has_gone_is_no_refusal_of_the_next() -> None:
    async def script(scene: Scene) -> None:
        await scene.load(workers=1)
        scene.lanes.open.clear()
        scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[0]), Route(M, "other").to_wire())
        await settle()
        await scene.serving.unload(M)
        scene.lanes.error = BAD
        scene.lanes.open.set()
        await settle()
        assert scene.frontends[0].of("lane_refused") == []

    play(script)


def test_a_new_front_end_is_told_everything() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        assert scene.restart(1).of("models") == [], "nobody has said yet"
        scene.serving.set_models({"m": 1, "n": 2})
        assert scene.frontends[1].of("models") == [{"type": "models", "names": ["m", "n"]}]
        scene.serving.route("m", {"stable": [(1, 1.0)]}, [])
        scene.serving.route("n", {"stable": [(1, 1.0)]}, [])
        scene.serving.route("n", {}, [])
        scene.serving.set_usable(cast(WorkerProcess, scene.workers[1]), None, False)
        scene.bus.publish(ServableState(M, State.AVAILABLE))
        scene.bus.publish(ServableState(ServableId("m", 2), State.END, BAD))
        frontend = scene.restart(0)
        assert scene.lanes.dropped[-1] is frontend
        assert frontend.of("models") == [{"type": "models", "names": ["m", "n"]}]
        assert [(m["version"], m["state"], m["code"], m["message"]) for m in frontend.of("status")] == [
            (2, 50, 3, "no model in there"),
            (1, 30, 0, ""),
        ]
        assert frontend.of("routing") == [{"type": "routing", "model": "m", "labels": {"stable": [(1, 1.0)]}, "shadows": []}]
        assert frontend.of("worker") == [{"type": "worker", "worker": "cpu:1", "servable": None, "usable": False}]
        assert frontend.routed == [M]
        await settle()
        assert (1001, "cpu:0", ROUTE) in scene.lanes.made

    play(script)


def test_an_unload_waits_for_front_ends_and_only_then_reaches_workers() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        scene.frontends[0].gone = True  # it has no requests left
        scene.frontends[1].retired.clear()
        quiesce = asyncio.ensure_future(scene.serving.quiesce(M))
        await settle()
        assert (quiesce.done(), scene.frontends[1].routed) == (False, [])
        assert scene.restart(0).of("servable") == [], "what is on its way out is not for a new one"
        scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[1]), ROUTE.to_wire())
        await settle()
        assert scene.lanes.made[-1] == (2000, "cpu:1", ROUTE), "requests that have begun get the lanes that they need"
        scene.frontends[1].retired.set()
        await quiesce
        assert [worker.held for worker in scene.workers] == [[M], [M]]
        await scene.serving.unload(M)
        assert [worker.held for worker in scene.workers] == [[], []]
        assert (scene.lanes.dropped[-1], scene.serving.served(M)) == (M, None)

    play(script)


def test_a_lane_asked_for_as_the_version_goes_is_nobody_s_any_more() -> None:
    async def script(scene: Scene) -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await scene.load()
        made = list(scene.lanes.made)
        scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[0]), Route(M, "other").to_wire())
        await scene.serving.unload(M)
        scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[0]), Route(M, "other").to_wire())
        await settle()
        assert scene.lanes.made == made
        assert errors == []

    play(script)


def test_one_lane_however_often_it_is_asked_for() -> None:
    async def script(scene: Scene) -> None:
        await scene.load(workers=1)
        scene.lanes.open.clear()
        scene.lanes.made.clear()
        for _ in range(3):
            scene.serving.want_lane(cast(FrontEndProcess, scene.frontends[0]), Route(M, "other").to_wire())
        await settle()
        scene.lanes.open.set()
        await settle()
        assert scene.lanes.made == [(1000, "cpu:0", Route(M, "other"))]

    play(script)


def test_states_are_told_one_by_one_and_forgotten_ones_too() -> None:
    async def script(scene: Scene) -> None:
        for version in (1, 2):
            scene.bus.publish(ServableState(ServableId("m", version), State.END))
        told = scene.frontends[0]
        assert [(m["model"], m["version"], m["state"]) for m in told.of("status")] == [("m", 1, 50), ("m", 2, 50)]
        assert told.of("forget") == [{"type": "forget", "model": "m", "versions": [1]}]

    play(script)


def test_what_is_unusable_of_a_version_ends_with_it() -> None:
    async def script(scene: Scene) -> None:
        await scene.load()
        worker = cast(WorkerProcess, scene.workers[0])
        scene.serving.set_usable(worker, M, False)
        assert scene.frontends[1].of("worker") == [{"type": "worker", "worker": "cpu:0", "servable": M, "usable": False}]
        await scene.serving.quiesce(M)
        await scene.serving.unload(M)
        assert scene.restart(0).of("worker") == []

    play(script)

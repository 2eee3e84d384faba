"""Why requests are batched or not, as workers tell it, beside what was counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from fake_processes import FakeLanes, FakeWorker
from stage import pass_time, run

from manager.event_bus import EventBus, ServableState
from manager.explanation import Explanation
from manager.lanes import Lanes
from manager.local_lanes import LocalLanes
from manager.request_figures import Rows
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State
from shm.counter_families import FAMILIES

M1, M2, N = ServableId("m", 1), ServableId("m", 2), ServableId("n", 1)
FORM: Message = {"inputs": None, "batched": True, "reason": "proven"}


class Worker(FakeWorker):
    """Explains what it holds; hangs while its gate for that is closed."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.asked: list[tuple[ServableId, float]] = []
        self.queues: list[Message] = [{"signature": "serving_default", **FORM}]

    async def explain(self, servable: ServableId, seconds: float) -> list[Message]:
        self.asked.append((servable, seconds))
        if self.error:
            raise self.error
        return self.queues


class Scene:
    """Versions that are loaded by two workers."""

    def __init__(self) -> None:
        bus = EventBus()
        monitor = ServableStateMonitor(bus)
        self._bus = bus
        self.serving = Serving([], cast(Lanes, FakeLanes()), LocalLanes(1 << 20, 1 << 18), bus, monitor)
        self.workers = [Worker("cpu:0"), Worker("cpu:1")]
        self.rows: Rows = {}
        self.explanation = Explanation(self.serving, monitor, lambda: self.rows)

    async def load(self, servable: ServableId, workers: int = 2) -> None:
        held = cast(list[WorkerProcess], self.workers[:workers])
        for worker in self.workers:
            worker.answer = {**worker.answer, "signatures": [["serving_default"], ["other"]]}
        await self.serving.load(servable, {}, held)
        self._bus.publish(ServableState(servable, State.AVAILABLE))

    def report(self, servable: ServableId, state: State) -> None:
        self._bus.publish(ServableState(servable, state))


def play(script: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        await script(Scene())

    run(work())


def test_each_version_signature_and_device() -> None:
    async def script(scene: Scene) -> None:
        await scene.load(M1)
        await scene.load(M2, workers=1)
        scene.workers[1].queues = [
            {"signature": "other", **FORM},
            {"signature": "other", **FORM, "inputs": [[1, "<f4", []]]},
        ]
        words = [0] * FAMILIES["batches"].words
        words[1] = words[-1] = 5
        scene.rows["batches", ("m", "1", "serving_default", "cpu:0")] = words
        scene.rows["rejected", ("m", "1", "other", "queue_full")] = [3]
        found = await scene.explanation.model("m", 2.5)
        assert json.loads(json.dumps(found)) == found, "plain values only"
        assert found["model"] == "m"
        assert [(version["version"], version["troubles"]) for version in found["versions"]] == [(2, {}), (1, {})]
        default, other = found["versions"][1]["signatures"]
        assert [default["signature"], other["signature"]] == ["serving_default", "other"]
        assert [(device["device"], device["forms"]) for device in default["devices"]] == [("cpu:0", [FORM]), ("cpu:1", [])]
        assert [device["sizes"] for device in default["devices"]] == [{"1": 5}, {}]
        assert [len(device["forms"]) for device in other["devices"]] == [0, 2]
        assert (default["rejected"], other["rejected"]) == ({}, {"queue_full": 3})
        assert [device["device"] for device in found["versions"][0]["signatures"][0]["devices"]] == ["cpu:0"]
        assert scene.workers[1].asked == [(M1, 2.5)]

    play(script)


def test_a_worker_that_does_not_tell_keeps_no_other_from_it() -> None:
    async def script(scene: Scene) -> None:
        await scene.load(M1)
        scene.workers[0].error = ServingError(Code.UNAVAILABLE, "worker cpu:0 is not ready")
        (version,) = (await scene.explanation.model("m", 1))["versions"]
        assert version["troubles"] == {"cpu:0": "worker cpu:0 is not ready"}
        assert [device["forms"] for device in version["signatures"][0]["devices"]] == [[], [FORM]]

    play(script)


def test_what_is_not_loaded_has_no_versions() -> None:
    async def script(scene: Scene) -> None:
        scene.report(M1, State.LOADING)
        assert await scene.explanation.model("m", 1) == {"model": "m", "versions": []}
        assert await scene.explanation.model("none", 1) == {"model": "none", "versions": []}
        assert await scene.explanation.models(1) == {}
        await scene.load(M2)
        await scene.load(N)
        found = await scene.explanation.models(1)
        assert list(found) == ["m", "n"]
        assert [version["version"] for version in found["m"]["versions"]] == [2]
        await scene.serving.unload(M2)
        assert list(await scene.explanation.models(1)) == ["n"]

    play(script)


class Process(WorkerProcess):
    """Without a process: answers when a test says so."""

    def __init__(self) -> None:
        super().__init__("cpu:0")
        self.told: list[Message] = []
        self.answer: asyncio.Future[Message]

    async def call(self, message: Message, fds: object = ()) -> Message:
        self.told.append(message)
        self.answer = asyncio.get_running_loop().create_future()
        return await self.answer

    def close(self) -> None:
        self.doorbell.close()
        self.counters.close()


async def asked(process: Process) -> asyncio.Task[list[Message]]:
    task = asyncio.ensure_future(process.explain(M1, 5))
    await pass_time(0)
    return task


def test_a_worker_is_asked() -> None:
    async def work() -> None:
        process = Process()
        with pytest.raises(ServingError, match="worker cpu:0 is not ready"):
            await process.explain(M1, 5)
        process.ready.set()
        task = await asked(process)
        assert process.told == [{"type": "explain", "servable": M1}]
        process.answer.set_result({"queues": [FORM]})
        assert await task == [FORM]
        task = await asked(process)
        process.answer.set_exception(ServingError(Code.NOT_FOUND, "This worker does not hold it"))
        with pytest.raises(ServingError, match="does not hold"):
            await task
        process.close()

    run(work())


def test_a_worker_that_hangs_is_waited_for_so_long() -> None:
    async def work() -> None:
        process = Process()
        process.ready.set()
        task = await asked(process)
        await pass_time(4.9)
        assert not task.done()
        await pass_time(0.2)
        with pytest.raises(ServingError) as caught:
            await task
        assert (caught.value.code, caught.value.message) == (
            Code.DEADLINE_EXCEEDED,
            "worker cpu:0 did not answer within 5 s",
        )
        process.close()

    run(work())

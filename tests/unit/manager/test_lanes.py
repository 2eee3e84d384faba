"""Lanes: what of them is left when nobody wants them any more, even while they are being made."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

import pytest
from fake_loader import settle
from stage import run

from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes, Route
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from shm.doorbell import Doorbell

M = ServableId("m", 1)
ROUTE = Route(M, "other")


class Side:
    """In place of a worker or a front end: notes messages; calls wait at their gates, and fail if a test says so."""

    def __init__(self) -> None:
        self.title = self.device = "cpu:0"
        self.doorbell = Doorbell.create()
        self.ready = asyncio.Event()
        self.ready.set()
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.sent: list[Message] = []

    def hold(self, kind: str) -> asyncio.Event:
        gate = self.gates[kind] = asyncio.Event()
        return gate

    async def call(self, message: Message, fds: object = ()) -> Message:
        kind = message["type"]
        if kind in self.gates:
            await self.gates[kind].wait()
        if kind in self.errors:
            raise self.errors[kind]
        return {"columns": None, "batched": False}

    def send(self, message: Message, fds: object = ()) -> None:
        self.sent.append(message)

    def of(self, kind: str) -> list[Any]:
        return [message["lane"] for message in self.sent if message["type"] == kind]


class Scene:
    """A front end and a worker, a lane between them that is wanted until a test says otherwise."""

    def __init__(self) -> None:
        self.frontend, self.worker = Side(), Side()
        self.lanes = Lanes(1 << 16)
        self.wanted = True
        self.open_files = len(os.listdir("/proc/self/fd"))

    async def make(self) -> None:
        frontend, worker = cast(FrontEndProcess, self.frontend), cast(WorkerProcess, self.worker)
        await self.lanes.make(frontend, worker, ROUTE, lambda: self.wanted)

    @property
    def left(self) -> tuple[int, int]:
        """Lanes on record, and files open beyond those before."""
        return len(self.lanes), len(os.listdir("/proc/self/fd")) - self.open_files


def test_a_lane_is_handed_to_both_sides_and_dropped_with_its_version() -> None:
    async def work() -> None:
        scene = Scene()
        await scene.make()
        assert scene.left == (1, 1)
        assert scene.frontend.of("lane") == [1]
        scene.lanes.drop_servable(M)
        assert scene.left == (0, 0)
        assert scene.worker.of("drop_lane") == [1]

    run(work())


def test_a_lane_that_is_there_or_being_made_is_not_made_again() -> None:
    async def scene() -> None:
        made = Scene()
        gate = made.worker.hold("lane")
        first, second = asyncio.ensure_future(made.make()), asyncio.ensure_future(made.make())
        await settle()
        gate.set()
        await asyncio.gather(first, second)
        await made.make()
        assert len(made.frontend.of("lane")) == 1
        made.lanes.drop_servable(M)
        await made.make()
        assert len(made.frontend.of("lane")) == 2

    run(scene())


@pytest.mark.parametrize("step", ["form", "lane"])
def test_nothing_is_left_of_a_lane_that_nobody_wants_when_it_is_made(step: str) -> None:
    async def work() -> None:
        scene = Scene()
        gate = scene.worker.hold(step)
        make = asyncio.ensure_future(scene.make())
        await settle()
        scene.wanted = False
        scene.lanes.drop_servable(M)
        gate.set()
        await make
        assert scene.left == (0, 0)
        assert scene.frontend.sent == []
        assert scene.worker.of("drop_lane") == ([1] if step == "lane" else [])  # before, there is none yet

    run(work())


def test_nothing_is_left_of_a_lane_that_the_worker_does_not_take() -> None:
    async def work() -> None:
        scene = Scene()
        scene.worker.errors["lane"] = ServingError(Code.NOT_FOUND, "it does not hold that")
        with pytest.raises(ServingError, match="it does not hold that"):
            await scene.make()
        scene.worker.errors.clear()  # and with it the frames that the error has seen
        assert scene.left == (0, 0)

    run(work())

"""The supervisor's view of a worker: loads that it survives or not, what it holds, and when its memory can be measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fake_loader import BAD, settle
from stage import pass_time, run

from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

M = ServableId("m", 1)
N = ServableId("n", 1)
ENDED = ServingError(Code.UNAVAILABLE, "worker cpu:0 ended before it answered")


def request(servable: ServableId) -> Message:
    return {"type": "load", "servable": servable}


class Worker(WorkerProcess):
    """Without a process: each call is answered as a test says, well unless it does."""

    def __init__(self) -> None:
        super().__init__("cpu:0")
        self.pid = 100
        self.asked: list[tuple[str, ServableId]] = []
        self.answers: dict[str, list[Message | ServingError]] = {}  # by type of message; the next ones
        self.gates: dict[str, asyncio.Event] = {}
        self.usable: list[tuple[ServableId | None, bool]] = []
        self._set_usable = lambda _, servable, usable: self.usable.append((servable, usable))
        self.restored: list[ServableId] = []
        self._restore_lanes = self._restore

    async def _restore(self, _: WorkerProcess, servable: ServableId) -> None:
        self.restored.append(servable)

    async def call(self, message: Message, fds: object = ()) -> Message:
        kind = message["type"]
        self.asked.append((kind, message["servable"]))
        if kind in self.gates:
            await self.gates[kind].wait()
        answer = self.answers[kind].pop(0) if self.answers.get(kind) else {"bytes": 7}
        if answer is ENDED:
            self._ended.set()
            self.gone()
            raise answer
        if isinstance(answer, ServingError):
            raise answer
        return answer

    async def booted(self) -> None:
        return

    async def come_back(self) -> None:
        """A new process in place of the one that has ended."""
        self.pid += 1
        self.restarts += 1
        self._ended = asyncio.Event()
        await self._boot()


def with_worker(script: Callable[[Worker], Coroutine[Any, Any, None]]) -> None:
    async def work() -> None:
        worker = Worker()
        await worker._boot()
        await script(worker)

    run(work())


def test_what_is_loaded_is_held_until_it_is_unloaded() -> None:
    async def script(worker: Worker) -> None:
        worker.answers["load"] = [{"signatures": []}]
        assert await worker.load(M, request(M)) == {"signatures": []}
        assert (worker.holds(M), worker.holds(N)) == ("holds", "lost")
        await worker.unload(M)
        await worker.unload(M)
        assert worker.holds(M) == "lost"
        assert worker.asked == [("load", M), ("unload", M)]

    with_worker(script)


def test_a_load_that_fails_is_not_held() -> None:
    async def script(worker: Worker) -> None:
        worker.answers["load"] = [BAD]
        with pytest.raises(ServingError, match="no model in there"):
            await worker.load(M, request(M))
        assert worker.holds(M) == "lost"
        await worker.unload(M)
        assert worker.asked == [("load", M)]

    with_worker(script)


async def ask(worker: Worker, what: str) -> object:
    return await (worker.load(M, request(M)) if what == "load" else worker.estimate(request(M)))


@pytest.mark.parametrize("what", ["load", "estimate"])
def test_a_worker_that_dies_of_it_is_asked_once_more(what: str) -> None:
    async def script(worker: Worker) -> None:
        worker.answers[what] = [ENDED]
        asked = asyncio.ensure_future(ask(worker, what))
        await settle()
        assert (asked.done(), worker.holds(M)) == (False, "starting")
        await worker.come_back()
        assert await asked == (7 if what == "estimate" else {"bytes": 7})

    with_worker(script)


@pytest.mark.parametrize("what", ["load", "estimate"])
def test_and_no_more_than_that(what: str) -> None:
    async def script(worker: Worker) -> None:
        worker.answers[what] = [ENDED, ENDED]
        asked = asyncio.ensure_future(ask(worker, what))
        for _ in range(2):
            await settle()
            await worker.come_back()
        with pytest.raises(ServingError, match=r"worker cpu:0 died twice while it .* \{name: m version: 1\}") as caught:
            await asked
        assert caught.value.code is Code.INTERNAL
        assert worker.holds(M) == "lost"

    with_worker(script)


def test_nothing_is_asked_of_a_worker_that_is_not_ready() -> None:
    async def script(worker: Worker) -> None:
        worker._ended.set()
        worker.gone()
        load = asyncio.ensure_future(worker.load(M, request(M)))
        await settle()
        assert worker.asked == []
        await worker.come_back()
        await load
        assert worker.usable == [(None, False), (None, True)]

    with_worker(script)


def test_a_new_process_gets_everything_back() -> None:
    async def script(worker: Worker) -> None:
        for servable in (M, N):
            await worker.load(servable, request(servable))
        worker._ended.set()
        worker.gone()
        worker.asked.clear()
        worker.answers["load"] = [BAD]
        await worker.come_back()
        assert worker.asked == [("load", M), ("absent", M), ("load", N)]
        assert (worker.holds(M), worker.holds(N)) == ("lost", "holds")
        assert worker.restored == [M, N], "requests to what is lost are answered too"
        assert worker.usable == [(None, False), (M, False), (N, True), (None, True)]
        worker.asked.clear()
        await pass_time(1.5)
        assert worker.asked == [("unload", M), ("load", M)]
        assert worker.holds(M) == "holds"
        assert worker.usable[-1] == (M, True)

    with_worker(script)


def test_what_is_unloaded_while_it_is_lost_is_not_loaded_again() -> None:
    async def script(worker: Worker) -> None:
        await worker.load(M, request(M))
        worker._ended.set()
        worker.gone()
        worker.answers["load"] = [BAD]
        await worker.come_back()
        await worker.unload(M)
        worker.asked.clear()
        await pass_time(100)
        assert worker.asked == []

    with_worker(script)


@pytest.mark.parametrize("again", ["when it is back", "when it tries once more"])
@pytest.mark.parametrize("answer", [{}, BAD])
def test_what_is_unloaded_while_it_is_loaded_again_is_gone_whatever_becomes_of_that(
    again: str, answer: Message | ServingError
) -> None:
    """Its unload follows the load, so that nothing which is loaded under its name later can be met by it."""

    async def script(worker: Worker) -> None:
        await worker.load(M, request(M))
        worker._ended.set()
        worker.gone()
        if again == "when it tries once more":
            worker.answers["load"] = [BAD]
            await worker.come_back()
        gate = worker.gates["load"] = asyncio.Event()
        worker.answers["load"] = [answer]
        back = asyncio.ensure_future(worker.come_back() if again == "when it is back" else pass_time(1.5))
        for _ in range(3):
            await settle()
        assert worker.asked[-1] == ("load", M)
        worker.asked.clear()
        worker.usable.clear()
        unload = asyncio.ensure_future(worker.unload(M))
        await settle()
        assert (worker.asked, unload.done()) == ([], False)
        gate.set()
        await unload
        await back
        assert worker.asked == [("unload", M)]
        assert [servable for servable, _ in worker.usable if servable] == [], "no word about what is gone"
        await worker.load(M, request(M))
        assert worker.holds(M) == "holds"
        worker.asked.clear()
        await pass_time(100)
        assert worker.asked == []

    with_worker(script)


def test_an_unload_does_not_wait_for_a_worker_that_ends_while_it_loads_again() -> None:
    async def script(worker: Worker) -> None:
        await worker.load(M, request(M))
        worker._ended.set()
        worker.gone()
        gate = worker.gates["load"] = asyncio.Event()
        worker.answers["load"] = [ENDED]
        worker.answers["unload"] = [ENDED]
        back = asyncio.ensure_future(worker.come_back())
        await settle()
        unload = asyncio.ensure_future(worker.unload(M))
        await settle()
        gate.set()
        for work in (back, unload):
            with pytest.raises(ServingError):
                await work
        worker.asked.clear()
        await worker.come_back()
        assert worker.asked == []

    with_worker(script)


@pytest.mark.parametrize("call", ["load", "unload"])
@pytest.mark.parametrize("answer", [{}, BAD])
def test_it_is_busy_while_a_load_or_an_unload_is_under_way(call: str, answer: Message | ServingError) -> None:
    async def script(worker: Worker) -> None:
        await worker.load(M, request(M))
        assert (worker.busy, worker.activity) == (0, 2)
        gate = worker.gates[call] = asyncio.Event()
        worker.answers[call] = [answer]
        begun: Coroutine[Any, Any, object] = worker.load(N, request(N)) if call == "load" else worker.unload(M)
        work = asyncio.ensure_future(begun)
        await settle()
        assert (worker.busy, worker.activity) == (1, 3)
        gate.set()
        await asyncio.wait([work])
        assert work.exception() is (answer if answer is BAD else None)
        assert (worker.busy, worker.activity) == (0, 4)

    with_worker(script)

"""The manager under lists, loads, failures and pauses in any order at all: what holds throughout, and what in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fake_loader import BAD, FakeLoader, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stage import Stage, play

from manager.aspired_version_policy import POLICIES, AspiredVersionPolicy, Snapshot, Step, Verb
from manager.retry import Retry
from ringserve.servable import ServableId, State

NAMES = ("a", "b", "c")
VERSIONS = range(1, 5)
SIZE = 10

name_st = st.sampled_from(NAMES)
versions_st = st.sets(st.sampled_from(list(VERSIONS)), max_size=3)


class _Loader(FakeLoader):
    """Its loads and unloads end when the machine says so, well or not; notes what of it is loaded."""

    def __init__(self, machine: ManagerMachine, servable: ServableId, what: int) -> None:
        super().__init__(size=SIZE, what=what)
        self.machine = machine
        self.id = servable
        self.waiting: dict[str, asyncio.Future[Exception | None]] = {}

    async def _wait(self, call: str, *before: str) -> None:
        """`before`: what the last call may have been."""
        last = self.calls[-1] if self.calls else ""
        self.machine.expect(last in before and not self.waiting, f"{self.id}: {call} after {self.calls}")
        self.calls.append(call)
        future = self.waiting[call] = asyncio.get_running_loop().create_future()
        try:
            if error := await future:
                self.calls.append("failed")
                raise error
        finally:
            del self.waiting[call]

    async def load(self) -> int | None:
        loaded = self.machine.loaded
        self.machine.expect(self.id not in loaded, f"{self.id}: two loads at a time")
        loaded.add(self.id)
        try:
            await self._wait("load", "", "failed")
        except BaseException:
            loaded.remove(self.id)
            raise
        return None

    async def quiesce(self) -> None:
        await self._wait("quiesce", "load")

    async def unload(self) -> None:
        await self._wait("unload", "quiesce")
        self.machine.loaded.remove(self.id)


class _Watched(NamedTuple):
    """A policy, and somebody who sees every step."""

    policy: AspiredVersionPolicy
    see: Callable[[Step], None]

    def next_step(self, versions: Sequence[Snapshot]) -> Step | None:
        step = self.policy.next_step(versions)
        if step:
            self.see(step)
        return step


class ManagerMachine(RuleBasedStateMachine):
    """Lists of versions come, loads and unloads end, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.stage: Stage | None = None
        self.loaded: set[ServableId] = set()
        self.every: list[_Loader] = []
        self.wanted: dict[str, set[int]] = {name: set() for name in NAMES}
        self.broken: list[str] = []  # not raised: the manager would take it for a loader's error
        self.runner = asyncio.Runner()

    def expect(self, fact: bool, text: str) -> None:
        if not fact:
            self.broken.append(text)

    @initialize(
        policy=st.sampled_from(sorted(POLICIES)),
        limit=st.sampled_from((0, 3 * SIZE)),
        loads=st.integers(1, 4),
        unloads=st.integers(1, 4),
    )
    def begin(self, policy: str, limit: int, loads: int, unloads: int) -> None:
        see = self._see if policy == "availability_preserving" else lambda _: None
        self.stage = Stage(_Watched(POLICIES[policy], see), Retry(1 << 30, 0.0), limit, loads, unloads)

    def _see(self, step: Step) -> None:
        """The last available version goes only when nothing is wanted."""
        if step.verb is Verb.UNLOAD:
            assert self.stage is not None
            others = set(self.stage.available(step.id.name)) - {step.id.version}
            wanted = self.stage.manager.aspired(step.id.name)
            self.expect(step.id.version not in wanted, f"{step.id} goes and is wanted")
            self.expect(bool(others) or not wanted, f"{step.id} goes and was the last one")

    @rule(name=name_st, versions=versions_st, what=st.sampled_from((0, 0, 0, 1)))
    def emit(self, name: str, versions: set[int], what: int) -> None:
        self.wanted[name] = versions
        loaders = {version: _Loader(self, ServableId(name, version), what) for version in sorted(versions)}
        self.every += loaders.values()

        async def emit() -> None:
            assert self.stage is not None
            self.stage.emit(loaders, name)

        self.runner.run(emit())

    @rule(turns=st.integers(1, 20))
    def go_on(self, turns: int) -> None:
        async def wait() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.runner.run(wait())

    @precondition(lambda self: self._futures())
    @rule(data=st.data(), well=st.booleans())
    def end_one(self, data: st.DataObject, well: bool) -> None:
        future, call = data.draw(st.sampled_from(self._futures()))
        future.set_result(BAD if call == "load" and not well else None)
        self.go_on(3)

    def _futures(self) -> list[tuple[asyncio.Future[Exception | None], str]]:
        waiting = [(future, call) for loader in self.every for call, future in loader.waiting.items()]
        return [(future, call) for future, call in waiting if not future.done()]

    @invariant()
    def nothing_is_broken(self) -> None:
        assert self.broken == []
        if self.stage is not None and self.stage.budget.limit:
            assert self.stage.budget.reserved <= self.stage.budget.limit
            assert len(self.loaded) * SIZE <= self.stage.budget.limit

    def _let_all_end_well(self) -> None:
        for _ in range(100):
            self.runner.run(settle())
            if not self._futures():
                return
            for future, _ in self._futures():
                future.set_result(None)
        raise AssertionError("there is no end of loads")

    def teardown(self) -> None:
        try:
            if self.stage is not None:
                self._check_end(self.stage)
        finally:
            self.runner.close()

    def _check_end(self, stage: Stage) -> None:
        """When everything loads, what is wanted is available, as far as there is memory for it; and then nothing is left."""
        self._let_all_end_well()
        if not stage.budget.limit:
            for name in NAMES:
                assert stage.available(name) == sorted(self.wanted[name])
        for name in NAMES:
            self.emit(name, set(), 0)
        self._let_all_end_well()
        self.nothing_is_broken()
        assert not self.loaded
        assert stage.budget.reserved == 0
        assert not stage.manager._streams
        assert not stage.manager._pending
        assert not stage.manager._timers
        assert not stage.manager._loading
        assert all(loader.discards == 1 for loader in self.every if loader.calls)
        assert set(stage.states.values()) <= {State.END}


ManagerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestManager = ManagerMachine.TestCase

turns_st = st.integers(0, 20)


@given(st.lists(st.tuples(versions_st, st.lists(turns_st, min_size=3, max_size=3), turns_st), min_size=1, max_size=8))
def test_whatever_the_lists_and_their_timing_the_last_one_is_served_in_the_end(
    lists: list[tuple[set[int], list[int], int]],
) -> None:
    """And each loader is called for one life at most: load, quiesce, unload."""

    async def script(stage: Stage) -> None:
        every: list[FakeLoader] = []
        for wanted, taken, pause in lists:
            loaders = {
                version: FakeLoader(turns=turns, what=turns) for version, turns in zip(sorted(wanted), taken, strict=False)
            }
            every += loaders.values()
            stage.emit(loaders)
            for _ in range(pause):
                await asyncio.sleep(0)
        for _ in range(4 * len(lists)):
            await settle()
        assert stage.available() == sorted(lists[-1][0])
        whole = ["load", "quiesce", "unload"]
        assert all(loader.calls == whole[: len(loader.calls)] for loader in every)
        assert all(loader.discards == (loader.calls != ["load"]) for loader in every if loader.calls)

    play(script)

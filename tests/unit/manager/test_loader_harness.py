"""The loader harness: each step of a version's life, what it publishes, and the steps that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fake_loader import BAD, FakeLoader, settle

from manager.event_bus import EventBus, ServableState
from manager.loader_harness import HarnessState, LoaderHarness
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State

Step = Callable[[LoaderHarness], Coroutine[Any, Any, None]]


def harness_for(loader: FakeLoader | ServingError) -> tuple[LoaderHarness, list[ServableState]]:
    """A new harness, and the events that it publishes."""
    bus = EventBus()
    events: list[ServableState] = []
    bus.subscribe(events.append)
    return LoaderHarness(ServableId("m", 1), loader, bus), events


def states(events: list[ServableState]) -> list[State]:
    return [event.state for event in events]


def test_a_whole_life_step_by_step() -> None:
    async def live() -> None:
        loader = FakeLoader()
        gates = {call: loader.hold(call) for call in ("load", "quiesce", "unload")}
        harness, events = harness_for(loader)
        assert (harness.state, harness.aspired, harness.finished) == (HarnessState.NEW, True, True)

        work = asyncio.ensure_future(harness.load())
        for gate, during, after in (
            ("load", HarnessState.LOADING, HarnessState.READY),
            ("quiesce", HarnessState.QUIESCING, HarnessState.UNLOADING),
            ("unload", HarnessState.UNLOADING, HarnessState.DISABLED),
        ):
            if gate == "quiesce":
                work = asyncio.ensure_future(harness.unload())
            await settle()
            assert (harness.state, harness.finished) == (during, False)
            gates[gate].set()
            await settle()
            assert harness.state is after
        await work
        assert harness.finished
        assert loader.calls == ["load", "quiesce", "unload"]
        assert states(events) == [State.START, State.LOADING, State.AVAILABLE, State.UNLOADING, State.END]
        assert all(event.error is None for event in events)

    asyncio.run(live())


def test_requests_stop_before_the_unload_begins() -> None:
    async def live() -> None:
        loader = FakeLoader()
        drained = loader.hold("quiesce")
        harness, events = harness_for(loader)
        await harness.load()
        work = asyncio.ensure_future(harness.unload())
        await settle()
        assert "unload" not in loader.calls
        assert states(events)[-1] is State.UNLOADING
        drained.set()
        await work
        assert loader.calls[-1] == "unload"

    asyncio.run(live())


def test_a_failed_load_ends_with_its_error() -> None:
    harness, events = harness_for(FakeLoader(load_error=BAD))
    asyncio.run(harness.load())
    assert (harness.state, harness.finished) == (HarnessState.ERROR, True)
    assert states(events) == [State.START, State.LOADING, State.END]
    assert events[-1].error is BAD


def test_a_failed_unload_ends_with_its_error() -> None:
    async def live() -> None:
        harness, events = harness_for(FakeLoader(unload_error=BAD))
        await harness.load()
        await harness.unload()
        assert harness.state is HarnessState.ERROR
        assert events[-1].error is BAD

    asyncio.run(live())


@pytest.mark.parametrize("loader", [FakeLoader(load_error=OSError("disk on fire")), FakeLoader(load_error=KeyError("x"))])
def test_a_loader_that_raises_anything_else_does_not_stay_loading_for_ever(loader: FakeLoader) -> None:
    harness, events = harness_for(loader)
    asyncio.run(harness.load())
    assert harness.state is HarnessState.ERROR
    error = events[-1].error
    assert error is not None
    assert error.code is Code.INTERNAL
    assert str(loader.load_error) in error.message


def test_an_item_that_came_as_an_error_ends_without_a_start() -> None:
    harness, events = harness_for(BAD)
    assert (harness.state, harness.finished) == (HarnessState.ERROR, True)
    assert states(events) == [State.END]
    assert events[0].error is BAD


@pytest.mark.parametrize(
    ("before", "step", "transition"),
    [
        ((), LoaderHarness.unload, "new to quiescing"),
        ((LoaderHarness.load,), LoaderHarness.load, "ready to loading"),
        ((LoaderHarness.load, LoaderHarness.unload), LoaderHarness.unload, "disabled to quiescing"),
        ((LoaderHarness.load, LoaderHarness.unload), LoaderHarness.load, "disabled to loading"),
    ],
)
def test_a_step_out_of_turn_is_refused_and_calls_nothing(before: tuple[Step, ...], step: Step, transition: str) -> None:
    async def live() -> None:
        loader = FakeLoader()
        harness, events = harness_for(loader)
        for each in before:
            await each(harness)
        state, calls, heard = harness.state, list(loader.calls), len(events)
        with pytest.raises(ServingError) as caught:
            await step(harness)
        assert caught.value.code is Code.INTERNAL
        assert caught.value.message == f"Illegal request to transition from state {transition}"
        assert (harness.state, loader.calls, len(events)) == (state, calls, heard)

    asyncio.run(live())


def test_nothing_comes_after_an_error() -> None:
    harness, _ = harness_for(BAD)
    with pytest.raises(ServingError, match="from state error to loading"):
        asyncio.run(harness.load())

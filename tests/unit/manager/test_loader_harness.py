"""The loader harness: each step of a version's life, what it publishes, and the steps that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fake_loader import BAD, FakeLoader, settle

from manager.event_bus import EventBus, ServableState
from manager.loader_harness import CANCELLED, HarnessState, LoaderHarness, as_serving_error
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State


def harness_for(loader: FakeLoader | ServingError) -> tuple[LoaderHarness, list[ServableState]]:
    """A new harness, and the events that it publishes."""
    bus = EventBus()
    events: list[ServableState] = []
    bus.subscribe(events.append)
    return LoaderHarness(ServableId("m", 1), loader, bus), events


async def load(harness: LoaderHarness) -> None:
    harness.request_load()
    harness.approve_load()
    await harness.load()


async def unload(harness: LoaderHarness) -> None:
    harness.request_unload()
    await harness.unload()


def states(events: list[ServableState]) -> list[State]:
    return [event.state for event in events]


def test_a_whole_life_step_by_step() -> None:
    async def live() -> None:
        loader = FakeLoader(measured=77)
        gates = {call: loader.hold(call) for call in ("load", "quiesce", "unload")}
        harness, events = harness_for(loader)
        assert (harness.state, harness.aspired, harness.finished) == (HarnessState.NEW, True, True)
        harness.request_load()
        assert (harness.state, harness.finished) == (HarnessState.LOAD_REQUESTED, False)
        harness.approve_load()
        assert (harness.state, states(events)) == (HarnessState.LOAD_APPROVED, [State.START])

        work = asyncio.ensure_future(harness.load())
        for gate, during, after in (
            ("load", HarnessState.LOADING, HarnessState.READY),
            ("quiesce", HarnessState.QUIESCING, HarnessState.UNLOADING),
            ("unload", HarnessState.UNLOADING, HarnessState.DISABLED),
        ):
            if gate == "quiesce":
                harness.request_unload()
                assert (harness.state, states(events)[-1]) == (HarnessState.UNLOAD_REQUESTED, State.AVAILABLE)
                work = asyncio.ensure_future(harness.unload())
            await settle()
            assert (harness.state, harness.finished) == (during, False)
            gates[gate].set()
            await settle()
            assert harness.state is after
        await work
        assert (harness.finished, harness.measured, harness.attempts) == (True, 77, 1)
        assert loader.calls == ["load", "quiesce", "unload"]
        assert states(events) == [State.START, State.LOADING, State.AVAILABLE, State.UNLOADING, State.END]
        assert all(event.error is None for event in events)

    asyncio.run(live())


def test_requests_stop_before_the_unload_begins() -> None:
    async def live() -> None:
        loader = FakeLoader()
        drained = loader.hold("quiesce")
        harness, events = harness_for(loader)
        await load(harness)
        work = asyncio.ensure_future(unload(harness))
        await settle()
        assert loader.calls == ["load", "quiesce"]
        assert states(events)[-1] is State.UNLOADING
        drained.set()
        await work
        assert loader.calls[-1] == "unload"

    asyncio.run(live())


def test_a_failed_load_ends_with_its_error() -> None:
    harness, events = harness_for(FakeLoader(load_error=BAD))
    asyncio.run(load(harness))
    assert (harness.state, harness.finished, harness.error) == (HarnessState.ERROR, True, BAD)
    assert states(events) == [State.START, State.LOADING, State.END]
    assert events[-1].error is BAD


def test_a_failed_version_made_new_begins_again() -> None:
    async def live() -> None:
        loader = FakeLoader([BAD])
        harness, events = harness_for(loader)
        await load(harness)
        harness.renew()
        assert (harness.state, harness.error, harness.finished) == (HarnessState.NEW, None, True)
        await load(harness)
        assert (harness.state, harness.attempts) == (HarnessState.READY, 2)
        assert states(events)[2:] == [State.END, State.START, State.LOADING, State.AVAILABLE]

    asyncio.run(live())


def test_a_version_that_nobody_wants_when_it_is_loaded_is_unloaded_and_was_never_there() -> None:
    async def live() -> None:
        loader = FakeLoader()
        loaded = loader.hold("load")
        harness, events = harness_for(loader)
        work = asyncio.ensure_future(load(harness))
        await settle()
        harness.aspired = False
        loaded.set()
        await work
        assert loader.calls == ["load", "quiesce", "unload"]
        assert states(events) == [State.START, State.LOADING, State.UNLOADING, State.END]
        assert events[-1].error is CANCELLED
        assert str(CANCELLED) == "CANCELLED: Loading of servable cancelled"

    asyncio.run(live())


def test_a_failed_unload_ends_with_its_error() -> None:
    async def live() -> None:
        harness, events = harness_for(FakeLoader(unload_error=BAD))
        await load(harness)
        await unload(harness)
        assert (harness.state, harness.finished) == (HarnessState.ERROR, True)
        assert events[-1].error is BAD

    asyncio.run(live())


@pytest.mark.parametrize("error", [OSError("disk on fire"), KeyError("x")])
def test_a_loader_that_raises_anything_else_does_not_stay_loading_for_ever(error: Exception) -> None:
    harness, events = harness_for(FakeLoader(load_error=error))
    asyncio.run(load(harness))
    assert harness.state is HarnessState.ERROR
    assert harness.error is not None
    assert harness.error is events[-1].error
    assert (harness.error.code, harness.error.message) == (Code.INTERNAL, f"{type(error).__name__}: {error}")


def test_an_error_that_is_one_already_stays_what_it_is() -> None:
    assert as_serving_error(BAD) is BAD


def test_an_item_that_came_as_an_error_ends_without_a_start() -> None:
    harness, events = harness_for(BAD)
    assert (harness.state, harness.finished, harness.loader) == (HarnessState.ERROR, True, None)
    assert states(events) == [State.END]
    assert events[0].error is BAD


def test_it_may_be_told_of_an_error_at_any_time(caplog: pytest.LogCaptureFixture) -> None:
    harness, events = harness_for(FakeLoader())
    harness.request_load()
    harness.fail(BAD)
    assert (harness.state, events[-1].error) == (HarnessState.ERROR, BAD)
    text = "Encountered an error for servable version {name: m version: 1}: INVALID_ARGUMENT: no model in there"
    assert text in caplog.text


def request_load(harness: LoaderHarness) -> None:
    harness.request_load()


def request_unload(harness: LoaderHarness) -> None:
    harness.request_unload()


@pytest.mark.parametrize(
    ("before", "step", "transition"),
    [
        ("new", request_unload, "new to unload-requested"),
        ("new", lambda harness: harness.approve_load(), "new to load-approved"),
        ("new", lambda harness: harness.renew(), "new to new"),
        ("ready", request_load, "ready to load-requested"),
        ("disabled", request_unload, "disabled to unload-requested"),
        ("disabled", request_load, "disabled to load-requested"),
        ("error", request_load, "error to load-requested"),
        ("error", request_unload, "error to unload-requested"),
    ],
)
def test_a_step_out_of_turn_is_refused_and_changes_nothing(
    before: str, step: Callable[[LoaderHarness], None], transition: str
) -> None:
    async def live() -> None:
        loader = FakeLoader(load_error=BAD if before == "error" else None)
        harness, events = harness_for(loader)
        if before != "new":
            await load(harness)
        if before == "disabled":
            await unload(harness)
        assert harness.state.value == before
        calls, heard = list(loader.calls), len(events)
        with pytest.raises(ServingError) as caught:
            step(harness)
        assert caught.value.code is Code.INTERNAL
        assert caught.value.message == f"Illegal request to transition from state {transition}"
        assert (harness.state.value, loader.calls, len(events)) == (before, calls, heard)

    asyncio.run(live())


def test_a_load_or_unload_that_nobody_requested_is_refused() -> None:
    async def live() -> None:
        harness, _ = harness_for(FakeLoader())
        with pytest.raises(ServingError, match="from state new to loading"):
            await harness.load()
        await load(harness)
        with pytest.raises(ServingError, match="from state ready to quiescing"):
            await harness.unload()
        assert harness.state is HarnessState.READY

    asyncio.run(live())

"""The state monitor: the last state of every version, and when a set of models is settled."""

from __future__ import annotations

import asyncio

import pytest

from manager.event_bus import EventBus, ServableState
from manager.state_monitor import ServableStateMonitor
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State

BAD = ServingError(Code.NOT_FOUND, "nothing there")


class Observed:
    """A monitor and the bus that feeds it."""

    def __init__(self) -> None:
        self._bus = EventBus()
        self.monitor = ServableStateMonitor(self._bus)

    def say(self, name: str, version: int, state: State, error: ServingError | None = None) -> None:
        self._bus.publish(ServableState(ServableId(name, version), state, error))


@pytest.fixture
def seen() -> Observed:
    return Observed()


def test_versions_are_shown_highest_first_each_with_its_last_state(seen: Observed) -> None:
    for version in (2, 10, 3):
        seen.say("m", version, State.START)
    seen.say("m", 3, State.AVAILABLE)
    states = [(event.id.version, event.state) for event in seen.monitor.versions("m")]
    assert states == [(10, State.START), (3, State.AVAILABLE), (2, State.START)]


def test_ended_versions_stay_visible(seen: Observed) -> None:
    seen.say("m", 1, State.AVAILABLE)
    seen.say("m", 1, State.END)
    assert [event.state for event in seen.monitor.versions("m")] == [State.END]
    assert not seen.monitor.available("m")


def test_models_do_not_mix(seen: Observed) -> None:
    seen.say("b", 1, State.AVAILABLE)
    seen.say("a", 1, State.START)
    assert seen.monitor.names == ["a", "b"]
    assert seen.monitor.available("b")
    assert not seen.monitor.available("a")
    assert seen.monitor.versions("c") == []


def test_no_trouble_while_one_version_is_available_or_may_yet_be(seen: Observed) -> None:
    seen.say("m", 1, State.END, BAD)
    seen.say("m", 2, State.LOADING)
    assert seen.monitor.trouble("m") is None
    seen.say("m", 2, State.AVAILABLE)
    assert seen.monitor.trouble("m") is None


def test_the_trouble_of_a_failed_model_is_its_highest_version_and_why(seen: Observed) -> None:
    seen.say("m", 1, State.END, ServingError(Code.INTERNAL, "another reason"))
    seen.say("m", 2, State.END, BAD)
    assert seen.monitor.trouble("m") == "{name: m version: 2} due to error: NOT_FOUND: nothing there"


def test_the_trouble_of_a_model_without_versions_is_what_the_source_says(seen: Observed) -> None:
    assert seen.monitor.trouble("m") is None
    seen.monitor.note_trouble("m", BAD)
    assert seen.monitor.trouble("m") == "NOT_FOUND: nothing there"
    seen.say("m", 1, State.START)
    assert seen.monitor.trouble("m") is None


def test_what_the_source_says_does_not_hide_that_an_old_version_is_served(seen: Observed) -> None:
    seen.say("m", 1, State.AVAILABLE)
    seen.monitor.note_trouble("m", BAD)
    assert seen.monitor.trouble("m") is None


def test_settled_means_every_model_is_available_or_in_trouble(seen: Observed) -> None:
    async def run() -> list[bool]:
        settled = asyncio.ensure_future(seen.monitor.settled(["good", "bad", "empty"]))
        done = []

        async def look() -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            done.append(settled.done())

        seen.say("good", 1, State.LOADING)
        await look()
        seen.say("good", 1, State.AVAILABLE)
        await look()
        seen.say("bad", 1, State.LOADING)
        await look()
        seen.monitor.note_trouble("empty", BAD)
        await look()
        seen.say("other", 1, State.END, BAD)
        await look()
        seen.say("bad", 1, State.END, BAD)
        await look()
        return done

    assert asyncio.run(run()) == [False, False, False, False, False, True]


def test_nothing_to_wait_for_is_settled_at_once(seen: Observed) -> None:
    asyncio.run(asyncio.wait_for(seen.monitor.settled([]), 1))

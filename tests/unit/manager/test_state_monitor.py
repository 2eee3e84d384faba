"""The state monitor: the last state of every version, and when a set of models is settled."""

from __future__ import annotations

import asyncio

import pytest
from fake_loader import settle

from manager.event_bus import EventBus, ServableState
from manager.loader_harness import CANCELLED
from manager.state_monitor import MOST_ENDED, MOST_REMOVED, ServableStateMonitor
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State

BAD = ServingError(Code.NOT_FOUND, "nothing there")
FAILED = "{name: m version: 2} due to error: NOT_FOUND: nothing there"


class Observed(ServableStateMonitor):
    """A monitor with the bus that feeds it."""

    def __init__(self, most_ended: int = MOST_ENDED, most_removed: int = MOST_REMOVED) -> None:
        self._bus = EventBus()
        super().__init__(self._bus, most_ended, most_removed)

    def say(self, name: str, version: int, state: State, error: ServingError | None = None) -> None:
        self._bus.publish(ServableState(ServableId(name, version), state, error))


@pytest.fixture
def seen() -> Observed:
    return Observed()


def text(error: ServingError | None) -> str | None:
    return error.message if error else None


def test_versions_are_shown_highest_first_each_with_its_last_state(seen: Observed) -> None:
    for version in (2, 10, 3):
        seen.say("m", version, State.START)
    seen.say("m", 3, State.AVAILABLE)
    states = [(event.id.version, event.state) for event in seen.versions("m")]
    assert states == [(10, State.START), (3, State.AVAILABLE), (2, State.START)]


def test_ended_versions_stay_visible(seen: Observed) -> None:
    seen.say("m", 1, State.AVAILABLE)
    assert seen.is_available(ServableId("m", 1))
    seen.say("m", 1, State.END)
    assert [event.state for event in seen.versions("m")] == [State.END]
    assert not seen.available("m")
    assert not seen.is_available(ServableId("m", 1))


def test_models_do_not_mix(seen: Observed) -> None:
    seen.say("b", 1, State.AVAILABLE)
    seen.say("a", 1, State.START)
    assert seen.names == ["a", "b"]
    assert (seen.available("b"), seen.available("a")) == (True, False)
    assert seen.versions("c") == []
    assert seen.state(ServableId("c", 1)) is seen.state(ServableId("a", 2)) is None


def test_of_ended_versions_the_last_ones_are_remembered() -> None:
    seen = Observed(most_ended=3)
    told: list[tuple[str, list[int]]] = []
    seen.on_forget(lambda name, versions: told.append((name, versions)))
    seen.say("m", 1, State.AVAILABLE)
    for version in (7, 5, 6, 8):
        seen.say("m", version, State.START)
        seen.say("m", version, State.END)
    assert told == [("m", [7])]
    seen.say("other", 1, State.END)
    seen.say("m", 9, State.END)
    assert told == [("m", [7]), ("m", [5])]
    assert [event.id.version for event in seen.versions("m")] == [9, 8, 6, 1]


def test_versions_that_have_not_ended_are_all_remembered() -> None:
    seen = Observed(most_ended=1)
    for version in range(5):
        seen.say("m", version, State.AVAILABLE)
    assert len(seen.versions("m")) == 5


def test_no_error_while_one_version_is_available(seen: Observed) -> None:
    seen.say("m", 2, State.END, BAD)
    assert text(seen.error("m")) == FAILED
    seen.say("m", 1, State.AVAILABLE)
    seen.note_trouble("m", BAD)
    assert seen.error("m") is None


def test_the_error_of_a_failed_model_is_that_of_its_highest_version(seen: Observed) -> None:
    seen.say("m", 1, State.END, ServingError(Code.INTERNAL, "another reason"))
    seen.say("m", 2, State.END, BAD)
    seen.note_trouble("m", ServingError(Code.NOT_FOUND, "no folder"))
    error = seen.error("m")
    assert (error and error.code, text(error)) == (Code.NOT_FOUND, FAILED)


def test_the_error_of_a_model_without_versions_is_what_the_source_says(seen: Observed) -> None:
    assert seen.error("m") is seen.source_error("m") is None
    seen.note_trouble("m", BAD)
    assert seen.error("m") is seen.source_error("m") is BAD
    seen.note_trouble("m", None)
    assert seen.error("m") is seen.source_error("m") is None


@pytest.mark.parametrize(
    ("states", "settled"),
    [
        pytest.param([], False, id="nothing is known"),
        pytest.param([(1, State.START)], False, id="to be loaded"),
        pytest.param([(1, State.LOADING)], False, id="being loaded"),
        pytest.param([(1, State.AVAILABLE)], True, id="available"),
        pytest.param([(1, State.AVAILABLE), (2, State.LOADING)], False, id="not all of it yet"),
        pytest.param([(1, State.AVAILABLE), (2, State.END)], True, id="as well as it gets"),
        pytest.param([(1, State.END)], True, id="failed"),
        pytest.param([(1, State.END), (1, State.START)], False, id="tried again"),
    ],
)
def test_settled(seen: Observed, states: list[tuple[int, State]], settled: bool) -> None:
    for version, state in states:
        seen.say("m", version, state, BAD if state is State.END else None)
    assert seen.is_settled("m") is settled


def test_the_source_s_word_settles_a_model_that_has_no_version_on_its_way(seen: Observed) -> None:
    seen.note_trouble("m", BAD)
    assert seen.is_settled("m")
    seen.say("m", 1, State.LOADING)
    assert not seen.is_settled("m")


def test_what_was_before_does_not_count(seen: Observed) -> None:
    for version, state in ((1, State.AVAILABLE), (2, State.LOADING)):
        seen.say("m", version, state)
    seen.note_trouble("n", BAD)
    assert seen.error("n", seen.now) is None
    seen.say("m", 3, State.END, BAD)
    since = seen.now
    assert not seen.is_settled("m", since)
    assert not seen.is_settled("n", since)
    assert seen.error("n", since) is None
    seen.say("m", 4, State.AVAILABLE)
    seen.note_trouble("n", BAD)
    assert seen.is_settled("m", since)
    assert seen.is_settled("n", since)


@pytest.mark.parametrize("error", [None, CANCELLED])
def test_the_end_of_a_version_that_nobody_wants_any_more_settles_nothing(seen: Observed, error: ServingError | None) -> None:
    """A model that is removed and added again: what is left of the first one ends while the second is on its way."""
    seen.say("m", 1, State.AVAILABLE)
    since = seen.now
    seen.say("m", 1, State.UNLOADING)
    assert not seen.is_settled("m", since)
    seen.say("m", 1, State.END, error)
    assert not seen.is_settled("m", since)
    assert seen.error("m", since) is None
    seen.say("m", 1, State.START)
    seen.say("m", 1, State.AVAILABLE)
    assert seen.is_settled("m", since)


def test_a_loader_s_own_cancelled_is_a_failure(seen: Observed) -> None:
    seen.say("m", 1, State.END, ServingError(Code.CANCELLED, "injected error"))
    assert seen.is_settled("m")
    assert text(seen.error("m")) == "{name: m version: 1} due to error: CANCELLED: injected error"


def test_waiting_until_every_model_is_settled(seen: Observed) -> None:
    async def work() -> list[bool]:
        everybody = asyncio.ensure_future(seen.settled(["good", "bad", "empty"]))
        somebody = asyncio.ensure_future(seen.settled(["good"]))
        done = []

        async def look() -> None:
            await settle()
            done.append(everybody.done())

        seen.say("good", 1, State.LOADING)
        await look()
        seen.say("good", 1, State.AVAILABLE)
        await look()
        assert somebody.done()
        seen.say("bad", 1, State.LOADING)
        await look()
        seen.note_trouble("empty", BAD)
        await look()
        seen.say("other", 1, State.END, BAD)
        await look()
        seen.say("bad", 1, State.END, BAD)
        await look()
        return done

    assert asyncio.run(work()) == [False, False, False, False, False, True]


def test_nothing_to_wait_for_is_settled_at_once(seen: Observed) -> None:
    asyncio.run(asyncio.wait_for(seen.settled([]), 1))


def test_a_model_that_is_not_configured_any_more_is_not_waited_for(seen: Observed) -> None:
    async def work() -> None:
        seen.note_models(["kept", "removed", "loading"])
        seen.note_trouble("removed", None)
        waits = [asyncio.ensure_future(seen.settled([name])) for name in ("kept", "removed", "loading")]
        seen.say("loading", 1, State.LOADING)
        await settle()
        seen.note_models(["kept"])
        await settle()
        assert [wait.done() for wait in waits] == [False, True, True]
        seen.say("kept", 1, State.AVAILABLE)
        await asyncio.wait_for(waits[0], 5)

    asyncio.run(work())


def test_the_trouble_of_a_model_goes_with_it(seen: Observed) -> None:
    seen.note_models(["m"])
    seen.note_trouble("m", BAD)
    seen.note_models([])
    assert seen.source_error("m") is None


def test_of_models_that_were_removed_the_versions_that_ended_last_are_remembered() -> None:
    seen = Observed(most_ended=3, most_removed=2)
    told: list[tuple[str, list[int]]] = []
    seen.on_forget(lambda name, versions: told.append((name, versions)))
    seen.note_models(["a", "b", "c", "kept"])
    for name in ("kept", "b", "a", "c"):
        seen.say(name, 1, State.AVAILABLE)
        seen.say(name, 2, State.END, BAD)
    seen.note_models(["c", "kept"])
    assert told == [], "what is still loaded doesn't count"
    seen.say("a", 1, State.END)
    assert (told, seen.names) == ([("b", [2])], ["a", "b", "c", "kept"])
    seen.note_models(["a", "c", "kept"])
    seen.note_models(["kept"])
    seen.say("b", 1, State.END)
    seen.say("c", 1, State.END)
    assert seen.names == ["b", "c", "kept"]
    assert [name for name, _ in told] == ["b", "a", "c", "a"]
    assert seen.state(ServableId("kept", 2)) is not None

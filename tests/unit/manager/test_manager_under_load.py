"""The manager with many streams at a time: independence, limits on loads and unloads, memory, and its end."""

from __future__ import annotations

import pytest
from fake_loader import BAD, FakeLoader, settle
from stage import Stage, pass_time, play

from manager.aspired_version_policy import ResourcePreservingPolicy
from manager.loader_harness import CANCELLED
from manager.retry import Retry
from ringserve.errors import Code, ServingError
from ringserve.servable import State

NAMES = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("error", [BAD, RuntimeError("a loader of somebody else's")])
def test_streams_are_independent(error: Exception) -> None:
    """A load that never ends and one that fails hold up nobody else's."""

    async def script(stage: Stage) -> None:
        stage.loader(1, "stuck").hold("load")
        stage.loaders["bad", 1] = FakeLoader(load_error=error)
        for name in ("stuck", "bad", "good"):
            stage.aspire(1, name=name)
        await settle()
        assert stage.available("good") == [1]
        assert stage.states["bad", 1] is State.END
        stage.aspire(2, name="bad")
        stage.aspire(2, name="good")
        await settle()
        assert (stage.available("good"), stage.available("bad")) == ([2], [2])
        assert stage.states["stuck", 1] is State.LOADING

    play(script)


def test_so_many_loads_at_a_time() -> None:
    async def script(stage: Stage) -> None:
        gates = {name: stage.loader(1, name).hold("load") for name in NAMES}
        for name in NAMES:
            stage.aspire(1, name=name)
        await settle()
        loading = [name for name in NAMES if stage.states[name, 1] is State.LOADING]
        assert loading == ["a", "b"]
        stage.aspire(name="c")  # its turn has not come: nothing is loaded only to be unloaded
        gates["a"].set()
        await settle()
        assert stage.loader(1, "c").calls == []
        assert stage.states["c", 1] is State.END
        assert stage.states["d", 1] is State.LOADING
        for gate in gates.values():
            gate.set()
        await settle()
        assert all(stage.available(name) == [1] for name in ("a", "b", "d", "e"))

    play(script, loads=2)


def test_the_limit_of_loads_can_change() -> None:
    async def script(stage: Stage) -> None:
        for name in NAMES:
            stage.loader(1, name).hold("load")
        stage.aspire(1, name="a")
        stage.aspire(1, name="b")
        await settle()
        stage.manager.limit_loads(2)
        for name in NAMES[2:]:
            stage.aspire(1, name=name)
        await settle()
        assert [name for name in NAMES if stage.states[name, 1] is State.LOADING] == ["a", "c", "d"]

    play(script, loads=1)


def test_so_many_unloads_at_a_time() -> None:
    async def script(stage: Stage) -> None:
        for name in NAMES:
            stage.loader(1, name).hold("unload")
            await stage.serve(1, name=name)
            stage.aspire(name=name)
        await settle()
        assert [name for name in NAMES if stage.states[name, 1] is State.UNLOADING] == ["a", "b"]
        stage.loader(1, "b").gates["unload"].set()
        await settle()
        assert [name for name in NAMES if stage.states[name, 1] is State.UNLOADING] == ["a", "c"]

    play(script, unloads=2)


def test_a_load_waits_for_memory_that_another_one_may_give_back() -> None:
    async def script(stage: Stage) -> None:
        failing = stage.loaders["a", 1] = FakeLoader(load_error=BAD, size=60)
        gate = failing.hold("load")
        stage.loaders["b", 1] = FakeLoader(size=60)
        stage.aspire(1, name="a")
        await settle()
        stage.aspire(1, name="b")
        await settle()
        assert stage.states["b", 1] is State.START
        gate.set()
        await settle()
        assert (stage.available("b"), stage.budget.reserved) == ([1], 60)

    play(script, limit=100)


def test_a_load_waits_for_memory_that_an_unload_gives_back_and_is_refused_when_none_is_under_way() -> None:
    async def script(stage: Stage) -> None:
        for name in ("a", "b", "c"):
            stage.loaders[name, 1] = FakeLoader(size=60)
        await stage.serve(1, name="a")
        unloaded = stage.loader(1, "a").hold("unload")
        stage.aspire(name="a")
        await settle()
        stage.aspire(1, name="b")
        await settle()
        assert stage.states["b", 1] is State.START
        unloaded.set()
        await settle()
        assert stage.available("b") == [1]
        assert ("END", "b", 1) not in stage.events
        stage.aspire(1, name="c")
        await settle()
        assert stage.states["c", 1] is State.END

    play(script, limit=100)


def test_what_no_memory_is_left_for_fails_and_is_tried_again_when_some_is() -> None:
    async def script(stage: Stage) -> None:
        for name in ("a", "b"):
            stage.loaders[name, 1] = FakeLoader(size=60)
            stage.aspire(1, name=name)
            await settle()
        error = stage.errors["b", 1]
        assert error is not None
        assert error.code is Code.RESOURCE_EXHAUSTED
        assert error.message.startswith("Insufficient resources to load servable {name: b version: 1}")
        stage.aspire(name="a")
        await settle()
        assert stage.available("b") == [1]
        stage.aspire(name="b")
        await settle()
        assert stage.budget.reserved == 0

    play(script, limit=100)


def test_an_unwanted_version_that_waited_for_memory_is_not_loaded() -> None:
    async def script(stage: Stage) -> None:
        first = stage.loaders["a", 1] = FakeLoader(size=60, load_error=BAD)
        gate = first.hold("load")
        waiting = stage.loaders["b", 1] = FakeLoader(size=60)
        for name in ("a", "b"):
            stage.aspire(1, name=name)
            await settle()
        stage.aspire(name="b")
        await settle()
        assert (stage.states["b", 1], stage.errors["b", 1]) == (State.END, CANCELLED), "at once"
        gate.set()
        await settle()
        assert (waiting.calls, stage.states["b", 1], stage.budget.reserved) == ([], State.END, 0)

    play(script, limit=100)


def test_an_unwanted_version_that_waits_for_its_files_gives_its_turn_to_the_next() -> None:
    async def script(stage: Stage) -> None:
        stage.loader(1, "a").hold("estimate")
        for name in ("a", "b"):
            stage.aspire(1, name=name)
        await settle()
        assert stage.available("b") == []
        stage.aspire(name="a")
        await settle()
        assert (stage.states["a", 1], stage.available("b")) == (State.END, [1])
        assert stage.loader(1, "a").discards == 1
        stage.aspire(1, name="a")
        await settle()
        assert stage.states["a", 1] is State.START, "another loader, whose own files are waited for"

    play(script, loads=1)


def test_one_unwanted_and_wanted_again_before_its_turn_loads_when_that_comes() -> None:
    async def script(stage: Stage) -> None:
        loaded = stage.loader(1, "a").hold("load")
        for name in ("a", "b"):
            stage.aspire(1, name=name)
        await settle()
        stage.aspire(name="b")
        stage.aspire(1, name="b")
        stage.aspire(name="b")
        await settle()
        stage.aspire(1, name="b")
        loaded.set()
        await settle()
        assert stage.available("b") == [1]

    play(script, loads=1)


def test_an_estimate_that_fails_is_a_load_that_fails() -> None:
    async def script(stage: Stage) -> None:
        stage.loaders["m", 1] = FakeLoader(estimate_error=ServingError(Code.NOT_FOUND, "no such folder"))
        stage.aspire(1)
        await settle()
        error = stage.errors["m", 1]
        text = "Error while attempting to reserve resources to load servable {name: m version: 1}: no such folder"
        assert error is not None
        assert (error.code, error.message) == (Code.NOT_FOUND, text)
        assert [event[0] for event in stage.events] == ["START", "END"]
        stage.loader(1).estimate_error = None
        await pass_time(60)
        assert stage.available() == [1]

    play(script, retry=Retry(1, 60))


def test_a_failed_unload_ends_with_its_error_and_gives_the_memory_back() -> None:
    async def script(stage: Stage) -> None:
        stage.loaders["m", 1] = FakeLoader(size=10, unload_error=BAD)
        await stage.serve(1)
        stage.aspire()
        await settle()
        assert (stage.states["m", 1], stage.errors["m", 1]) == (State.END, BAD)
        assert stage.budget.reserved == 0
        await stage.serve(1)  # and it can be loaded again

    play(script, limit=10)


def test_to_spare_memory_the_old_version_goes_first() -> None:
    async def script(stage: Stage) -> None:
        stage.loaders["m", 1] = FakeLoader(size=60)
        stage.loaders["m", 2] = FakeLoader(size=60)
        await stage.serve(1)
        drained = stage.loader(1).hold("quiesce")
        stage.aspire(2)
        await settle()
        assert stage.events == [("START", "m", 2), ("UNLOADING", "m", 1)]
        drained.set()
        await settle()
        assert stage.available() == [2]

    assert play(script, ResourcePreservingPolicy(), limit=100).fewest_available["m"] == 0


def test_a_version_given_up_before_its_load_was_asked_for_has_an_end_too() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        stage.loader(1).hold("quiesce")
        stage.aspire(2)  # to be loaded when 1 is gone
        await settle()
        stage.aspire(3)
        await settle()
        assert stage.states["m", 2] is State.END
        assert stage.loader(2).calls == []

    play(script, ResourcePreservingPolicy())


def test_after_close_nothing_begins_and_what_loads_is_given_up() -> None:
    async def script(stage: Stage) -> None:
        loaded = stage.loader(1).hold("load")
        stage.loaders["bad", 1] = bad = FakeLoader(load_error=BAD)
        stage.aspire(1)
        stage.aspire(1, name="bad")
        await settle()
        stage.manager.close()
        loaded.set()
        stage.aspire(2, name="other")
        stage.aspire(name="bad")
        await pass_time(1000)
        assert stage.available() == []
        assert stage.loader(2, "other").calls == []
        assert bad.calls == ["load"]

    play(script, retry=Retry(5, 60))

"""The manager under the stock policy: how lists of aspired versions become loads and unloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fake_loader import BAD, FakeLoader, Stage, settle
from hypothesis import given
from hypothesis import strategies as st

from ringserve.loader import Loader
from ringserve.servable import ServableId, State
from ringserve.source import ServableData

Script = Callable[[Stage], Coroutine[Any, Any, None]]


def play(script: Script) -> Stage:
    async def run() -> Stage:
        stage = Stage()
        await script(stage)
        return stage

    return asyncio.run(run())


def test_upgrade_loads_the_new_version_before_the_old_one_goes() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        stage.aspire(2)
        await settle()

    stage = play(script)
    assert stage.events == [
        ("START", "m", 2),
        ("LOADING", "m", 2),
        ("AVAILABLE", "m", 2),
        ("UNLOADING", "m", 1),
        ("END", "m", 1),
    ]
    assert stage.fewest_available["m"] == 1


def test_of_two_old_versions_one_goes_first_and_the_other_waits_for_a_new_one() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1, 2)
        gates = [stage.loader(version).hold("load") for version in (3, 4)]
        stage.aspire(3, 4)
        await settle()
        assert stage.available() == [2], "the lowest one goes at once"
        gates[1].set()
        await settle()
        assert stage.available() == [4], "the other one once a new one is there"
        gates[0].set()
        await settle()
        assert stage.available() == [3, 4]

    assert play(script).fewest_available["m"] == 1


def test_a_bad_new_version_leaves_the_old_one_serving_and_is_not_tried_again() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        bad = stage.loaders["m", 2] = FakeLoader(load_error=BAD)
        stage.aspire(2)
        await settle()
        assert stage.states["m", 2] is State.END
        for _ in range(3):  # the source says the same again with every poll
            stage.manager.set_aspired_versions("m", [ServableData(ServableId("m", 2), bad)])
            await settle()
        assert bad.calls == ["load"]
        assert stage.available() == [1]
        stage.events.clear()
        stage.aspire(3)
        await settle()
        assert [event for event in stage.events if event[0] in ("AVAILABLE", "UNLOADING")] == [
            ("AVAILABLE", "m", 3),
            ("UNLOADING", "m", 1),
        ]

    assert play(script).fewest_available["m"] == 1


def test_an_empty_list_unloads_everything() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1, 2)
        stage.aspire()
        await settle()
        assert stage.available() == []
        assert stage.states == {("m", 1): State.END, ("m", 2): State.END}

    play(script)


def test_rollback_loads_the_lower_version_before_the_higher_one_goes() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        await stage_only(stage, 2)
        stage.events.clear()
        stage.aspire(1)
        await settle()
        assert [event for event in stage.events if event[0] in ("AVAILABLE", "UNLOADING")] == [
            ("AVAILABLE", "m", 1),
            ("UNLOADING", "m", 2),
        ]

    assert play(script).fewest_available["m"] == 1


async def stage_only(stage: Stage, *versions: int) -> None:
    stage.aspire(*versions)
    await settle()
    assert stage.available() == sorted(versions)


def test_a_version_wanted_again_before_it_is_gone_is_unloaded_first_and_then_loaded_anew() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        old = stage.loader(1)
        drained = old.hold("quiesce")
        stage.aspire()
        await settle()
        new = stage.loaders["m", 1] = FakeLoader()
        stage.aspire(1)
        await settle()
        assert new.calls == []
        drained.set()
        await settle()
        assert old.calls == ["load", "quiesce", "unload"]
        assert new.calls == ["load"]
        assert stage.available() == [1]

    play(script)


def test_a_list_that_had_to_wait_gives_way_to_a_newer_one() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        drained = stage.loader(1).hold("quiesce")
        stage.aspire()
        await settle()
        stage.loaders["m", 1] = FakeLoader()
        stage.aspire(1)  # waits until 1 is gone
        stage.aspire(2)
        await settle()
        drained.set()
        await settle()
        assert stage.loaders["m", 1].calls == []
        assert stage.available() == [2]

    play(script)


def test_a_version_that_is_no_longer_wanted_when_its_load_ends_is_unloaded() -> None:
    async def script(stage: Stage) -> None:
        loaded = stage.loader(1).hold("load")
        stage.aspire(1)
        await settle()
        stage.aspire()
        await settle()
        loaded.set()
        await settle()
        assert stage.loader(1).calls == ["load", "quiesce", "unload"]
        assert stage.available() == []

    play(script)


def test_the_same_list_again_changes_nothing() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1, 2)
        stage.aspire(2, 1)
        await settle()
        assert stage.events == []

    play(script)


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


def test_an_item_that_is_an_error_ends_and_the_others_are_loaded() -> None:
    async def script(stage: Stage) -> None:
        items: list[ServableData[Loader]] = [
            ServableData(ServableId("m", 1), stage.loader(1)),
            ServableData(ServableId("m", 2), BAD),
        ]
        stage.manager.set_aspired_versions("m", items)
        await settle()
        assert stage.states == {("m", 1): State.AVAILABLE, ("m", 2): State.END}

    play(script)


def test_after_close_nothing_begins_and_what_loads_is_given_up() -> None:
    async def script(stage: Stage) -> None:
        loaded = stage.loader(1).hold("load")
        stage.aspire(1)
        await settle()
        stage.manager.close()
        loaded.set()
        stage.aspire(2, name="other")
        await settle()
        assert stage.available() == []
        assert stage.loader(2, "other").calls == []

    play(script)


def test_it_knows_what_is_aspired() -> None:
    async def script(stage: Stage) -> None:
        stage.loader(1).hold("quiesce")
        await stage.serve(1)
        assert stage.manager.aspires(ServableId("m", 1))
        stage.aspire(2)
        await settle()
        assert not stage.manager.aspires(ServableId("m", 1))
        assert not stage.manager.aspires(ServableId("n", 1))

    play(script)


versions = st.sets(st.integers(1, 4), max_size=3)
turns = st.integers(0, 20)


@given(st.lists(st.tuples(versions, st.lists(turns, min_size=3, max_size=3), turns), min_size=1, max_size=8))
def test_whatever_the_lists_and_their_timing_the_last_one_is_served_in_the_end(
    lists: list[tuple[set[int], list[int], int]],
) -> None:
    """And each loader is called for one life at most: load, quiesce, unload."""

    async def script(stage: Stage) -> None:
        every: list[FakeLoader] = []
        for wanted, taken, pause in lists:
            items: list[ServableData[Loader]] = []
            for version, turns_taken in zip(sorted(wanted), taken, strict=False):
                every.append(FakeLoader(turns=turns_taken))
                items.append(ServableData(ServableId("m", version), every[-1]))
            stage.manager.set_aspired_versions("m", items)
            for _ in range(pause):
                await asyncio.sleep(0)
        for _ in range(4 * len(lists)):
            await settle()
        assert stage.available() == sorted(lists[-1][0])
        whole = ["load", "quiesce", "unload"]
        assert all(loader.calls == whole[: len(loader.calls)] for loader in every)

    play(script)

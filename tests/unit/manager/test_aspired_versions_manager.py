"""The manager under the stock policy: how lists of aspired versions become loads and unloads."""

from __future__ import annotations

import pytest
from fake_loader import BAD, FakeLoader, settle
from stage import Stage, play

from manager.version_loader import VersionLoader
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State
from ringserve.source import ServableData


def changes(stage: Stage) -> list[tuple[str, str, int]]:
    """What requests see of the events."""
    return [event for event in stage.events if event[0] in ("AVAILABLE", "UNLOADING")]


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


def test_version_zero_is_a_version() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(0)
        assert stage.manager.aspired("m") == [0]

    play(script)


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


def test_a_bad_new_version_leaves_the_old_one_serving() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        bad = stage.loaders["m", 2] = FakeLoader(load_error=BAD)
        for _ in range(3):  # the source says the same again with every poll
            stage.aspire(2)
            await settle()
        assert (stage.states["m", 2], stage.errors["m", 2]) == (State.END, BAD)
        assert bad.calls == ["load"], "and is not tried again when there are no retries"
        assert stage.available() == [1]
        stage.events.clear()
        stage.aspire(3)
        await settle()
        assert changes(stage) == [("AVAILABLE", "m", 3), ("UNLOADING", "m", 1)]

    assert play(script).fewest_available["m"] == 1


def test_a_rollback_away_from_a_bad_version_keeps_the_old_one_available() -> None:
    """Upstream's list sticks here for ever: the old version is un-aspired, and so the list that wants it has to wait."""

    async def script(stage: Stage) -> None:
        await stage.serve(1)
        stage.loaders["m", 2] = FakeLoader(load_error=BAD)
        stage.aspire(2)
        await settle()
        assert stage.manager.aspired("m") == [2]
        stage.aspire(1)
        await settle()
        assert stage.manager.aspired("m") == [1]
        assert stage.loader(1).calls == ["load"], "the same loader, still loaded"
        stage.aspire(2)  # repaired: its loader is a new one
        stage.loaders["m", 2] = FakeLoader()
        stage.aspire(2)
        await settle()
        assert stage.available() == [2]

    assert play(script).fewest_available["m"] == 1


def test_a_version_wanted_again_with_another_loader_is_unloaded_and_loaded_anew() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        old = stage.loader(1)
        stage.loaders["m", 2] = FakeLoader(load_error=BAD)
        stage.aspire(2)
        await settle()
        new = stage.loaders["m", 1] = FakeLoader(what="a model at another path")
        stage.aspire(1)
        await settle()
        assert old.calls == ["load", "quiesce", "unload"]
        assert new.calls == ["load"]
        assert stage.available() == [1]

    play(script)


def test_an_empty_list_unloads_everything_of_that_stream() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1, 2)
        await stage.serve(1, name="other")
        stage.aspire()
        await settle()
        assert stage.states["m", 1] is stage.states["m", 2] is State.END
        assert (stage.available(), stage.available("other")) == ([], [1])

    play(script)


def test_a_shorter_list_unloads_what_is_missing() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(0, 1)
        stage.aspire(0)
        await settle()
        assert changes(stage) == [("UNLOADING", "m", 1)]

    play(script)


def test_rollback_loads_the_lower_version_before_the_higher_one_goes() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(2)
        stage.aspire(1)
        await settle()
        assert changes(stage) == [("AVAILABLE", "m", 1), ("UNLOADING", "m", 2)]

    assert play(script).fewest_available["m"] == 1


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


def test_the_others_of_a_list_do_not_wait_for_the_one_that_has_to() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        drained = stage.loader(1).hold("quiesce")
        stage.aspire()
        await settle()
        stage.loaders["m", 1] = FakeLoader()
        stage.aspire(1, 2)
        await settle()
        assert stage.available() == [2]
        drained.set()
        await settle()
        assert stage.available() == [1, 2]

    play(script)


def test_while_one_version_has_to_wait_a_failed_one_is_looked_at_once_a_list() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        stage.loader(1).hold("quiesce")
        bad = stage.loaders["m", 2] = FakeLoader(load_error=BAD)
        stage.aspire(2)
        await settle()
        stage.aspire(2, 3)
        await settle()
        before = bad.looks
        stage.loaders["m", 1] = FakeLoader()
        stage.aspire(1, 2, 3)  # 1 is on its way out
        await settle()
        assert bad.looks == before + 1

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
        assert [event[0] for event in stage.events] == ["START", "LOADING", "UNLOADING", "END"]
        error = stage.errors["m", 1]
        assert error is not None
        assert (error.code, error.message) == (Code.CANCELLED, "Loading of servable cancelled")

    play(script)


def test_a_version_wanted_again_while_it_still_loads_goes_on_loading() -> None:
    async def script(stage: Stage) -> None:
        loaded = stage.loader(1).hold("load")
        for versions in ((1,), (), (1,)):
            stage.aspire(*versions)
            await settle()
        loaded.set()
        await settle()
        assert stage.loader(1).calls == ["load"]
        assert [event[0] for event in stage.events] == ["START", "LOADING", "AVAILABLE"]

    play(script)


def test_the_same_list_again_changes_nothing() -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1, 2)
        stage.aspire(2, 1)
        await settle()
        assert stage.events == []

    play(script)


def test_an_item_that_is_an_error_ends_and_the_others_are_loaded() -> None:
    async def script(stage: Stage) -> None:
        stage.emit({1: stage.loader(1), 2: BAD})
        await settle()
        assert stage.states == {("m", 1): State.AVAILABLE, ("m", 2): State.END}
        assert stage.events[-1] != ("START", "m", 2)
        assert stage.errors["m", 2] is BAD
        stage.emit({1: stage.loader(1), 2: stage.loader(2)})
        await settle()
        assert stage.available() == [1, 2], "the next list may have the version itself"

    play(script)


def test_a_list_with_versions_of_another_servable_is_dropped_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def script(stage: Stage) -> None:
        await stage.serve(1)
        items: list[ServableData[VersionLoader]] = [ServableData(ServableId(name, 2), FakeLoader()) for name in ("m", "n")]
        stage.manager.set_aspired_versions("m", items)
        await settle()
        assert stage.events == []
        assert stage.manager.aspired("m") == [1]

    play(script)
    assert "Servable name: m doesn't match name in servable version: {name: n version: 2}" in caplog.text


def test_it_knows_what_is_aspired() -> None:
    async def script(stage: Stage) -> None:
        stage.loader(1).hold("quiesce")
        await stage.serve(1)
        assert stage.manager.aspires(ServableId("m", 1))
        stage.emit({2: BAD, 3: stage.loader(3)})
        await settle()
        assert not stage.manager.aspires(ServableId("m", 1))
        assert not stage.manager.aspires(ServableId("n", 1))
        assert (stage.manager.aspired("m"), stage.manager.aspired("n")) == ([2, 3], [])

    play(script)


def test_a_failed_version_with_another_loader_gives_way_to_it() -> None:
    """Its configuration may have been what was wrong with it."""

    async def script(stage: Stage) -> None:
        stage.loaders["m", 1] = FakeLoader(load_error=BAD)
        stage.aspire(1)
        await settle()
        error = ServingError(Code.INTERNAL, "no loader this time")
        stage.emit({1: error})
        await settle()
        assert stage.errors["m", 1] is BAD, "an error is nothing to give way to"
        stage.emit({1: FakeLoader(what="with other options")})
        await settle()
        assert stage.available() == [1]

    play(script)


@pytest.mark.parametrize("end", ["unloaded", "failed", "no memory", "unload failed", "cancelled", "never begun"])
def test_of_a_version_that_is_over_nothing_is_kept(end: str) -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader(
            size=1000 if end == "no memory" else 0,
            load_error=BAD if end == "failed" else None,
            unload_error=BAD if end == "unload failed" else None,
        )
        if end == "cancelled":
            loader.hold("load")
        if end == "never begun":
            loader.hold("estimate")
        stage.aspire(1)
        await settle()
        stage.aspire(2)
        assert loader.discards == 0 or end in ("failed", "no memory", "never begun")
        for gate in loader.gates.values():
            gate.set()
        await settle()
        assert (stage.available(), loader.discards) == ([2], 1)

    play(script, limit=100)


def test_nothing_is_kept_of_what_gives_way_to_another_loader() -> None:
    async def script(stage: Stage) -> None:
        first = FakeLoader(load_error=BAD)
        stage.emit({1: first})
        await settle()
        assert first.discards == 0, "it may be tried again"
        stage.emit({1: FakeLoader(what="with other options")})
        await settle()
        assert (stage.available(), first.discards) == ([1], 1)

    play(script)

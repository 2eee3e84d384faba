"""Versions that fail to load: how often and when they are tried again."""

from __future__ import annotations

import pytest
from fake_loader import BAD, FakeLoader, settle
from stage import Stage, pass_time, play

from manager.retry import Retry
from ringserve.options import ServerOptions
from ringserve.servable import State

TWICE = Retry(2, 60.0)


@pytest.mark.parametrize(
    ("most", "micros", "expected"), [(5, 60_000_000, Retry(5, 60.0)), (-1, -1, Retry(0, 0.0)), (0, 1500, Retry(0, 0.0015))]
)
def test_the_flags(most: int, micros: int, expected: Retry) -> None:
    options = ServerOptions(max_num_load_retries=most, load_retry_interval_micros=micros)
    assert Retry.from_options(options) == expected


def test_a_failed_load_is_tried_again_after_the_interval_and_is_seen_as_failed_till_then() -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader([BAD])
        stage.aspire(1)
        await settle()
        assert (stage.states["m", 1], stage.errors["m", 1]) == (State.END, BAD)
        await pass_time(59)
        assert loader.calls == ["load"]
        await pass_time(2)
        assert stage.available() == [1]
        assert [event[0] for event in stage.events] == ["START", "LOADING", "END", "START", "LOADING", "AVAILABLE"]
        assert loader.calls == ["load", "load"]

    play(script, retry=TWICE)


def test_after_so_many_retries_it_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader(load_error=BAD)
        stage.aspire(1)
        for _ in range(10):
            await pass_time(61)
            stage.aspire(1)
        assert loader.calls == ["load"] * 3
        assert stage.errors["m", 1] is BAD

    play(script, retry=TWICE)
    assert caplog.text.count("Retrying of Loading servable: {name: m version: 1} exhausted max_num_retries: 2") == 1


def test_no_pause_between_retries() -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader([BAD, BAD])
        stage.aspire(1)
        await settle()
        assert (stage.available(), loader.calls) == ([1], ["load"] * 3)

    play(script, retry=Retry(2, 0.0))


def test_a_pause_between_attempts_takes_no_one_s_turn() -> None:
    async def script(stage: Stage) -> None:
        stage.loaders["m", 1] = FakeLoader([BAD])
        stage.aspire(1)
        await settle()
        await stage.serve(1, name="other")

    play(script, retry=TWICE, loads=1)


def test_no_retry_of_a_version_that_nobody_wants_any_more() -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader(load_error=BAD)
        stage.aspire(1)
        await settle()
        stage.aspire()
        await pass_time(1000)
        assert loader.calls == ["load"]

    play(script, retry=TWICE)


def test_a_load_that_fails_when_nobody_wants_it_any_more_is_not_tried_again() -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader(load_error=BAD)
        gate = loader.hold("load")
        stage.aspire(1)
        await settle()
        stage.aspire()
        gate.set()
        await pass_time(1000)
        assert (loader.calls, stage.errors["m", 1]) == (["load"], BAD)

    play(script, retry=TWICE)


def test_a_failed_version_wanted_again_begins_to_count_anew() -> None:
    async def script(stage: Stage) -> None:
        for _ in range(2):
            loader = stage.loaders["m", 1] = FakeLoader(load_error=BAD)
            stage.aspire(1)
            for _ in range(5):
                await pass_time(61)
            assert loader.calls == ["load"] * 3
            stage.aspire()
            await settle()

    play(script, retry=TWICE)


def test_a_failed_version_whose_files_have_changed_is_tried_at_once_with_all_its_attempts() -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader(load_error=BAD)
        stage.aspire(1)
        await pass_time(61)
        await pass_time(61)
        assert loader.calls == ["load"] * 3
        stage.aspire(1)
        await settle()
        assert (loader.looks, loader.calls) == (1, ["load"] * 3), "they haven't"
        loader.files_changed = True
        stage.aspire(1)
        await settle()
        assert loader.calls == ["load"] * 4
        await pass_time(61)
        await pass_time(61)
        await pass_time(61)
        assert loader.calls == ["load"] * 6

    play(script, retry=TWICE)


def test_files_that_change_in_a_pause_do_not_make_two_loads_of_one() -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader([BAD])
        stage.aspire(1)
        await settle()
        loader.files_changed = True
        stage.aspire(1)
        await settle()
        assert stage.available() == [1]
        await pass_time(1000)
        assert loader.calls == ["load", "load"]

    play(script, retry=TWICE)


def test_one_look_at_files_at_a_time_and_none_at_those_of_a_version_that_is_well() -> None:
    async def script(stage: Stage) -> None:
        loader = stage.loaders["m", 1] = FakeLoader(load_error=BAD)
        loader.hold("changed")
        stage.aspire(1)
        await settle()
        for _ in range(3):
            stage.aspire(1)
            await settle()
        assert loader.looks == 1
        await stage.serve(1, name="other")
        stage.aspire(1, name="other")
        await settle()
        assert stage.loader(1, "other").looks == 0

    play(script)


def test_a_look_that_ends_late_does_not_disturb_the_version_that_is_there_by_then() -> None:
    async def script(stage: Stage) -> None:
        old = stage.loaders["m", 1] = FakeLoader(load_error=BAD)
        looked = old.hold("changed")
        old.files_changed = True
        stage.aspire(1)
        await settle()
        stage.aspire(1)
        await settle()
        stage.aspire()
        new = stage.loaders["m", 1] = FakeLoader([BAD])
        stage.aspire(1)
        await settle()
        looked.set()
        await settle()
        assert (old.calls, new.calls) == (["load"], ["load"])
        await pass_time(61)
        assert stage.available() == [1]

    play(script, retry=TWICE)


def test_a_look_at_the_files_of_one_that_gave_way_neither_revives_it_nor_stands_for_another_s() -> None:
    async def script(stage: Stage) -> None:
        old = FakeLoader(load_error=BAD, what="old options")
        looked = old.hold("changed")
        old.files_changed = True
        stage.emit({1: old})
        await settle()
        stage.emit({1: old})
        await settle()
        new = FakeLoader(load_error=BAD, what="new options")
        stage.emit({1: new})
        await settle()
        stage.emit({1: new})
        await settle()
        assert (old.looks, new.looks) == (1, 1)
        stage.events.clear()
        looked.set()
        await pass_time(1000)
        assert (stage.events, old.calls) == ([], ["load"])

    play(script)

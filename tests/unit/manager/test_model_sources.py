"""The sources of all models: files for most, plug-ins for some, whatever these do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from plugin_sources import Recorded
from stage import run

from manager.model_config import ModelConfig
from manager.model_sources import ModelSources
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.source import ServableData

PLUGIN = "plugin_sources:Recorded"


def plugged(name: str = "m", source: str = PLUGIN, base_path: str = "", **options: str) -> ModelConfig:
    return ModelConfig(name, base_path or f"/{name}", source=source, source_options=options)


class Watched:
    """Sources, with what they emit and complain of."""

    def __init__(self, poll_seconds: float = 0.005) -> None:
        Recorded.made.clear()
        self.lists: list[tuple[str, list[int]]] = []
        self.troubles: dict[str, ServingError | None] = {}
        self.sources = ModelSources(poll_seconds, self.troubles.__setitem__)
        self.sources.set_aspired_versions_callback(self._note)

    def _note(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        self.lists.append((name, [version.id.version for version in versions]))

    def trouble(self, name: str = "m") -> tuple[Code, str] | None:
        error = self.troubles.get(name)
        return (error.code, error.message) if error else None


async def come(happened: Callable[[], bool]) -> None:
    for _ in range(2000):
        if happened():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


def test_a_plug_in_is_made_with_what_the_config_says_and_its_lists_are_passed_on() -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(dsn="x")])
        (source,) = Recorded.made
        assert source.arguments == ("m", "/m", {"dsn": "x"})
        source.emit(3, 1)
        assert watched.lists == [("m", [3, 1])]
        assert watched.trouble() is None
        source.emit()
        assert watched.lists[1:] == [("m", [])]
        assert watched.trouble() == (Code.NOT_FOUND, "The source of model m has no versions of it")

    run(work())


def test_a_plug_in_stays_while_its_config_does_and_gives_way_to_another() -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(dsn="x")])
        old = Recorded.made[0]
        old.emit(1)
        watched.sources.set_models([plugged(dsn="x"), plugged("n")])
        assert [source.name for source in Recorded.made] == ["m", "n"]
        watched.sources.set_models([plugged(dsn="y"), plugged("n")])
        assert old.closed == 1
        old.emit(7)  # though it is closed
        assert watched.lists == [("m", [1])], "what was served stays until the new one has spoken"
        Recorded.made[-1].emit(2)
        assert watched.lists == [("m", [1]), ("m", [2])]

    run(work())


def test_the_last_list_is_sent_again_for_a_model_whose_config_has_changed() -> None:
    """A version that failed for its options is tried with the new ones, which the source need not know of."""

    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(), plugged("n")])
        Recorded.made[0].emit(1)
        Recorded.made[0].emit(2, 1)
        options = {"default": "unknown"}
        watched.sources.set_models(
            [replace(plugged(), loader_options=options), replace(plugged("n"), loader_options=options)]
        )
        assert watched.lists == [("m", [1]), ("m", [2, 1]), ("m", [2, 1])], "n's source has said nothing yet"
        watched.sources.set_models(
            [replace(plugged(), loader_options=options), replace(plugged("n"), loader_options=options)]
        )
        assert len(watched.lists) == 3
        assert len(Recorded.made) == 2

    run(work())


def test_a_model_that_goes_has_no_versions_any_more() -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(), plugged("n")])
        watched.sources.set_models([plugged("n")])
        assert [(source.name, source.closed) for source in Recorded.made] == [("m", 1), ("n", 0)]
        assert watched.lists == [("m", [])]
        watched.sources.close()
        assert [source.closed for source in Recorded.made] == [1, 1]

    run(work())


@pytest.mark.parametrize(
    ("fails", "trouble"),
    [
        ("made", (Code.UNAVAILABLE, f"Source {PLUGIN} failed: no database there")),
        ("connected", (Code.INTERNAL, f"Source {PLUGIN} failed: OSError: the database is gone")),
    ],
)
def test_a_plug_in_that_fails_is_that_model_s_trouble_alone(fails: str, trouble: tuple[Code, str]) -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(fails=fails), plugged("n")])
        assert watched.trouble() == trouble
        Recorded.made[-1].emit(1)
        assert watched.lists == [("n", [1])]
        watched.sources.set_models([plugged(), plugged("n")])  # repaired
        Recorded.made[-1].emit(1)
        assert watched.lists[-1] == ("m", [1])
        assert watched.trouble() is None

    run(work())


def test_a_plug_in_that_cannot_be_imported() -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(source="plugin_sources:Missing"), plugged("n")])
        error = watched.troubles["m"]
        assert error is not None
        assert error.code is Code.INVALID_ARGUMENT
        assert 'source "plugin_sources:Missing" can\'t be imported: AttributeError' in error.message
        assert [source.name for source in Recorded.made] == ["n"]

    run(work())


def test_a_plug_in_that_fails_when_it_is_closed_is_closed_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(fails="closed")])
        watched.sources.set_models([])
        assert watched.lists == [("m", [])]
        watched.sources.set_models([plugged(fails="closed"), plugged("n", fails="closed")])
        watched.sources.close()
        assert [source.closed for source in Recorded.made] == [1, 1, 1]

    run(work())
    assert "the source of model m failed when it was closed" in caplog.text


def test_versions_of_another_model_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(), plugged("n")])
        Recorded.made[0].emit(1, name="n")
        assert watched.lists == []

    run(work())
    assert "the source of model m emitted versions of n, which are dropped" in caplog.text


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([ServableData(ServableId("m", "1"), "/m/1")], id="a version that is no number"),  # type: ignore[arg-type]
        pytest.param([ServableData(ServableId("m", 1 << 63), "/m/1")], id="nor one that fits"),
        pytest.param([ServableData(ServableId("n", 1), "/n/1")], id="another model's"),
        pytest.param(["/m/1"], id="a path"),
        pytest.param(None, id="nothing"),
    ],
)
def test_what_is_no_list_of_versions_is_dropped(caplog: pytest.LogCaptureFixture, items: list[ServableData[str]]) -> None:
    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged()])
        Recorded.made[0].callback("m", items)
        assert (watched.lists, watched.troubles) == ([], {})

    run(work())
    assert "the source of model m emitted what is no list of its versions" in caplog.text


def test_between_files_and_a_plug_in_nothing_is_unloaded(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()

    async def work() -> None:
        watched = Watched()
        files = ModelConfig("m", str(tmp_path))
        watched.sources.set_models([files])
        await come(lambda: bool(watched.lists))
        watched.sources.set_models([plugged()])
        Recorded.made[0].emit(2)
        assert ("m", []) not in watched.lists
        watched.lists.clear()
        watched.sources.set_models([files])
        await come(lambda: bool(watched.lists))
        assert watched.lists[0] == ("m", [1])
        watched.sources.set_models([])
        assert watched.lists[-1] == ("m", [])
        watched.sources.close()

    run(work())


def test_the_trouble_of_a_plug_in_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()

    async def work() -> None:
        watched = Watched()
        watched.sources.set_models([plugged(fails="connected")])
        assert watched.trouble() is not None
        watched.sources.set_models([ModelConfig("m", str(tmp_path))])
        assert watched.trouble() is None
        watched.sources.close()

    run(work())

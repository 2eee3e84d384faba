"""The examples of docs/plugins.md do what the page says."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tf_runs import array_of, numbers, run

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.plugins import LOADERS, SOURCES, exists, find_class
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from ringserve.source import ServableData, Source
from shm.layout import Column
from workers.lookup_table import LookupTableLoader
from workers.platforms import Platforms
from workers.probe import probe

PAGE = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
LIMIT = 20.0


@pytest.fixture(name="modules")
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's modules, each in a file of the name in its first line, on the module path."""
    modules = re.findall(r"^```python\n(# (\w+)\.py\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [name for _, name in modules] == ["linear_model", "current_version"]
    for text, name in modules:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("modules")
def test_the_configurations_name_what_there_is() -> None:
    platforms = re.findall(r'model_platform: "(.*?)"', PAGE)
    sources = re.findall(r' source: "(.*?)"', PAGE)
    assert set(platforms) == {"linear_model:LinearModelLoader", "lookup_table"}
    assert sources == ["current_version:CurrentVersion"]
    assert all(exists(LOADERS, name) for name in platforms)
    assert all(exists(SOURCES, name) for name in sources)


def test_the_loader(modules: Path) -> None:
    version = modules / "1"
    version.mkdir()
    np.save(version / "weights.npy", np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    platforms = Platforms(ServerOptions())
    servable, platform = ServableId("prices", 1), "linear_model:LinearModelLoader"
    assert platforms.estimate(servable, str(version), platform, {}) > 48
    loaded = platforms.load(servable, str(version), platform, {"scale": "0.5"})
    x = np.array([[1, 0, 0], [0, 1, 1]], dtype="<f4")
    assert array_of(run(loaded.version, numbers(x))[0]).tolist() == [[0.5, 1.0], [4.0, 5.0]]
    report = probe(loaded.version, DEFAULT_SIGNATURE, ((1, Column("<f4", (3,))),))
    assert report.batched, report.reason
    with pytest.raises(ServingError, match="x has a NaN"):
        run(loaded.version, numbers(x * np.float32("nan")))
    loaded.unload()
    with pytest.raises(ServingError) as caught:
        platforms.load(ServableId("prices", 2), str(modules / "2"), platform, {})
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, f"{modules}/2/weights.npy is missing")


def test_the_source(modules: Path) -> None:
    importlib.invalidate_caches()

    async def follow() -> None:
        make = find_class(SOURCES, "current_version:CurrentVersion")
        source: Source[str] = make("prices", str(modules), {"poll_seconds": "0.005"})
        lists: asyncio.Queue[tuple[str, list[ServableData[str]]]] = asyncio.Queue()

        def callback(name: str, versions: Sequence[ServableData[str]]) -> None:
            lists.put_nowait((name, list(versions)))

        async def following() -> tuple[str, list[ServableData[str]]]:
            return await asyncio.wait_for(lists.get(), LIMIT)

        source.set_aspired_versions_callback(callback)
        assert await following() == ("prices", [])
        (modules / "new").write_text("12\n")
        (modules / "new").rename(modules / "CURRENT")
        assert await following() == ("prices", [ServableData(ServableId("prices", 12), str(modules / "12"))])
        (modules / "new").write_text("latest")
        (modules / "new").rename(modules / "CURRENT")
        _, (wrong,) = await following()
        assert isinstance(wrong.data, ServingError)
        assert wrong.data.message == "CURRENT is no version number: latest"
        source.close()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(follow())


def test_the_table(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("DE,Germany\nFR,France\n")
    (key, value), *_ = re.findall(r'loader_options \{ key: "(default)" value: "(.*?)" \}', PAGE)
    servable = LookupTableLoader(ServableId("countries", 1), str(tmp_path), {key: value}, ServerOptions()).load()
    asked = re.search(r'"instances": \[(.*?)\]', PAGE)
    answered = re.search(r'"predictions":\[(.*?)\]', PAGE)
    assert asked is not None
    assert answered is not None
    keys = np.array([text.encode() for text in re.findall(r'"(.*?)"', asked[1])], dtype=object)
    values = servable.run(DEFAULT_SIGNATURE, {"keys": keys})["values"].tolist()
    assert [value.decode() for value in values] == re.findall(r'"(.*?)"', answered[1])

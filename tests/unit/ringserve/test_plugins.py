"""Plug-ins by name: the class that is meant, and what is said of a name that means none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ringserve.errors import Code, ServingError
from ringserve.plugins import LOADERS, SOURCES, exists, find_class

MODULE = """
import sys
from ringserve.loader import Loader
class Good(Loader):
    def load(self): ...
    class Inner(Loader):
        def load(self): ...
class GoodSource:
    def set_aspired_versions_callback(self, callback): ...
    def close(self): ...
class Open:
    def set_aspired_versions_callback(self, callback): ...
number = 5
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On the module path: good and bad modules, and a package installed with entry points."""
    (tmp_path / "plugged.py").write_text(MODULE)
    (tmp_path / "plugged_exit.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "plugged_needy.py").write_text("import no_such_module_at_all\n")
    (tmp_path / "plugged_package").mkdir()
    (tmp_path / "plugged_package" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    points = (
        "[ringserve.loaders]\ngood = plugged:Good\nbad = plugged:nothing\n[ringserve.sources]\nfed = plugged:GoodSource\n"
    )
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("plugged")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def failure(group: str, name: str) -> str:
    with pytest.raises(ServingError) as caught:
        find_class(group, name)
    assert caught.value.code == Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize(
    ("group", "name", "expected"),
    [
        (LOADERS, "tensorflow", "TensorFlowLoader"),
        (LOADERS, "lookup_table", "LookupTableLoader"),
        (LOADERS, "plugged:Good", "Good"),
        (LOADERS, "plugged:Good.Inner", "Good.Inner"),
        (LOADERS, "good", "Good"),
        (SOURCES, "plugged:GoodSource", "GoodSource"),
        (SOURCES, "fed", "GoodSource"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_names_that_mean_a_class(group: str, name: str, expected: str) -> None:
    assert exists(group, name)
    assert find_class(group, name).__qualname__ == expected


@pytest.mark.parametrize(
    ("group", "name", "text"),
    [
        (
            LOADERS,
            "nobody",
            'platform "nobody" is not known: "tensorflow", "lookup_table", "module:Class" or an entry point',
        ),
        (LOADERS, "", 'platform "" is not known'),
        (LOADERS, "fed", "entry point of the group ringserve.loaders expected"),
        (SOURCES, "good", 'source "good" is not known: "module:Class" or an entry point of the group ringserve.sources'),
        (LOADERS, "no_such_module_at_all:X", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        (LOADERS, ":Class", "module:Class expected"),
        (LOADERS, "plugged:", "module:Class expected"),
        (LOADERS, "plugged:a:b", "module:Class expected"),
        (LOADERS, "../plugged:Good", "module:Class expected"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_names_that_mean_nothing(group: str, name: str, text: str) -> None:
    assert not exists(group, name)
    assert text in failure(group, name)


@pytest.mark.parametrize(
    ("group", "name", "text"),
    [
        (LOADERS, "plugged:Nothing", "AttributeError: "),
        (LOADERS, "bad", "AttributeError: "),
        (LOADERS, "plugged:number", "is 5, a subclass of ringserve.loader.Loader expected"),
        (LOADERS, "plugged:GoodSource", "a subclass of ringserve.loader.Loader expected"),
        (SOURCES, "plugged:Good", "a class with the methods set_aspired_versions_callback and close expected"),
        (SOURCES, "plugged:Open", "a class with the methods set_aspired_versions_callback and close expected"),
        (LOADERS, "plugged_exit:X", "can't be imported: SystemExit: 3"),
        (LOADERS, "plugged_needy:X", "can't be imported: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        (LOADERS, "plugged_package.inside:X", "can't be imported: RuntimeError: imported"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_wrong_is_seen_only_by_importing(group: str, name: str, text: str) -> None:
    assert exists(group, name)
    assert not [module for module in sys.modules if module.startswith("plugged")], "nothing was imported for that"
    assert text in failure(group, name)


def test_a_finder_that_fails_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            raise RuntimeError(name)

    monkeypatch.setattr(sys, "meta_path", [Failing, *sys.meta_path])
    assert not exists(LOADERS, "no_such_module_at_all:X")
    assert exists(LOADERS, "tensorflow")

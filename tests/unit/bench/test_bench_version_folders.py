"""Version folders appear and disappear as a whole, and what a server would read is right at any moment."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench import version_folders
from bench.version_folders import VersionFolders


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "exported" / "1"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_version_is_a_copy_of_the_whole_folder(tmp_path: Path, source: Path) -> None:
    folders = VersionFolders(tmp_path / "model", source)
    before = time.monotonic()
    began = folders.publish(7)
    assert before <= began <= time.monotonic()
    assert names(tmp_path / "model") == ["7/saved_model.pb", "7/variables/variables.index"]
    assert (tmp_path / "model" / "7" / "saved_model.pb").read_bytes() == b"graph"


def test_files_are_copied_where_they_can_not_be_linked(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    VersionFolders(tmp_path / "model", source).publish(1)
    assert names(tmp_path / "model" / "1") == names(source)
    assert (tmp_path / "model" / "1" / "saved_model.pb").stat().st_nlink == 1


def test_it_is_not_there_before_it_is_whole(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    link = version_folders._link_or_copy

    def watch(source: str, target: str) -> None:
        seen.append([entry.name for entry in (tmp_path / "model").iterdir()])
        link(source, target)

    monkeypatch.setattr(version_folders, "_link_or_copy", watch)
    VersionFolders(tmp_path / "model", source).publish(3)
    assert seen == [[".3"], [".3"]]


def test_a_withdrawn_version_is_gone_and_the_others_stay(tmp_path: Path, source: Path) -> None:
    folders = VersionFolders(tmp_path / "model", source)
    folders.publish(1)
    folders.publish(2)
    folders.withdraw(1)
    assert [entry.name for entry in (tmp_path / "model").iterdir()] == ["2"]
    assert names(source) == ["saved_model.pb", "variables/variables.index"]
    with pytest.raises(FileNotFoundError):
        folders.withdraw(1)


def test_a_version_that_is_there_is_not_replaced(tmp_path: Path, source: Path) -> None:
    folders = VersionFolders(tmp_path / "model", source)
    folders.publish(1)
    with pytest.raises(OSError, match="1"):
        folders.publish(1)

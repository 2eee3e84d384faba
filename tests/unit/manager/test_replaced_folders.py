"""Folders that are not any more what they were: noticed, and not confused with folders that only look different."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from manager import replaced_folders, storage
from manager.replaced_folders import ReplacedFolders
from ringserve.errors import Code, ServingError


def make(path: Path, content: bytes) -> list[tuple[int, str]]:
    path.mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(content)
    os.utime(path / "saved_model.pb", (5, 5))
    return [(1, str(path))]


def test_another_folder_of_the_same_content_is_the_same(tmp_path: Path) -> None:
    """Some network file systems give a folder another inode number each time that it is looked up."""
    folders = ReplacedFolders()
    versions = make(tmp_path / "1", b"a")
    assert folders.check("m", versions) == []
    (tmp_path / "1").rename(tmp_path / "old")
    make(tmp_path / "1", b"a")
    assert folders.check("m", versions) == []
    (tmp_path / "1").rename(tmp_path / "older")
    make(tmp_path / "1", b"longer")
    assert len(folders.check("m", versions)) == 1
    assert folders.check("m", versions) == []


def test_a_folder_still_being_copied_is_not_a_replaced_one(tmp_path: Path) -> None:
    folders = ReplacedFolders()
    versions = make(tmp_path / "1", b"a")
    folders.check("m", versions)
    (tmp_path / "1" / "late").write_bytes(b"")
    assert folders.check("m", versions) == []


def test_a_version_that_was_gone_in_between_is_a_new_one(tmp_path: Path) -> None:
    folders = ReplacedFolders()
    versions = make(tmp_path / "1", b"a")
    folders.check("m", versions)
    folders.check("m", [])
    shutil.rmtree(tmp_path / "1")
    assert folders.check("m", make(tmp_path / "1", b"longer")) == []


def test_a_folder_out_of_reach_is_looked_at_again(tmp_path: Path) -> None:
    folders = ReplacedFolders()
    versions = make(tmp_path / "1", b"a")
    folders.check("m", versions)
    (tmp_path / "1").rename(tmp_path / "old")
    assert folders.check("m", versions) == []
    make(tmp_path / "1", b"longer")
    assert len(folders.check("m", versions)) == 1


def test_a_copy_knows_as_much_and_is_apart(tmp_path: Path) -> None:
    folders = ReplacedFolders()
    versions = make(tmp_path / "1", b"a")
    folders.check("m", versions)
    other = folders.copy()
    folders.check("m", [])
    (tmp_path / "1").rename(tmp_path / "old")
    make(tmp_path / "1", b"longer")
    assert len(other.check("m", versions)) == 1


def test_a_remote_folder_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look costs requests, and some stores bill these."""
    now = 0.0
    answers: list[str | ServingError] = ["a", "a", ServingError(Code.UNAVAILABLE, "no network"), "b"]
    asked: list[str] = []

    def fingerprint(path: str) -> str:
        asked.append(path)
        answer = answers[len(asked) - 1]
        if isinstance(answer, ServingError):
            raise answer
        return answer

    monkeypatch.setattr(storage, "fingerprint", fingerprint)
    folders = ReplacedFolders(lambda: now)
    said = []
    while len(asked) < len(answers):
        said += [now for _ in folders.check("m", [(1, "gs://b/m/1")])]
        now += 1
    assert len(said) == 1
    assert now > 2 * replaced_folders._REMOTE_SECONDS
    assert now < 2 * replaced_folders._REMOTE_SECONDS + 3

"""Copies of remote versions: whole or not at all, shared by servers, and nothing outside their folder."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec", reason="remote base paths are an extra")

import fsspec
from file_server import serving

from manager import held_folder, model_cache, remote_storage, storage
from manager.held_folder import HeldFolder
from manager.model_cache import ModelCache, default_root
from manager.stored_files import StoredFile
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

ROOT = Path(__file__).resolve().parents[3]
FIVE = ServableId("m", 5)
URI = "memory://models/m/5"


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory", skip_instance_cache=True)
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    system.pipe_file("/models/m/5/saved_model.pb", b"graph")
    system.pipe_file("/models/m/5/variables/variables.index", b"index")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ModelCache]:
    made = ModelCache(tmp_path / "cache")
    yield made
    made.close()


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def content(path: str) -> dict[str, bytes]:
    folder = Path(path)
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files downloaded from now on."""
    seen: list[str] = []
    download = remote_storage.download

    def noting(folder: str, file: StoredFile, *more: Any) -> None:
        seen.append(file.name)
        download(folder, file, *more)

    monkeypatch.setattr(remote_storage, "download", noting)
    return seen


def test_a_version_is_copied_and_used_again(cache: ModelCache, monkeypatch: pytest.MonkeyPatch, memory: Any) -> None:
    seen = downloads(monkeypatch)
    path = cache.fetch(URI, FIVE)
    assert content(path) == {"saved_model.pb": b"graph", "variables/variables.index": b"index"}
    assert path.endswith("/5"), "some loaders read the version from it"
    assert len(seen) == 2
    assert cache.fetch(URI, FIVE, storage.fingerprint(URI)) == path
    assert len(seen) == 2
    memory.pipe_file("/models/m/5/saved_model.pb", b"other")
    other = cache.fetch(URI, FIVE)
    assert content(other)["saved_model.pb"] == b"other"
    assert not Path(path).exists(), "nothing uses the former one"


def test_a_copy_with_the_fingerprint_needs_no_network(cache: ModelCache, memory: Any) -> None:
    fingerprint = storage.fingerprint(URI)
    path = cache.fetch(URI, FIVE, fingerprint)
    memory.store.clear()
    assert cache.fetch(URI, FIVE, fingerprint) == path


def test_copies_of_a_server_before_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ModelCache(tmp_path)
    path = first.fetch(URI, FIVE)
    first.close()
    seen = downloads(monkeypatch)
    second = ModelCache(tmp_path)
    assert second.fetch(URI, FIVE) == path
    assert seen == []
    second.drop(FIVE)
    assert names(tmp_path) == []


def test_a_dropped_copy_is_gone_and_nothing_else(cache: ModelCache, tmp_path: Path, memory: Any) -> None:
    memory.pipe_file("/models/m/6/saved_model.pb", b"six")
    cache.fetch(URI, FIVE)
    six = cache.fetch("memory://models/m/6", ServableId("m", 6))
    cache.drop(FIVE)
    cache.drop(FIVE)
    cache.drop(ServableId("unknown", 1))
    assert len(names(tmp_path / "cache")) == 1
    assert content(six) == {"saved_model.pb": b"six"}


def test_two_servers_share_a_copy_and_the_last_removes_it(tmp_path: Path) -> None:
    one, other = ModelCache(tmp_path), ModelCache(tmp_path)
    path = one.fetch(URI, FIVE)
    assert other.fetch(URI, FIVE) == path
    one.drop(FIVE)
    assert content(path)
    other.drop(FIVE)
    assert names(tmp_path) == []


def test_two_holders_in_one_server_share_a_copy_and_the_last_removes_it(cache: ModelCache, tmp_path: Path) -> None:
    path = cache.fetch(URI, FIVE, holder="one")
    assert cache.fetch(URI, FIVE, holder="other") == path
    cache.drop("one")
    cache.drop("one")
    assert content(path)
    cache.drop("other")
    assert names(tmp_path / "cache") == []


def test_the_same_name_from_another_uri_is_another_copy(tmp_path: Path, memory: Any) -> None:
    memory.pipe_file("/others/m/5/saved_model.pb", b"graph")
    one, other = ModelCache(tmp_path), ModelCache(tmp_path)
    assert one.fetch(URI, FIVE) != other.fetch("memory://others/m/5", FIVE)
    one.close()
    other.close()


def test_odd_servable_names_stay_inside(cache: ModelCache, tmp_path: Path) -> None:
    for name in ("..", ".", "", "/etc", "a/../../b", "x" * 400, "\u00e9\u4e2d"):
        path = cache.fetch(URI, ServableId(name, 5))
        assert Path(path).resolve().parent.parent == tmp_path / "cache"


def test_a_copy_in_which_files_are_missing_is_made_anew(cache: ModelCache) -> None:
    path = cache.fetch(URI, FIVE)
    (Path(path) / "saved_model.pb").unlink()
    assert content(cache.fetch(URI, FIVE))["saved_model.pb"] == b"graph"
    cache.close()
    (Path(path) / "variables/variables.index").write_bytes(b"short")  # as long: a copy's bytes are not read again
    (Path(path) / "saved_model.pb").write_bytes(b"")
    assert content(cache.fetch(URI, FIVE))["saved_model.pb"] == b"graph"


def test_something_else_in_the_way_is_said_and_left_alone(cache: ModelCache, tmp_path: Path) -> None:
    path = Path(cache.fetch(URI, FIVE)).parent
    cache.drop(FIVE)
    path.mkdir()
    (path / "precious").write_text("mine", encoding="utf-8")
    with pytest.raises(ServingError, match="in the way"):
        cache.fetch(URI, FIVE)
    assert names(tmp_path / "cache") == [path.name]
    assert names(path) == ["precious"]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a//b", "./a", "a/..", "\0"])
def test_names_that_lead_elsewhere_are_refused(
    cache: ModelCache, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [StoredFile(name, 5, "", "/models/m/5/saved_model.pb")]
    monkeypatch.setattr(storage, "files", lambda folder: listed)
    with pytest.raises(ServingError) as caught:
        cache.fetch(URI, FIVE)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert names(tmp_path) == ["cache"]
    assert names(tmp_path / "cache") == []


def test_names_with_odd_characters_are_kept(tmp_path: Path) -> None:
    odd = {"assets/a b%20.txt", "\u4e2d'\"&.pb", "saved_model.pb"}
    for name in odd:
        place = tmp_path / "m" / "5" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(name.encode())
    cache = ModelCache(tmp_path / "cache")
    with serving(tmp_path) as address:
        path = cache.fetch(f"{address}/m/5", FIVE)
    assert content(path) == {name: name.encode() for name in odd}
    cache.close()


def test_a_name_that_is_both_file_and_folder(cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [StoredFile(name, 5, "", "/models/m/5/saved_model.pb") for name in ("a", "a/b")]
    monkeypatch.setattr(storage, "files", lambda folder: listed)
    with pytest.raises(ServingError) as caught:
        cache.fetch(URI, FIVE)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert names(tmp_path / "cache") == []


def test_what_does_not_arrive_whole_is_not_used(cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [StoredFile("saved_model.pb", 7, "", "/models/m/5/saved_model.pb")]
    monkeypatch.setattr(storage, "files", lambda folder: listed)
    with pytest.raises(ServingError, match="7 bytes there, and 5 arrived") as caught:
        cache.fetch(URI, FIVE)
    assert caught.value.code is Code.UNAVAILABLE
    assert names(tmp_path / "cache") == []


def test_a_folder_that_changes_during_the_download_is_not_used(
    cache: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: Any
) -> None:
    download = remote_storage.download

    def publishing(*arguments: Any) -> None:
        download(*arguments)
        memory.pipe_file("/models/m/5/late", b"")

    with monkeypatch.context() as patch:
        patch.setattr(remote_storage, "download", publishing)
        with pytest.raises(ServingError, match="changed while") as caught:
            cache.fetch(URI, FIVE)
    assert caught.value.code is Code.UNAVAILABLE
    assert names(tmp_path / "cache") == []
    assert "late" in content(cache.fetch(URI, FIVE))


def test_errors_name_their_cause(cache: ModelCache, tmp_path: Path, memory: Any) -> None:
    with pytest.raises(ServingError) as caught:
        cache.fetch("memory://nothing/5", FIVE)
    assert caught.value.code is Code.NOT_FOUND
    memory.mkdir("/empty/5")
    with pytest.raises(ServingError, match="no file") as caught:
        cache.fetch("memory://empty/5", FIVE)
    assert caught.value.code is Code.NOT_FOUND
    with serving(tmp_path) as address:
        pass
    with pytest.raises(ServingError) as caught:
        cache.fetch(f"{address}/m/5", FIVE)
    assert caught.value.code is Code.UNAVAILABLE
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ServingError, match="file"):
        ModelCache(tmp_path / "file").fetch(URI, FIVE)


def test_a_download_is_given_up_between_two_files_and_inside_one(tmp_path: Path) -> None:
    """A file of some chunks, of which the server sends the first and then waits."""
    (tmp_path / "m" / "5").mkdir(parents=True)
    (tmp_path / "m" / "5" / "saved_model.pb").write_bytes(bytes(1 << 24))
    stop, cache = threading.Event(), ModelCache(tmp_path / "cache")

    def before(method: str, path: str) -> None:
        if path.endswith(".pb"):
            stop.set()

    with serving(tmp_path, before) as address, pytest.raises(ServingError) as caught:
        cache.fetch(f"{address}/m/5", FIVE, stop=stop)
    assert caught.value.code is Code.CANCELLED
    assert names(tmp_path / "cache") == []
    with pytest.raises(ServingError) as caught:
        cache.fetch(URI, FIVE, stop=stop)
    assert caught.value.code is Code.CANCELLED
    assert names(tmp_path / "cache") == []


def test_many_downloads_of_one_version_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "m" / "5").mkdir(parents=True)
    (tmp_path / "m" / "5" / "saved_model.pb").write_bytes(b"graph")
    root = tmp_path / "cache"
    caches = [ModelCache(root) for _ in range(8)]
    paths: list[str] = []
    with serving(tmp_path) as address:
        uri = f"{address}/m/5"
        threads = [threading.Thread(target=lambda cache=cache: paths.append(cache.fetch(uri, FIVE))) for cache in caches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(paths) == 8
    assert len(set(paths)) == 1
    assert len(names(root)) == 1
    for cache in caches:
        assert content(paths[0]) == {"saved_model.pb": b"graph"}
        cache.drop(FIVE)
    assert names(root) == []


DOWNLOADER = """
import sys, time
from pathlib import Path
import fsspec
from manager import remote_storage
from manager.model_cache import ModelCache
from ringserve.servable import ServableId
fsspec.filesystem("memory").pipe_file("/m/5/saved_model.pb", b"graph")
def hang(folder, file, target, check):
    Path(target).write_bytes(b"half")
    print("downloading", flush=True)
    time.sleep(60)
remote_storage.download = hang
ModelCache(Path(sys.argv[1])).fetch("memory://m/5", ServableId("m", 5))
"""


def test_what_a_killed_server_left_is_removed_by_the_next_and_not_before(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", DOWNLOADER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == b"downloading\n"
            (half,) = names(tmp_path)
            cache = ModelCache(tmp_path)
            cache.fetch(URI, FIVE)
            cache.drop(FIVE)
            assert names(tmp_path) == [half], "its process lives"
        finally:
            other.kill()
    cache = ModelCache(tmp_path)
    cache.fetch(URI, FIVE)
    cache.drop(FIVE)
    assert names(tmp_path) == []


def test_copies_out_of_use_for_long_are_removed_and_strangers_are_not(tmp_path: Path, memory: Any) -> None:
    first = ModelCache(tmp_path)
    old = Path(first.fetch(URI, FIVE)).parent
    first.close()
    used = ModelCache(tmp_path)
    memory.pipe_file("/models/m/6/saved_model.pb", b"six")
    six = Path(used.fetch("memory://models/m/6", ServableId("m", 6))).parent
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    long_ago = time.time() - model_cache._KEEP_SECONDS - 1
    for path in (old / held_folder._LOCK, six / held_folder._LOCK, stranger):
        os.utime(path, (long_ago, long_ago))
    memory.pipe_file("/models/m/7/saved_model.pb", b"seven")
    cache = ModelCache(tmp_path)
    seven = Path(cache.fetch("memory://models/m/7", ServableId("m", 7))).parent
    assert names(tmp_path) == sorted(["stranger", six.name, seven.name])
    used.close()
    cache.close()


def test_a_folder_made_and_never_locked_is_removed_in_time(tmp_path: Path) -> None:
    fresh, stale = (held_folder._partial(tmp_path / name) for name in ("fresh", "stale"))
    fresh.mkdir()
    stale.mkdir()
    os.utime(stale, (5, 5))
    held_folder.sweep(tmp_path, 100)
    assert names(tmp_path) == [fresh.name]


def test_a_folder_removed_before_its_lock_was_there_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the lock file and locking it, another process may have removed the folder."""
    path = tmp_path / "copy"
    folder = HeldFolder.make(path)
    assert folder.rename(path)
    flock = fcntl.flock

    def late(descriptor: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        assert folder.remove()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    assert HeldFolder.hold(path) is None


def test_a_folder_that_another_has_replaced_is_held_and_not_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy"
    former = HeldFolder.make(path)
    assert former.rename(path)
    flock = fcntl.flock

    def late(descriptor: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        assert former.remove()
        other = HeldFolder.make(path)
        assert other.rename(path)
        other.close()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    held = HeldFolder.hold(path)
    assert held is not None
    second = HeldFolder.hold(path)
    assert second is not None
    assert not second.remove(), "the first hold is on this very folder"
    assert held.remove()


def test_the_default_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "ringserve"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache" / "ringserve"

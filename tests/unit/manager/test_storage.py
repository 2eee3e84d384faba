"""Base paths: on disk, in memory, and behind a real HTTP server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec", reason="remote base paths are an extra")

import fsspec
from file_server import serving
from fsspec.spec import AbstractFileSystem

from manager import remote_storage, storage
from ringserve.errors import Code, ServingError


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory", skip_instance_cache=True)
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def write(path: Path, content: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/models/m", False),
        ("file:///models/m", False),
        ("FILE:///models/m", False),
        ("models/m", False),
        ("", False),
        ("/a/gs://b", False),
        ("gs://bucket/m", True),
        ("s3://bucket", True),
        ("http://host/m", True),
        ("memory://m", True),
    ],
)
def test_what_is_remote(path: str, remote: bool) -> None:
    assert storage.is_remote(path) == remote


@pytest.mark.parametrize(
    ("path", "local"),
    [("/m", "/m"), ("file:///m", "/m"), ("file://localhost/m", "/m"), ("file:///a%20b", "/a%20b"), ("file:///", "/")],
)
def test_local_paths(path: str, local: str) -> None:
    assert storage.local_path(path) == local


@pytest.mark.parametrize("path", ["file://other/m", "file://m", "file://"])
def test_a_file_uri_of_another_host_or_of_no_path(path: str) -> None:
    with pytest.raises(ServingError) as caught:
        storage.local_path(path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert path in caught.value.message


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("/m", "/m/5"),
        ("/m//", "/m/5"),
        ("/", "/5"),
        ("file:///m/", "/m/5"),
        ("gs://bucket/m", "gs://bucket/m/5"),
        ("gs://bucket/m//", "gs://bucket/m/5"),
        ("memory://", "memory://5"),
    ],
)
def test_the_path_of_a_version(base: str, path: str) -> None:
    assert storage.child_path(base, "5") == path


def test_local_children_and_files(tmp_path: Path) -> None:
    write(tmp_path / "5" / "saved_model.pb", b"abc")
    write(tmp_path / "5" / "variables" / "variables.index")
    (tmp_path / "note").write_text("", encoding="utf-8")
    for base in (str(tmp_path), f"file://{tmp_path}"):
        assert storage.children(base) == ["5", "note"]
        found = storage.files(f"{base}/5")
        assert [(file.name, file.size) for file in found] == [("saved_model.pb", 3), ("variables/variables.index", 1)]


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("nothing", Code.NOT_FOUND, "No such file or directory"),
        ("file", Code.FAILED_PRECONDITION, "Not a directory"),
        ("\0", Code.INVALID_ARGUMENT, "null"),
        ("x" * 300, Code.INVALID_ARGUMENT, "File name too long"),
    ],
)
def test_local_errors(tmp_path: Path, name: str, code: Code, reason: str) -> None:
    write(tmp_path / "file")
    for call in (storage.children, storage.files, storage.fingerprint):
        with pytest.raises(ServingError, match=reason) as caught:
            call(f"{tmp_path}/{name}")
        assert caught.value.code is code


def test_folders_nested_too_deep_are_an_error(tmp_path: Path) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    try:
        with pytest.raises(ServingError) as caught:
            storage.files(str(tmp_path))
    finally:  # pytest's own tidying up would not manage it
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)
    text = f"{tmp_path}; folders in it are nested too deep"
    assert (caught.value.code, caught.value.message) == (Code.FAILED_PRECONDITION, text)


def test_a_fingerprint_notices_what_comes_goes_and_changes(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "deep" / "b")
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "nowhere").symlink_to("gone")
    seen = {storage.fingerprint(str(tmp_path))}
    assert seen == {storage.fingerprint(f"file://{tmp_path}")}
    write(tmp_path / "deep" / "c")
    seen.add(storage.fingerprint(str(tmp_path)))
    (tmp_path / "a").unlink()
    seen.add(storage.fingerprint(str(tmp_path)))
    write(tmp_path / "deep" / "b", b"longer")
    seen.add(storage.fingerprint(str(tmp_path)))
    os.utime(tmp_path / "deep" / "b", ns=(5, 5))
    seen.add(storage.fingerprint(str(tmp_path)))
    (tmp_path / "nowhere").unlink()
    (tmp_path / "nowhere").symlink_to("elsewhere")
    seen.add(storage.fingerprint(str(tmp_path)))
    assert len(seen) == 6


def test_a_store_of_objects(memory: Any) -> None:
    for name in ("5/saved_model.pb", "5/variables/v.index", "5/variables/v.data", "10/x", "note"):
        memory.pipe_file(f"/models/m/{name}", b"123")
    assert storage.children("memory://models/m") == ["10", "5", "note"]
    assert storage.children("memory://models/m/") == ["10", "5", "note"]
    found = storage.files("memory://models/m/5")
    assert [(file.name, file.size) for file in found] == [
        ("saved_model.pb", 3),
        ("variables/v.data", 3),
        ("variables/v.index", 3),
    ]
    before = storage.fingerprint("memory://models/m/5")
    assert before == storage.fingerprint("memory://models/m/5")
    memory.pipe_file("/models/m/5/saved_model.pb", b"456")
    assert before != storage.fingerprint("memory://models/m/5")


def test_errors_of_a_store_of_objects(memory: Any) -> None:
    memory.pipe_file("/models/5", b"123")
    for call in (storage.children, storage.files):
        with pytest.raises(ServingError) as caught:
            call("memory://nothing")
        assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(ServingError, match="Not a directory") as caught:
        storage.files("memory://models/5")
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_an_http_server(tmp_path: Path) -> None:
    write(tmp_path / "m" / "5" / "saved_model.pb", b"abc")
    write(tmp_path / "m" / "5" / "assets" / "a b%20.txt", b"")
    with serving(tmp_path) as address:
        assert storage.children(f"{address}/m") == ["5"]
        write(tmp_path / "m" / "6" / "saved_model.pb")
        assert storage.children(f"{address}/m") == ["5", "6"], "listings are not remembered"
        found = storage.files(f"{address}/m/5")
        assert [(file.name, file.size) for file in found] == [("assets/a b%20.txt", 0), ("saved_model.pb", 3)]
        before = storage.fingerprint(f"{address}/m/5")
        assert before == storage.fingerprint(f"{address}/m/5/")
        os.utime(tmp_path / "m" / "5" / "saved_model.pb", (5, 5))
        assert before != storage.fingerprint(f"{address}/m/5")
        with pytest.raises(ServingError) as caught:
            storage.children(f"{address}/nothing")
        assert caught.value.code is Code.NOT_FOUND
    with pytest.raises(ServingError) as caught:
        storage.children(f"{address}/m")
    assert caught.value.code is Code.UNAVAILABLE


def test_several_threads_list_at_the_same_time(tmp_path: Path, memory: Any) -> None:
    write(tmp_path / "m" / "5" / "saved_model.pb")
    memory.pipe_file("/m/5/saved_model.pb", b"")
    found: list[list[str]] = []
    with serving(tmp_path) as address:
        bases = [f"{address}/m", "memory://m"] * 8
        threads = [threading.Thread(target=lambda base=base: found.append(storage.children(base))) for base in bases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [["5"]] * 16


class Bucket(AbstractFileSystem):  # type: ignore[misc]  # it has no types
    """A store like those of objects: it remembers listings, and one of it holds an empty object of its own name."""

    protocol = "bucket"
    names: list[str] = []  # noqa: RUF012 - as a bucket, it is there for all instances
    failing = ""

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        path = self._strip_protocol(path)
        if self.failing and path.endswith(self.failing):
            raise PermissionError("no listing for you")
        if path in self.dircache:
            return list(self.dircache[path])
        found: list[Any] = [{"name": path + "/", "size": 0, "type": "file"}]
        found += [
            {"name": name, "size": 1, "type": "file", "ETag": name} for name in self.names if name.startswith(path + "/")
        ]
        self.dircache[path] = found
        return found


@pytest.fixture
def bucket() -> Iterator[type[Bucket]]:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    remote_storage._own.__dict__.clear()
    yield Bucket
    Bucket.names, Bucket.failing = [], ""
    remote_storage._own.__dict__.clear()


def test_nested_names_are_cut_and_listings_not_remembered(bucket: type[Bucket]) -> None:
    bucket.names = ["b/m/5/saved_model.pb", "b/m/5/variables/index", "b/m/7/x", "b/mm/9/x"]
    assert storage.children("bucket://b/m") == ["5", "7"]
    bucket.names.append("b/m/8/x")
    assert storage.children("bucket://b/m") == ["5", "7", "8"]


def test_a_folder_that_can_not_be_listed_is_an_error_and_not_a_smaller_model(bucket: type[Bucket]) -> None:
    bucket.names = ["b/m/5/saved_model.pb"]
    bucket.failing = "/5"
    with pytest.raises(ServingError, match="no listing for you") as caught:
        storage.files("bucket://b/m/5")
    assert caught.value.code is Code.PERMISSION_DENIED


def test_a_store_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch, memory: Any) -> None:
    monkeypatch.setattr(remote_storage, "_MOST_FILES", 3)
    for number in range(4):
        memory.pipe_file(f"/m/{number}", b"")
    with pytest.raises(ServingError, match="more than 3 files"):
        storage.files("memory://m")
    memory.pipe_file("/deep/" + "a/" * 40 + "x", b"")
    with pytest.raises(ServingError, match="deep"):
        storage.files("memory://deep")


@pytest.mark.parametrize(
    ("uri", "code", "text"),
    [
        ("gs://b/m", Code.FAILED_PRECONDITION, "pip install gcsfs"),
        ("s3://b/m", Code.FAILED_PRECONDITION, "pip install s3fs"),
        ("oci://b/m", Code.FAILED_PRECONDITION, "ocifs"),
        ("nonsense://b/m", Code.INVALID_ARGUMENT, "nonsense://"),
    ],
)
def test_a_scheme_whose_package_is_missing(uri: str, code: Code, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("gcsfs", "s3fs", "ocifs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ServingError) as caught:
        storage.children(uri)
    assert caught.value.code is code
    assert uri in caught.value.message
    assert text in caught.value.message


@pytest.mark.parametrize(("uri", "package"), [("gs://b/m", " gcsfs"), ("s3://b/m", " s3fs"), ("http://h/m", "")])
def test_fsspec_itself_is_missing(uri: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ServingError) as caught:
        storage.children(uri)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.message.endswith(f"pip install 'ringserve[remote]'{package}")

"""Copies of remote versions on this machine's disk, for the workers to load from."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from manager import storage
from manager.held_folder import HeldFolder, sweep
from manager.stored_files import StoredFile, digest, storage_error
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

_RECORD: Final = "copy.json"
_KEEP_SECONDS: Final = 30 * 24 * 3600.0  # a copy that no server has used for so long is removed


def default_root() -> Path:
    """Where users' caches belong: $XDG_CACHE_HOME, or ~/.cache."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "ringserve"


class ModelCache:
    """A copy is `<name>-<version>-<key>/<version>/…`, the key made from URI and fingerprint: a copy never changes.

    It gets that name when it is complete. Several servers may share a root: each holds a lock on what it downloads and
    on what it uses, which ends with its process however that ends. All calls block, and may come from any thread.
    """

    def __init__(self, root: Path) -> None:
        """`root` is made, and what dead servers left there removed, when the first version is fetched."""
        self._root = root
        self._lock = threading.Lock()
        self._swept = False
        self._held: dict[Hashable, HeldFolder] = {}  # by who holds it

    def fetch(
        self,
        uri: str,
        servable: ServableId,
        fingerprint: str | None = None,
        stop: threading.Event | None = None,
        holder: Hashable = None,
    ) -> str:
        """The path of a copy of a version's folder. One with this fingerprint is used again.

        It is held until `holder`, the servable unless given, drops it or fetches another.

        Raises ServingError: NOT_FOUND, UNAVAILABLE (network; changed meanwhile), CANCELLED (`stop` was set), and others.
        """
        holder = servable if holder is None else holder
        try:
            self._sweep_once()
            self._drop_if_broken(holder, servable)
            stop = stop or threading.Event()
            folder = self._fetch(uri, servable, fingerprint or storage.fingerprint(uri), stop)
        except (OSError, ValueError) as error:
            raise storage_error(f"{uri}; to {self._root}", error) from error
        if stop.is_set():
            folder.remove()
            _check(uri, stop)
        with self._lock:
            before = self._held.get(holder)
            self._held[holder] = folder
        if before is not None and before.path == folder.path:
            before.close()
        elif before is not None:
            before.remove()
        return str(folder.path / str(servable.version))

    def _drop_if_broken(self, holder: Hashable, servable: ServableId) -> None:
        """A copy in which somebody tidied up: the holder's own lock would keep it there."""
        with self._lock:
            folder = self._held.get(holder)
        if folder is not None and not _is_whole(folder.path, servable.version):
            self.drop(holder)

    def drop(self, holder: Hashable) -> None:
        """Remove the copy that it holds, unless another holder, here or in another server, uses it too."""
        with self._lock:
            folder = self._held.pop(holder, None)
        if folder is not None:
            folder.remove()

    def close(self) -> None:
        """Let go of all copies; they stay, for the next start."""
        with self._lock:
            held, self._held = self._held, {}
        for folder in held.values():
            folder.close()

    def _fetch(self, uri: str, servable: ServableId, fingerprint: str, stop: threading.Event) -> HeldFolder:
        path = self._path(uri, servable, fingerprint)
        if folder := self._adopt(path, servable.version):
            return folder
        files = storage.files(uri)
        if not files:
            raise ServingError(Code.NOT_FOUND, f"{uri}; there is no file in it")
        path = self._path(uri, servable, digest(files))
        while True:  # until it is ours, or another's that has come meanwhile
            if folder := self._adopt(path, servable.version):
                return folder
            if folder := self._download(uri, servable.version, files, path, stop):
                return folder

    def _path(self, uri: str, servable: ServableId, fingerprint: str) -> Path:
        key = hashlib.sha256(f"{uri}\0{servable.name}\0{fingerprint}".encode("utf-8", "surrogateescape")).hexdigest()
        return self._root / f"{quote(servable.name, safe='')[:100]}-{servable.version}-{key[:24]}"

    @staticmethod
    def _adopt(path: Path, version: int) -> HeldFolder | None:
        """A copy that is there already and whole. One that is not, because somebody tidied up in it, is removed."""
        folder = HeldFolder.hold(path)
        if folder is None and path.exists() and (folder := HeldFolder.hold(path)) is None:
            raise ServingError(Code.FAILED_PRECONDITION, f"{path}; it is no copy of a model, and in the way of one")
        if folder is None or _is_whole(path, version):
            return folder
        if not folder.remove():
            text = f"{path}; files are missing in this copy, and another server uses it"
            raise ServingError(Code.FAILED_PRECONDITION, text)
        return None

    @staticmethod
    def _download(
        uri: str, version: int, files: Sequence[StoredFile], path: Path, stop: threading.Event
    ) -> HeldFolder | None:
        """None when another server was quicker."""
        folder = HeldFolder.make(path)
        try:
            target = folder.path / str(version)
            for file in files:
                _download(uri, file, target, stop)
            _check(uri, stop)
            if digest(storage.files(uri)) != digest(files):
                raise ServingError(Code.UNAVAILABLE, f"{uri}; it changed while it was downloaded")
            record = {"uri": uri, "sizes": {file.name: _place(target, file.name).stat().st_size for file in files}}
            (folder.path / _RECORD).write_text(json.dumps(record), encoding="utf-8")
            renamed = folder.rename(path)
        except BaseException:
            folder.remove()
            raise
        if not renamed:
            folder.remove()
            return None
        return folder

    def _sweep_once(self) -> None:
        with self._lock:
            if not self._swept:
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
                sweep(self._root, _KEEP_SECONDS)
                self._swept = True


def _download(uri: str, file: StoredFile, target: Path, stop: threading.Event) -> None:
    from manager import remote_storage  # noqa: PLC0415 - fsspec is an extra, and takes long to import

    _check(uri, stop)
    place = _place(target, file.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    remote_storage.download(uri, file, str(place), lambda: _check(uri, stop))
    size = place.stat().st_size
    if file.size is not None and size != file.size:
        text = f"{uri}; {file.name} has {file.size} bytes there, and {size} arrived"
        raise ServingError(Code.UNAVAILABLE, text)


def _check(uri: str, stop: threading.Event) -> None:
    if stop.is_set():
        raise ServingError(Code.CANCELLED, f"{uri}; the download was given up")


def _place(target: Path, name: str) -> Path:
    """Where a file goes. FAILED_PRECONDITION for a name that leads elsewhere: what a store lists is not to be trusted."""
    parts = name.split("/")
    if "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise ServingError(Code.FAILED_PRECONDITION, f"{name!r} can't be the name of a model's file")
    return target.joinpath(*parts)


def _is_whole(path: Path, version: int) -> bool:
    """Are all files there, with the bytes recorded?"""
    try:
        record = json.loads((path / _RECORD).read_bytes())
        return all(_place(path / str(version), name).stat().st_size == size for name, size in record["sizes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ServingError):
        return False

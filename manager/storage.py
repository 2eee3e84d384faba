"""Base paths, wherever they are: folders of this machine, or URIs of stores that fsspec can reach.

All calls block, for as long as the store takes: they belong into threads. What they raise is ServingError.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from manager.stored_files import StoredFile, digest, storage_error
from ringserve.errors import Code, ServingError

_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def is_remote(path: str) -> bool:
    """Is this a URI of something else than this machine's files?"""
    uri = _URI.fullmatch(path)
    return uri is not None and uri[1].lower() != "file"


def local_path(path: str) -> str:
    """The path behind `file:///x`, with no decoding of percent signs, as upstream; a plain path is returned as it is.

    Raises INVALID_ARGUMENT when a `file:` URI names another host.
    """
    uri = _URI.fullmatch(path)
    if uri is None:
        return path
    host, slash, rest = uri[2].partition("/")
    if not slash or host.lower() not in {"", "localhost"}:
        text = f"{path}; a file URI is file:///folder, of this host: {host!r} is another"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    return f"/{rest}"


def child_path(base: str, name: str) -> str:
    """Of something in a base path, with one slash between; a local one as a plain path."""
    if not is_remote(base):
        return f"{local_path(base).rstrip('/')}/{name}"
    scheme, rest = base.split("://", 1)
    rest = rest.rstrip("/")
    return f"{scheme}://{rest}/{name}" if rest else f"{scheme}://{name}"


def children(base: str) -> list[str]:
    """The names directly in a base path, sorted, each once."""
    if is_remote(base):
        from manager import remote_storage  # noqa: PLC0415 - fsspec is an extra, and takes long to import

        return remote_storage.children(base)
    path = local_path(base)
    try:
        return sorted(os.listdir(path))
    except (OSError, ValueError) as error:
        raise storage_error(path, error) from error


def files(folder: str) -> list[StoredFile]:
    """All files below a version's folder, sorted by name. FAILED_PRECONDITION when it is no folder."""
    if is_remote(folder):
        from manager import remote_storage  # noqa: PLC0415 - as above

        return remote_storage.files(folder)
    path = local_path(folder)
    try:
        return sorted(_walk(path, ""), key=lambda file: file.name)
    except (OSError, ValueError) as error:
        raise storage_error(path, error) from error
    except RecursionError:
        raise ServingError(Code.FAILED_PRECONDITION, f"{path}; folders in it are nested too deep") from None


def _walk(path: str, prefix: str) -> Iterator[StoredFile]:
    """os.walk would leave out what it can't read."""
    with os.scandir(path) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{name}/")
            elif entry.is_symlink() and not entry.is_file():  # to a folder, perhaps above this one; or to nothing
                yield StoredFile(name, None, os.readlink(entry.path), entry.path)
            else:
                facts = entry.stat()
                yield StoredFile(name, facts.st_size, str(facts.st_mtime_ns), entry.path)


def fingerprint(folder: str) -> str:
    """Changes when a file below the folder comes, goes or changes, as far as names, sizes, times and tags tell."""
    return digest(files(folder))

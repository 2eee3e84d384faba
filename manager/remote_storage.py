"""Stores that fsspec reaches: gs://, s3://, http:// and so on. Imported only when a base path is such a URI."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote

from manager.stored_files import StoredFile, storage_error
from ringserve.errors import Code, ServingError

#: What fsspec needs besides itself, where that is not named in its own message.
_PACKAGES: Final = {
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **dict.fromkeys(("hdfs", "arrow_hdfs"), "pyarrow"),
    "smb": "smbprotocol",
}
#: What stores say of a file that changes with its content; each knows a few of them.
_TAGS: Final = (
    *("ETag", "etag", "e_tag", "generation", "md5Hash", "md5", "Content-MD5", "content_md5", "crc32c", "Digest"),
    *("LastModified", "last_modified", "Last-Modified", "updated", "modified", "mtime", "created"),
)
_DEEPEST: Final = 32
_MOST_FILES: Final = 100_000
_CONNECT_SECONDS: Final = 30.0
_SILENCE_SECONDS: Final = 60.0  # of an HTTP server, in the middle of an answer

_lock = threading.Lock()
_shared: dict[tuple[object, ...], Any] = {}
_own = threading.local()


def file_system(uri: str) -> Any:
    """The fsspec file system of a URI. FAILED_PRECONDITION when a package is missing, INVALID_ARGUMENT for no scheme of it.

    One for all threads where fsspec says that it may be shared, else one for each thread.
    """
    scheme = uri.partition("://")[0]
    cls = _class(uri, scheme)
    options = cls._get_kwargs_from_urls(uri)  # host, port and user, where they belong to the URI
    key = (scheme, *sorted(options.items()))
    if not getattr(cls, "async_impl", False):
        systems = _own.__dict__.setdefault("systems", {})
        if key not in systems:
            systems[key] = _make(cls, scheme, options)
        return systems[key]
    with _lock:
        if key not in _shared:
            _shared[key] = _make(cls, scheme, options)
        return _shared[key]


def _class(uri: str, scheme: str) -> Any:
    try:
        import fsspec  # noqa: PLC0415 - an extra
    except ImportError as error:
        text = f"{uri}; {scheme}:// needs fsspec: pip install 'ringserve[remote]'"
        package = _PACKAGES.get(scheme)
        raise ServingError(Code.FAILED_PRECONDITION, f"{text} {package}" if package else text) from error
    try:
        return fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        needs = f"{scheme}:// needs another package: pip install {package}" if package else str(error)
        raise ServingError(Code.FAILED_PRECONDITION, f"{uri}; {needs}") from error
    except ValueError as error:
        text = f"{uri}; fsspec knows no file system for {scheme}://"
        raise ServingError(Code.INVALID_ARGUMENT, text) from error


def _make(cls: Any, scheme: str, options: dict[str, Any]) -> Any:
    from fsspec.config import conf  # noqa: PLC0415 - as above
    from fsspec.dircache import DirCache  # noqa: PLC0415 - as above

    if scheme in {"http", "https"} and "client_kwargs" not in conf.get(scheme, {}):
        import aiohttp  # noqa: PLC0415 - only here

        # aiohttp's own limit is five minutes for a whole answer: too few for a large file, too many for a dead server
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
        options = {**options, "client_kwargs": {"timeout": timeout, "trust_env": True}}
    made = cls(**options, skip_instance_cache=True)
    # Listings are remembered for ever by default. Not every class takes the option that says so, but all use this.
    made.dircache = DirCache(use_listings_cache=False)
    return made


@contextmanager
def _reaching(path: str) -> Iterator[Any]:
    """The file system of a path, with whatever goes wrong as ServingError: each store's package has its own errors."""
    try:
        yield file_system(path)
    except ServingError:
        raise
    except Exception as error:
        _own.__dict__.clear()  # their connections may be broken: this thread's next call makes others
        raise storage_error(path, error) from error


def children(base: str) -> list[str]:
    """As of manager.storage."""
    with _reaching(base) as system:
        return sorted({name.partition("/")[0] for name, _ in _list(system, base)})


def download(folder: str, file: StoredFile, target: str, check: Callable[[], None]) -> None:
    """Write one of a folder's files to a path of this machine. `check` is called now and then, and may raise."""
    from fsspec.callbacks import Callback  # noqa: PLC0415 - an extra

    with _reaching(folder) as system:
        callback = Callback(hooks={"check": lambda *sizes, **more: check()})
        system.get_file(file.address, target, callback=callback)


def files(folder: str) -> list[StoredFile]:
    """As of manager.storage."""
    with _reaching(folder) as system:
        found = []
        for name, info in _walk(system, folder, "", _DEEPEST):
            found.append(_file(system, name, info))
            if len(found) > _MOST_FILES:
                raise ServingError(Code.FAILED_PRECONDITION, f"{folder}; it has more than {_MOST_FILES} files")
        return sorted(found, key=lambda file: file.name)


def _file(system: Any, name: str, info: dict[str, Any]) -> StoredFile:
    address = info["name"]
    if info.get("size") is None:  # an HTTP server's listing has names only
        info = system.info(address)
    tag = ", ".join(f"{key}={info[key]}" for key in _TAGS if info.get(key) is not None)
    return StoredFile(name, info.get("size"), tag, address)


def _walk(system: Any, folder: str, prefix: str, deepest: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every file below. fsspec's own `find` leaves out folders that it can't list: half a model would look whole."""
    if not deepest:
        raise ServingError(Code.FAILED_PRECONDITION, f"{folder}; folders are more than {_DEEPEST} deep")
    for name, info in _list(system, folder):
        if info.get("type") == "directory":
            yield from _walk(system, info["name"], f"{prefix}{name}/", deepest - 1)
        else:
            yield prefix + name, info


def _list(system: Any, folder: str) -> list[tuple[str, dict[str, Any]]]:
    """(name from there, facts) of what is in a folder."""
    system.invalidate_cache()
    root = system._strip_protocol(folder).rstrip("/")
    web = root.startswith(("http://", "https://"))
    found = []
    for info in system.ls(folder, detail=True):
        path = info["name"].rstrip("/")
        if path == root:
            if info.get("type") == "file" and not info["name"].endswith("/") and info.get("size"):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            continue  # object stores have empty objects that stand for folders
        name = path.removeprefix(f"{root}/")
        if name == path or (web and ("?" in name or "#" in name)):
            continue  # a web page's links to elsewhere, or to itself sorted otherwise
        found.append((unquote(name) if web else name, info))
    return found

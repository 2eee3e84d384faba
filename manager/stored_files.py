"""What is known of files in storage before they are read, and the errors of looking at them."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ringserve.errors import Code, ServingError

_CODES: Final = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EEXIST: Code.FAILED_PRECONDITION,
    errno.EISDIR: Code.FAILED_PRECONDITION,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.ENOSPC: Code.RESOURCE_EXHAUSTED,
    errno.EDQUOT: Code.RESOURCE_EXHAUSTED,
    errno.EMFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENFILE: Code.RESOURCE_EXHAUSTED,
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below a folder: its name from there with "/" between, its bytes if known, what changes with its content, and
    its address in the store.
    """

    name: str
    size: int | None
    tag: str
    address: str


def digest(files: Iterable[StoredFile]) -> str:
    """A fingerprint of these files: equal when names, sizes and tags are."""
    summed = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        summed.update(repr((file.name, file.size, file.tag)).encode("utf-8", "surrogateescape"))
    return summed.hexdigest()


def storage_error(path: str, error: Exception) -> ServingError:
    """For a client to see; in upstream's form, `<path>; <reason>`."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, FileNotFoundError):  # remote ones carry no number
        return ServingError(Code.NOT_FOUND, f"{path}; No such file or directory")
    if isinstance(error, OSError) and error.errno in _CODES:
        return ServingError(_CODES[error.errno], f"{path}; {error.strerror}")
    if isinstance(error, PermissionError):
        return ServingError(Code.PERMISSION_DENIED, f"{path}; {error or 'Permission denied'}")
    if isinstance(error, ValueError):  # a NUL in the name, or half a surrogate
        return ServingError(Code.INVALID_ARGUMENT, f"{path!r}; {error}")
    return ServingError(Code.UNAVAILABLE, f"{path}; {type(error).__name__}: {error}")

"""Paths of UNIX sockets, in URLs."""

from __future__ import annotations

import os
from typing import Final

_LONGEST: Final = 107  # bytes


def socket_path(url: str, scheme: str) -> str:
    """Of `scheme:///path`. Raises ValueError for anything else, and for what is no socket's path."""
    before = f"{scheme}://"
    path = url.removeprefix(before)
    if not url.startswith(before) or not path.startswith("/") or "\0" in path:
        raise ValueError(f"{url!r} is not {before}/path/of/a/socket: the path begins with a slash")
    if len(os.fsencode(path)) > _LONGEST:
        raise ValueError(f"{url!r} has too long a path: {_LONGEST} bytes at most are a UNIX socket's")
    return path

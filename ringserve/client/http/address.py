"""Where a server's REST API is: http:// and https:// URLs."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_PORTS: Final = {"http": 80, "https": 443}  # as everywhere, since a proxy may stand before a server
_SENDABLE: Final = re.compile(r"[!-~]*")  # in a request's first line


class HttpAddress(NamedTuple):
    """`url`: as it is named in errors' texts; `prefix`: what precedes `/v1`, "" or a path without a slash at its end."""

    url: str
    secure: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def of(cls, url: str) -> HttpAddress:
        """Raises ValueError for anything but http://host[:port][/path] and https://…"""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{url!r} is not the address of a server: {error}") from error
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is not the address of a server: http://host:port or https://host:port is expected")
        if parts.username is not None:
            raise ValueError("a URL with a user's name in it; the server has no users")  # not shown: a password may follow
        if not _SENDABLE.fullmatch(parts.path):
            raise ValueError(f"{url!r} is not the address of a server: percent-encode the characters of its path")
        port = _PORTS[parts.scheme] if port is None else port
        return cls(url.rstrip("/"), parts.scheme == "https", host, port, parts.path.rstrip("/"))

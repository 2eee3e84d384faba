"""Where a server is: the URLs that a client takes."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ringserve.client.socket_path import socket_path

DEFAULT_PORT: Final = 8500
_SUPPORTED: Final = "grpc://host:port, grpcs://host:port (TLS) and grpc+unix:///path/of/a/socket are supported"


class Address(NamedTuple):
    """`target`: as gRPC names it; `secure`: over TLS."""

    target: str
    secure: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises ValueError for anything but the forms that are supported."""
        scheme, separator, _ = url.partition("://")
        if not separator:
            raise ValueError(f"{url!r} has no scheme: {_SUPPORTED}")
        if scheme == "grpc+unix":
            return cls(f"unix:{socket_path(url, scheme)}", secure=False)
        if scheme in ("grpc", "grpcs"):
            return cls(_host_and_port(url), secure=scheme == "grpcs")
        raise ValueError(f"{url!r} has the scheme {scheme!r}: only {_SUPPORTED}")


def _host_and_port(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not the address of a server: {error}") from error
    if not host or parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not the address of a server, which has a host and a port: {_SUPPORTED}")
    host = f"[{host}]" if ":" in host else host
    return f"dns:///{host}:{DEFAULT_PORT if port is None else port}"

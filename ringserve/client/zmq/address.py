"""Where a server's ZeroMQ front end is: zmq:// and zmq+ipc:// URLs."""

from __future__ import annotations

import socket
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ringserve.client.socket_path import socket_path
from ringserve.errors import Code, ServingError

DEFAULT_PORT: Final = 8502
_PROBE_SECONDS: Final = 1.0


class ZmqAddress(NamedTuple):
    """`url`: as it is named in errors' texts. `path`: of a UNIX socket, "" where there is a host."""

    url: str
    path: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> ZmqAddress:
        """Raises ValueError for anything but zmq://host[:port] and zmq+ipc:///path."""
        if url.startswith("zmq+ipc://"):
            return cls(url, socket_path(url, "zmq+ipc"), "", 0)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{url!r} is not the address of a server: {error}") from error
        beyond = parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment
        if parts.scheme != "zmq" or not host or port == 0 or beyond:
            raise ValueError(f"{url!r} is not the address of a server: zmq://host:port or zmq+ipc:///path is expected")
        return cls(url.rstrip("/"), "", host, DEFAULT_PORT if port is None else port)

    def endpoint(self) -> tuple[str, bool]:
        """As ZeroMQ names it; and is it of IPv6? Names are looked up here, as ZeroMQ does not say where it can't.

        Raises ServingError (UNAVAILABLE) for a name that there is not.
        """
        if self.path:
            return f"ipc://{self.path}", False
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise self.unreachable(getattr(error, "strerror", None) or str(error)) from error
        # A server listens on 127.0.0.1 rather than ::1, which "localhost" may mean first.
        for family in (socket.AF_INET, socket.AF_INET6):
            for other, _, _, _, where in found:
                if other == family:
                    host = f"[{where[0]}]" if family == socket.AF_INET6 else where[0]
                    return f"tcp://{host}:{self.port}", family == socket.AF_INET6
        raise self.unreachable("it has no IP address")

    def unreachable(self, why: str) -> ServingError:
        return ServingError(Code.UNAVAILABLE, f"Can't connect to {self.url}: {why}")

    def why_unreachable(self) -> ServingError:
        """ZeroMQ does not say why, so this tries itself."""
        try:
            if self.path:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.settimeout(_PROBE_SECONDS)
                    probe.connect(self.path)
            else:
                socket.create_connection((self.host, self.port), _PROBE_SECONDS).close()
        except OSError as error:
            return self.unreachable(error.strerror or str(error))
        return self.unreachable("the server closed the connection")

"""What ZeroMQ front ends listen on: the port on the loopback interface, and the endpoints of --zmq_endpoint.

The sockets are the supervisor's, bound before anything is loaded and handed to front ends, as REST's.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from dataclasses import dataclass, field
from typing import Final

from manager.listener import bind_to, has_ipv6
from manager.unix_listener import UnixListener
from ringserve.curve_files import read_allowed_keys, read_secret_key
from ringserve.errors import Code, ServingError
from ringserve.options import MAX_PORT, ServerOptions

_logger = logging.getLogger(__name__)

_TCP: Final = re.compile(r"tcp://(?:\[([^\[\]]+)\]|([^\[\]:/]+)):([0-9]{1,5}|\*)", re.ASCII)
_IPC: Final = "ipc://"
_WAITING: Final = 1024  # connections that are not accepted yet
_LOOPBACK: Final = "127.0.0.1"


@dataclass(slots=True)
class ZmqEndpoints:
    """The sockets of `count` front ends; `names`: the endpoints as clients write them."""

    count: int
    names: list[str] = field(default_factory=list)
    unix: list[UnixListener] = field(default_factory=list)  # which front ends share
    tcp: list[list[socket.socket]] = field(default_factory=list)  # of each endpoint one socket a front end
    is_public: bool = False  # can other machines reach one?

    def sockets(self, index: int) -> list[socket.socket]:
        """Those of one front end."""
        return [*(sockets[index] for sockets in self.tcp), *(listener.sock for listener in self.unix)]

    async def listen(self, index: int) -> None:
        """Have one front end's sockets accept connections. Raises ServingError when a UNIX socket can't be made by now."""
        for sockets in self.tcp:
            sockets[index].listen(_WAITING)
        for listener in self.unix:
            await listener.listen()

    def close(self) -> None:
        for sockets in self.tcp:
            for sock in sockets:
                sock.close()
        for listener in self.unix:
            listener.close()

    def add(self, endpoint: str) -> None:
        """Raises ServingError for a text that is no endpoint, and for one that can't be had."""
        if endpoint.startswith(_IPC):
            self._add_ipc(endpoint)
            return
        match = _TCP.fullmatch(endpoint)
        if match is None or (match[3] != "*" and int(match[3]) > MAX_PORT):
            text = f"Not an endpoint for ZeroMQ: {endpoint!r} (tcp://host:port or ipc:///path)"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        self._add_tcp(endpoint, match[1] or match[2], 0 if match[3] == "*" else int(match[3]))

    def _add_ipc(self, endpoint: str) -> None:
        path = endpoint.removeprefix(_IPC)
        if path.startswith("@"):
            text = f"Not an endpoint for ZeroMQ: {endpoint!r} (abstract sockets have no permissions; give a path)"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        self.unix.append(UnixListener(path))
        self.names.append(endpoint)

    def _add_tcp(self, endpoint: str, host: str, port: int) -> None:
        family, address = _resolved(endpoint, host)
        sockets = bind_to(family, address, port, self.count, endpoint)
        for sock in sockets:
            sock.setblocking(False)
        self.tcp.append(sockets)
        written = endpoint.rpartition(":")[0]
        self.names.append(f"{written}:{sockets[0].getsockname()[1]}")
        self.is_public = self.is_public or not ipaddress.ip_address(address.partition("%")[0]).is_loopback

    def has_port(self, port: int) -> bool:
        return any(sockets[0].getsockname()[1] == port for sockets in self.tcp)


def open_zmq(options: ServerOptions, port_is_given: bool) -> ZmqEndpoints | None:
    """Bound, and not yet listening; the key files can be read. None: no ZeroMQ.

    `port_is_given`: somebody asked for the port; the default one yields to another server, and to an endpoint of its
    number. Raises ServingError for what was asked for and can't be.
    """
    if not options.zmq_frontends:
        return None
    has_keys = _check_keys(options)
    endpoints = ZmqEndpoints(options.zmq_frontends)
    try:
        for endpoint in filter(None, map(str.strip, options.zmq_endpoint.split(","))):
            endpoints.add(endpoint)
        if options.zmq_port and (port_is_given or not endpoints.has_port(options.zmq_port)):
            _add_port(endpoints, options.zmq_port, port_is_given)
    except BaseException:
        endpoints.close()
        raise
    if endpoints.is_public and not has_keys:
        text = "ZeroMQ clients of other machines need no key, and nothing is encrypted: %s (--zmq_curve_secret_key_file)"
        _logger.warning(text, ", ".join(endpoints.names))
    return endpoints if endpoints.names else None


def _check_keys(options: ServerOptions) -> bool:
    if options.zmq_curve_allowed_keys_file:
        read_allowed_keys(options.zmq_curve_allowed_keys_file)
    if not options.zmq_curve_secret_key_file:
        return False
    read_secret_key(options.zmq_curve_secret_key_file)
    return True


def _add_port(endpoints: ZmqEndpoints, port: int, is_given: bool) -> None:
    try:
        endpoints.add(f"tcp://{_LOOPBACK}:{port}")
        endpoints.names.insert(0, endpoints.names.pop())
    except ServingError as error:
        if is_given:
            raise
        _logger.warning("no ZeroMQ on the default port: %s (--zmq_port chooses another, 0 turns it off)", error.message)


def _resolved(endpoint: str, host: str) -> tuple[socket.AddressFamily, str]:
    if host == "*":
        return (socket.AF_INET6, "::") if has_ipv6() else (socket.AF_INET, "0.0.0.0")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        text = f"Can't listen on {endpoint}: {getattr(error, 'strerror', None) or error}"
        raise ServingError(Code.UNAVAILABLE, text) from error
    family, _, _, _, address = found[0]
    return family, str(address[0])

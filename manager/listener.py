"""Listening sockets, bound before anything is loaded, so that a taken port is known at once."""

from __future__ import annotations

import socket

from ringserve.errors import Code, ServingError


def bind(port: int, count: int) -> list[socket.socket]:
    """`count` sockets on one port, bound and not yet listening: the kernel spreads connections over them.

    All interfaces, IPv6 and IPv4, or IPv4 alone where there is no IPv6. The supervisor keeps them open: connections that
    come while a front end is being replaced wait in its socket. Raises ServingError when the port can't be had.
    """
    family = socket.AF_INET6 if has_ipv6() else socket.AF_INET
    return bind_to(family, "::" if family == socket.AF_INET6 else "0.0.0.0", port, count, f"port {port}")


def bind_to(family: socket.AddressFamily, host: str, port: int, count: int, name: str) -> list[socket.socket]:
    """As `bind`, on one address; `name`: what errors call it."""
    sockets: list[socket.socket] = []
    try:
        # Without SO_REUSEPORT first: with it, two servers of one user could share a port and never know.
        with _socket(family) as probe:
            share_with_the_past(probe)
            _bind(probe, host, port)
            port = probe.getsockname()[1]
        for _ in range(count):
            sockets.append(_socket(family))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind(sockets[-1], host, port)
    except OSError as error:
        for sock in sockets:
            sock.close()
        text = f"Can't listen on {name}: {error.strerror}"
        raise ServingError(Code.UNAVAILABLE, text) from error
    return sockets


def share_with_the_past(sock: socket.socket) -> None:
    """Let this port be bound although connections of an ended server linger on it.

    A socket of `bind` gets this when it is to listen, not before: of two sockets that both have it, neither listening yet,
    each may bind, and two servers that load their models at the same time would share the port.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with _socket(socket.AF_INET6) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True


def _socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return sock


def _bind(sock: socket.socket, host: str, port: int) -> None:
    sock.bind((host, port))

"""Listening sockets: whom they share a port with, and whom not."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from manager.listener import bind, share_with_the_past
from ringserve.errors import Code, ServingError

LOOPBACKS = ("127.0.0.1", "::1")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


def bound(stack: ExitStack, port: int = 0, count: int = 1) -> tuple[list[socket.socket], int]:
    sockets = [stack.enter_context(sock) for sock in bind(port, count)]
    return sockets, sockets[0].getsockname()[1]


def listen(sockets: list[socket.socket]) -> None:
    """As a front end does with its socket once the supervisor lets it accept."""
    for sock in sockets:
        share_with_the_past(sock)
        sock.listen()


def refused(port: int) -> ServingError:
    with pytest.raises(ServingError) as caught:
        bind(port, 1)
    return caught.value


def test_port_0_is_a_free_port_the_same_for_all(stack: ExitStack) -> None:
    sockets, port = bound(stack, count=3)
    assert port > 0
    assert [sock.getsockname()[1] for sock in sockets] == [port] * 3


@pytest.mark.parametrize("host", LOOPBACKS)
def test_ipv4_and_ipv6_clients_reach_it(stack: ExitStack, host: str) -> None:
    sockets, port = bound(stack)
    listen(sockets)
    with socket.create_connection((host, port), timeout=5):
        connection, _ = sockets[0].accept()
        connection.close()


def test_without_ipv6_it_listens_on_ipv4_alone(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_ipv6", False)
    sockets, port = bound(stack)
    listen(sockets)
    assert sockets[0].family is socket.AF_INET
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        sockets[0].accept()[0].close()


def test_connections_are_refused_until_it_listens(stack: ExitStack) -> None:
    _, port = bound(stack)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_the_kernel_spreads_connections_over_all_sockets(stack: ExitStack) -> None:
    sockets, port = bound(stack, count=2)
    listen(sockets)
    selector = stack.enter_context(selectors.DefaultSelector())
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    reached = set()
    for _ in range(200):  # by a hash of the addresses: all to one of two is a chance of 2^-199
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            ((key, _),) = selector.select(timeout=5)
            assert isinstance(key.fileobj, socket.socket)
            reached.add(key.fileobj)
            key.fileobj.accept()[0].close()
        if len(reached) == len(sockets):
            return
    pytest.fail("one socket got every connection")


def test_a_port_that_somebody_listens_on_is_refused(stack: ExitStack) -> None:
    other = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
    port = other.getsockname()[1]
    error = refused(port)
    assert (error.code, error.message) == (Code.UNAVAILABLE, f"Can't listen on port {port}: Address already in use")


@pytest.mark.parametrize("listening", [False, True])
def test_two_servers_never_share_a_port(stack: ExitStack, listening: bool) -> None:
    """Also not when the first is still loading its models and does not listen yet."""
    sockets, port = bound(stack, count=2)
    if listening:
        listen(sockets)
    assert refused(port).code is Code.UNAVAILABLE


def test_a_server_gets_its_port_again_although_old_connections_linger(stack: ExitStack) -> None:
    sockets, port = bound(stack)
    listen(sockets)
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
    connection, _ = sockets[0].accept()
    connection.close()  # this side closes first: it is the one that lingers
    assert client.recv(1) == b""
    client.close()
    sockets[0].close()
    bound(stack, port)


def test_a_port_below_1024_without_the_right(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("manager.listener._bind", forbid)
    assert refused(80).message == "Can't listen on port 80: Permission denied"

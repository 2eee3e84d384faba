"""Where gRPC listens: beside the supervisor's reservation, and never in another server's place."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from manager.grpc_address import check_socket_path, remove_socket, reserve
from ringserve.errors import Code, ServingError
from ringserve.grpc_target import unix_target


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


@contextmanager
def listening(where: str) -> Iterator[None]:
    """A gRPC server, as a front end has one, that answers with what it is sent."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    with ThreadPoolExecutor(1) as executor:
        server = grpc.server(executor, options=[("grpc.so_reuseport", 1)])
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", {"Say": handler})])
        server.add_insecure_port(where)  # raises RuntimeError when it can't
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait()


def echoed(target: str) -> bytes:
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer: bytes = channel.unary_unary("/test.Echo/Say")(b"hello", timeout=10)
        return answer


def port_of(reservation: socket.socket) -> int:
    port: int = reservation.getsockname()[1]
    return port


def everywhere(reservation: socket.socket) -> str:
    """All interfaces, as gRPC calls them, whether there is IPv6 or not."""
    return f"[::]:{port_of(reservation)}"


def test_grpc_listens_beside_the_reservation(stack: ExitStack) -> None:
    """Twice, as two front ends; and every connection is to one of them, none to the reservation."""
    reservation = stack.enter_context(reserve(0))
    for _ in range(2):
        stack.enter_context(listening(everywhere(reservation)))
    hosts = ["127.0.0.1", "[::1]"] if reservation.family == socket.AF_INET6 else ["127.0.0.1"]
    for host in hosts * 20:
        assert echoed(f"{host}:{port_of(reservation)}") == b"hello"


def test_until_grpc_listens_connections_are_refused(stack: ExitStack) -> None:
    reservation = stack.enter_context(reserve(0))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(reservation)), timeout=5)


@pytest.mark.parametrize("listens", [False, True])
def test_a_second_server_is_refused(stack: ExitStack, listens: bool) -> None:
    """Also while the first loads its models, or its front end is being replaced."""
    reservation = stack.enter_context(reserve(0))
    if listens:
        stack.enter_context(listening(everywhere(reservation)))
    port = port_of(reservation)
    with pytest.raises(ServingError) as caught:
        reserve(port)
    assert str(caught.value) == f"UNAVAILABLE: Can't listen on port {port}: Address already in use"


def test_a_grpc_server_of_somebody_else_is_noticed(stack: ExitStack) -> None:
    with reserve(0) as free:
        port = port_of(free)
    stack.enter_context(listening(f"0.0.0.0:{port}"))  # as TensorFlow Serving's, which shares ports with anybody
    with pytest.raises(ServingError) as caught:
        reserve(port)
    assert caught.value.code is Code.UNAVAILABLE


def test_the_port_is_free_again_at_once(stack: ExitStack) -> None:
    with reserve(0) as first:
        port = port_of(first)
        with listening(everywhere(first)):
            assert echoed(f"127.0.0.1:{port}") == b"hello"
    second = stack.enter_context(reserve(port))
    stack.enter_context(listening(everywhere(second)))
    assert echoed(f"127.0.0.1:{port}") == b"hello"


def test_without_ipv6(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_ipv6", False)
    reservation = stack.enter_context(reserve(0))
    assert reservation.family == socket.AF_INET
    stack.enter_context(listening(everywhere(reservation)))
    assert echoed(f"127.0.0.1:{port_of(reservation)}") == b"hello"


@pytest.mark.parametrize("name", ["grpc.sock", "a b", "100%", "a%20b", "what?", "#1", "a:b", "häßlich", "\udcff"])
def test_any_name_is_a_socket(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    check_socket_path(path)
    with listening(unix_target(path)):
        assert os.listdir(tmp_path) == [name]
        assert echoed(unix_target(path)) == b"hello"
    assert os.listdir(tmp_path) == []


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_socket_path("grpc.sock")
    with listening(unix_target("grpc.sock")):
        assert os.listdir(tmp_path) == ["grpc.sock"]


def test_the_socket_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "grpc.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    check_socket_path(path)
    with listening(unix_target(path)):
        assert echoed(unix_target(path)) == b"hello"


def refused(path: str) -> str:
    with pytest.raises(ServingError) as caught:
        check_socket_path(path)
    assert caught.value.code is Code.UNAVAILABLE
    return caught.value.message.removeprefix(f"Can't listen on {path}: ")


def test_the_socket_of_a_living_server_is_not_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "grpc.sock")
    with listening(unix_target(path)):
        assert refused(path) == "Address already in use"
        assert echoed(unix_target(path)) == b"hello"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "model.pb"
    file.write_text("precious")
    assert refused(str(file)) == "It is there and is not a socket"
    assert refused(str(tmp_path)) == "It is there and is not a socket"
    assert refused(str(file / "grpc.sock")) == "Not a directory"
    assert file.read_text() == "precious"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert refused(str(tmp_path / "none" / "grpc.sock")) == f"No such folder: {tmp_path}/none"


def test_a_folder_where_nothing_may_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert refused(str(tmp_path / "grpc.sock")) == f"Permission denied: {tmp_path}"


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 108))
    with pytest.raises(ServingError) as caught:
        check_socket_path(path)
    assert caught.value.message == f"a UNIX socket's path has at most 107 bytes, and {path} has {len(path)}"


def test_a_socket_that_was_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left, file, living = (str(tmp_path / name) for name in ("left", "file", "living"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(left)
    Path(file).touch()
    with listening(unix_target(living)):
        for path in (left, file, living, str(tmp_path / "none")):
            remove_socket(path)
        assert sorted(os.listdir(tmp_path)) == ["file", "living"]
        assert echoed(unix_target(living)) == b"hello"

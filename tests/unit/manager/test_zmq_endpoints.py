"""What ZeroMQ front ends listen on: endpoints as written, the default port, and what is said when it can't be had."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.zmq_endpoints import ZmqEndpoints, open_zmq
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions

SECRET = "ArW+>Xp({bV}R?qeiLQi}RIck:HO8:EuQTDNVcBI"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def options(endpoint: str = "", port: int = 0, count: int = 1, secret: str = "", allowed: str = "") -> ServerOptions:
    return ServerOptions(
        zmq_endpoint=endpoint,
        zmq_port=port,
        zmq_frontends=count,
        zmq_curve_secret_key_file=secret,
        zmq_curve_allowed_keys_file=allowed,
    )


def opened(asked: ServerOptions, given: bool = True) -> ZmqEndpoints:
    endpoints = open_zmq(asked, given)
    assert endpoints is not None
    return endpoints


def refusal(asked: ServerOptions) -> ServingError:
    gc.collect()  # what an earlier test has left goes now, not while this one counts
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ServingError) as caught:
        open_zmq(asked, True)
    caught.value.__traceback__ = None
    assert len(os.listdir("/proc/self/fd")) == before
    return caught.value


def test_the_port_is_on_the_loopback_interface_alone(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    endpoints = opened(options(port=port))
    assert endpoints.names == [f"tcp://127.0.0.1:{port}"]
    (sock,) = endpoints.sockets(0)
    assert sock.getsockname() == ("127.0.0.1", port)
    assert caplog.text == ""
    endpoints.close()


def test_each_front_end_has_a_tcp_socket_and_all_share_a_unix_socket(folder: Path) -> None:
    endpoints = opened(options("tcp://127.0.0.1:*, ipc://zmq.sock", count=2))
    (first, unix), (second, same) = endpoints.sockets(0), endpoints.sockets(1)
    assert unix is same
    assert first is not second
    assert first.getsockname() == second.getsockname()
    assert endpoints.names == [f"tcp://127.0.0.1:{first.getsockname()[1]}", "ipc://zmq.sock"]
    assert not any(sock.getblocking() for sock in (first, second, unix))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(first.getsockname(), timeout=5)
    for index in range(2):
        asyncio.run(endpoints.listen(index))
    socket.create_connection(first.getsockname(), timeout=5).close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("zmq.sock")
    endpoints.close()
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("endpoint", "public"),
    [("tcp://*:*", True), ("tcp://0.0.0.0:0", True), ("tcp://localhost:*", False), ("tcp://127.0.0.2:*", False)],
)
def test_other_machines_without_keys_are_warned_of(endpoint: str, public: bool, caplog: pytest.LogCaptureFixture) -> None:
    opened(options(endpoint)).close()
    assert ("need no key" in caplog.text) == public


def test_with_keys_nothing_is_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "secret").write_text(SECRET)
    opened(options("tcp://*:*", secret="secret")).close()
    assert caplog.text == ""


def test_an_ipv6_address() -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6")
    endpoints = opened(options("tcp://[::1]:*"))
    (sock,) = endpoints.sockets(0)
    assert endpoints.names == [f"tcp://[::1]:{sock.getsockname()[1]}"]
    assert not endpoints.is_public
    endpoints.close()


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:8502",
        "tcp://127.0.0.1",
        "tcp://:8502",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:99999",
        "tcp://127.0.0.1:-1",
        "tcp://::1:8502",
        "tcp://127.0.0.1:8502/x",
        "udp://127.0.0.1:8502",
        "inproc://x",
        "ipc://@abstract",
        "ipc://",
        "ipc:///" + "x" * 200,
    ],
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    assert refusal(options(f"tcp://127.0.0.1:*,{endpoint}")).code is Code.INVALID_ARGUMENT


def test_a_name_that_nobody_knows() -> None:
    assert refusal(options("tcp://no.such.host.invalid:1")).code is Code.UNAVAILABLE


def test_an_endpoint_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        error = refusal(options(endpoint))
        assert (error.code, error.message) == (Code.UNAVAILABLE, f"Can't listen on {endpoint}: Address already in use")


def test_the_port_that_somebody_asked_for_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert refusal(options(port=other.getsockname()[1])).code is Code.UNAVAILABLE


def test_the_port_that_nobody_asked_for_is_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert open_zmq(options(port=port), False) is None
        assert caplog.record_tuples[0][1] == logging.WARNING
        assert f"Can't listen on tcp://127.0.0.1:{port}: Address already in use" in caplog.text
        endpoints = opened(options("ipc://zmq.sock", port=port), False)
        assert endpoints.names == ["ipc://zmq.sock"]
        endpoints.close()


def test_the_default_port_yields_to_an_endpoint_of_its_number(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    endpoints = opened(options(f"tcp://localhost:{port}", port=port), False)
    assert endpoints.names == [f"tcp://localhost:{port}"]
    assert caplog.text == ""
    endpoints.close()


@pytest.mark.parametrize("asked", [options(), options(port=8502, count=0), options("tcp://*:*", count=0), options(" , ")])
def test_no_zeromq(asked: ServerOptions) -> None:
    assert open_zmq(asked, True) is None


def test_key_files_are_read_at_the_start(folder: Path) -> None:
    (folder / "secret").write_text(SECRET)
    (folder / "bad").write_text("no key\n")
    assert refusal(options("tcp://127.0.0.1:*", secret="none")).code is Code.NOT_FOUND
    assert refusal(options("tcp://127.0.0.1:*", secret="bad")).code is Code.INVALID_ARGUMENT
    assert refusal(options("tcp://127.0.0.1:*", secret="secret", allowed="bad")).code is Code.INVALID_ARGUMENT
    opened(options("tcp://127.0.0.1:*", secret="secret", allowed="secret")).close()

"""Where a ZeroMQ server is, and the keys to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
import zmq.auth
from plain_router import PlainRouter, routed
from zmq.auth.thread import ThreadAuthenticator

from ringserve.client.operations import Predict
from ringserve.client.tensors import tensor_of
from ringserve.client.zmq.address import ZmqAddress
from ringserve.client.zmq.keys import CurveKeys
from ringserve.client.zmq.transport import ZmqTransport
from ringserve.errors import Code, ServingError

LONG = 20.0
PREDICT = Predict(("half", None, None), "", {"x": tensor_of(np.ones(2, np.float32))})
PUBLIC, SECRET = zmq.curve_keypair()
OTHER_PUBLIC, OTHER_SECRET = zmq.curve_keypair()


@pytest.mark.parametrize(
    ("url", "path", "host", "port"),
    [
        ("zmq://localhost", "", "localhost", 8502),
        ("zmq://localhost:9000/", "", "localhost", 9000),
        ("zmq://10.0.0.1:1", "", "10.0.0.1", 1),
        ("zmq://[::1]:9000", "", "::1", 9000),
        ("zmq+ipc:///run/ringserve/zmq.sock", "/run/ringserve/zmq.sock", "", 0),
    ],
)
def test_addresses(url: str, path: str, host: str, port: int) -> None:
    address = ZmqAddress.of(url)
    assert (address.path, address.host, address.port) == (path, host, port)


@pytest.mark.parametrize(
    "url",
    [
        "zmq://",
        "zmq://:9000",
        "zmq://host:0",
        "zmq://host:99999",
        "zmq://host:x",
        "zmq://host/path",
        "zmq://host?a=b",
        "zmq://user@host",
        "zmq://[::1",
        "tcp://host:1",
        "zmq+ipc://socket",
        "zmq+ipc:///" + "x" * 200,
        "zmq+ipc:///a\0b",
    ],
)
def test_no_addresses(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has too long"):
        ZmqAddress.of(url)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("zmq://127.0.0.1:1", ("tcp://127.0.0.1:1", False)),
        ("zmq://localhost:1", ("tcp://127.0.0.1:1", False)),
        ("zmq://[::1]:1", ("tcp://[::1]:1", True)),
        ("zmq+ipc:///s", ("ipc:///s", False)),
    ],
)
def test_endpoints(url: str, endpoint: tuple[str, bool]) -> None:
    assert ZmqAddress.of(url).endpoint() == endpoint


def test_keys() -> None:
    assert CurveKeys(PUBLIC, OTHER_PUBLIC, OTHER_SECRET).read() == (PUBLIC, OTHER_PUBLIC, OTHER_SECRET)
    assert CurveKeys(PUBLIC.decode(), None, OTHER_SECRET.decode()).read() == (PUBLIC, OTHER_PUBLIC, OTHER_SECRET)
    server, public, secret = CurveKeys(PUBLIC).read()
    assert server == PUBLIC and zmq.curve_public(secret) == public
    assert OTHER_SECRET.decode() not in repr(CurveKeys(PUBLIC, OTHER_PUBLIC, OTHER_SECRET))


def test_keys_from_files(tmp_path: Path) -> None:
    public, secret = zmq.auth.create_certificates(tmp_path, "client")
    alone = tmp_path / "server"
    alone.write_bytes(PUBLIC + b"\n")
    expected = (PUBLIC, *zmq.auth.load_certificate(secret))
    assert CurveKeys(alone, Path(public), Path(secret)).read() == expected
    assert CurveKeys(str(alone), None, secret).read() == expected
    # What is secret has the public key in it as well.
    assert CurveKeys(secret).read().server == expected[1]


def test_no_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the secret key"):
        CurveKeys(PUBLIC, PUBLIC)
    with pytest.raises(ValueError, match="not the one that goes with"):
        CurveKeys(PUBLIC, PUBLIC, OTHER_SECRET).read()
    with pytest.raises(ValueError, match="40 characters of Z85"):
        CurveKeys(b"short").read()
    with pytest.raises(ValueError, match="is no key"):
        CurveKeys(PUBLIC, None, b"#" * 40).read()
    with pytest.raises(FileNotFoundError):
        CurveKeys(tmp_path / "none").read()
    odd = tmp_path / "odd"
    odd.write_bytes(b"a secret of another kind")
    with pytest.raises(ValueError, match="no public key") as caught:
        CurveKeys(odd).read()
    assert "another kind" not in str(caught.value)


def setup(socket: zmq.Socket[bytes]) -> None:
    socket.curve_server = True
    socket.curve_secretkey = SECRET


@pytest.fixture
def locked() -> Iterator[PlainRouter]:
    with routed(setup=setup) as router:
        yield router


def ask(router: PlainRouter, keys: CurveKeys | None, way: str) -> list[float]:
    transport = ZmqTransport(f"zmq://127.0.0.1:{router.port}", keys)
    try:
        if way == "call":
            answer = transport.call(PREDICT, LONG)
        else:
            outcomes: list[object] = []
            transport.start(PREDICT, LONG, outcomes.append)
            while not outcomes:
                pass
            if isinstance(outcomes[0], ServingError):
                raise outcomes[0]
            answer = outcomes[0]  # type: ignore[assignment]
        found: list[float] = answer["x"].tolist()
        return found
    finally:
        transport.close()


@pytest.mark.parametrize("way", ["call", "start"])
def test_the_right_keys(locked: PlainRouter, way: str) -> None:
    assert ask(locked, CurveKeys(PUBLIC), way) == [1, 1]
    assert ask(locked, CurveKeys(PUBLIC, OTHER_PUBLIC, OTHER_SECRET), way) == [1, 1]


@pytest.mark.parametrize("way", ["call", "start"])
def test_the_wrong_keys(locked: PlainRouter, way: str) -> None:
    for keys in (CurveKeys(OTHER_PUBLIC), None):
        with pytest.raises(ServingError, match="handshake failed") as caught:
            ask(locked, keys, way)
        assert caught.value.code is Code.UNAVAILABLE
    with routed() as router, pytest.raises(ServingError, match="CURVE handshake failed") as caught:
        ask(router, CurveKeys(PUBLIC), way)
    assert caught.value.code is Code.UNAVAILABLE


class Allowed:
    """Whose keys the server knows."""

    def callback(self, domain: str, key: bytes) -> bool:
        return key == OTHER_PUBLIC


def test_an_unknown_client() -> None:
    router = PlainRouter("tcp://127.0.0.1:*", setup=setup)
    guard = ThreadAuthenticator(router.context)
    guard.start()
    guard.configure_curve_callback(credentials_provider=Allowed())
    router.start()
    try:
        assert ask(router, CurveKeys(PUBLIC, OTHER_PUBLIC, OTHER_SECRET), "call") == [1, 1]
        with pytest.raises(ServingError, match="does not know the client's key") as caught:
            ask(router, CurveKeys(PUBLIC), "call")
        assert caught.value.code is Code.UNAVAILABLE
    finally:
        guard.stop()
        router.stop()

"""The addresses a client takes, TLS, and what importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from answering_server import HEALTH, answering_server

import ringserve
from ringserve.client import Client, Tls
from ringserve.client.grpc.address import Address
from ringserve.errors import Code, ServingError

KEYS = Path(__file__).parents[2] / "data" / "tls"

LIGHT = """
import json, sys
import ringserve
before = [name for name in sys.modules if name.startswith(("numpy", "grpc", "ringserve."))]
client = ringserve.Client(sys.argv[1], timeout=5)
for call in (
    lambda: client.predict("m", {"x": [1.0]}),
    lambda: client.classify("m", [{"x": 1.0}]),
    lambda: client.status("m"),
    lambda: client.stream().predict("m", {"x": ["a"]}),
):
    try:
        call()
    except ringserve.ServingError as error:
        assert error.code is ringserve.Code.UNAVAILABLE, error
    else:
        raise AssertionError
heavy = [name for name in sys.modules if name.startswith(("tensorflow", "google.protobuf", "absl", "uvloop", "aiohttp"))]
others = [name for name in ("grpc", "zmq", "msgpack", "urllib3") if name in sys.modules]
print(json.dumps([before, heavy, others]))
"""

#: What each protocol needs beside numpy.
NEEDS = {
    "grpc://127.0.0.1:1": {"grpc"},
    "http://127.0.0.1:1": {"msgpack", "urllib3"},
    "zmq://127.0.0.1:1": {"msgpack", "zmq"},
    "shm:///nowhere/ringserve.shm": {"msgpack"},
}


@pytest.mark.parametrize("url", NEEDS, ids=lambda url: url.partition(":")[0])
def test_the_client_needs_neither_tensorflow_nor_protobuf(url: str) -> None:
    """And of all protocols' libraries only its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIGHT, url],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, heavy, others = json.loads(done.stdout)
    assert (before, heavy) == ([], [])
    assert set(others) <= NEEDS[url]


def test_the_package_says_what_it_has() -> None:
    assert ringserve.Client is Client
    assert {"AsyncClient", "Client", "Code", "CurveKeys", "ServingError", "Tls"} <= set(dir(ringserve))
    assert ringserve.AsyncClient.__name__ == "AsyncClient"
    with pytest.raises(AttributeError, match="has no attribute 'Clent'"):
        _ = ringserve.Clent


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("grpc://localhost:8500", Address("dns:///localhost:8500", False)),
        ("grpc://localhost", Address("dns:///localhost:8500", False)),
        ("grpc://[::1]:9000/", Address("dns:///[::1]:9000", False)),
        ("grpcs://models.example.com:443", Address("dns:///models.example.com:443", True)),
        ("grpc+unix:///run/models", Address("unix:/run/models", False)),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert Address.of(url) == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8500", "has no scheme: grpc://host:port"),
        ("ftp://localhost:8500", "the scheme 'ftp': only grpc://host:port"),
        ("http+unix:///run/models", r"the scheme 'http\+unix': only grpc"),
        ("shm:/run/models", "has no scheme"),
        ("grpc://", "not the address of a server"),
        ("grpc://host:port", "not the address of a server"),
        ("grpc://host:99999", "not the address of a server"),
        ("grpc://host:1/v1/models", "not the address of a server"),
        ("grpc://user:secret@host:1", "not the address of a server"),
        ("grpc+unix://run/models", "begins with a slash"),
    ],
)
def test_addresses_of_no_server(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Client(url)


def test_a_server_and_a_client_that_know_each_other() -> None:
    def read(name: str) -> bytes:
        return (KEYS / name).read_bytes()

    credentials = grpc.ssl_server_credentials([(read("server.key"), read("server.crt"))], read("client.crt"), True)
    with answering_server(credentials=credentials) as (server, port):
        server.answers[HEALTH] = lambda *_: b"\x08\x01"
        url = f"grpcs://127.0.0.1:{port}"
        whole = Tls(KEYS / "server.crt", certificate=read("client.crt"), private_key=str(KEYS / "client.key"))
        with Client(url, tls=whole, timeout=20) as client:
            assert client.is_ready()
        for wrong in (None, Tls(KEYS / "server.crt"), Tls(KEYS / "client.crt"), replace(whole, server_name="elsewhere")):
            with Client(url, tls=wrong, timeout=20) as client, pytest.raises(ServingError) as caught:
                client.status("m")
            assert caught.value.code is Code.UNAVAILABLE


def test_tls_is_for_addresses_with_tls(tmp_path: Path) -> None:
    for url in ("grpc://localhost", "http://localhost", "zmq://localhost", "shm:///run/models", "grpc+unix:///run/models"):
        with pytest.raises(ValueError, match="begins with grpcs:// or https://"):
            Client(url, tls=Tls())
    with pytest.raises(ValueError, match="go together"):
        Tls(certificate=b"")
    with pytest.raises(FileNotFoundError):
        Client("grpcs://localhost", tls=Tls(root_certificates=tmp_path / "none"))


@pytest.mark.parametrize("url", ["grpc://localhost", "http://localhost", "shm:///run/models"])
def test_keys_are_for_zeromq(url: str) -> None:
    keys: Any = object()
    for kind in (Client, ringserve.AsyncClient):
        with pytest.raises(ValueError, match="begins with zmq://"):
            kind(url, curve=keys)


def test_a_private_key_is_not_shown() -> None:
    shown = repr(Tls(b"roots", certificate=b"who", private_key=b"secret"))
    assert "secret" not in shown
    assert "who" in shown

"""CURVE: who has the right keys is served, and nobody else; what is sent can't be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq
import zmq.auth

from end_to_end.running_server import RunningServer, run_to_its_end
from end_to_end.zmq_client import ZmqClient, differs, predicting
from end_to_end.zmq_facts import address

X = np.array([1.0, 2.0], "f4")
REQUEST = {"id": 1, **predicting("half_plus_two", {"x": X})}
PATIENCE = 0.7  # seconds after which nothing comes any more


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of the server, of a client that may connect, and of one that may not."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("server", "friend", "stranger"):
        zmq.auth.create_certificates(folder, name)
    public, _ = zmq.auth.load_certificate(folder / "friend.key")
    (folder / "allowed").write_bytes(b"# friends\n\n" + public + b"\n")
    return folder


def key_pair(keys: Path, name: str) -> tuple[bytes, bytes]:
    public, secret = zmq.auth.load_certificate(keys / f"{name}.key_secret")
    assert secret is not None
    return public, secret


def curve(keys: Path, name: str, server: str = "server") -> list[bytes]:
    return [key_pair(keys, server)[0], *key_pair(keys, name)]


def try_to_send(client: ZmqClient) -> None:
    """One that was refused already has no connection to send on."""
    with suppress(zmq.Again):
        client.socket.send(msgpack.packb(REQUEST), zmq.NOBLOCK)


@pytest.fixture(scope="module")
def server(models: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    flags = (
        "--model_name=half_plus_two",
        f"--model_base_path={models}/half_plus_two",
        f"--zmq_endpoint=ipc://{tmp_path_factory.mktemp('zmq')}/s",
        f"--zmq_curve_secret_key_file={keys}/server.key_secret",
        f"--zmq_curve_allowed_keys_file={keys}/allowed",
    )
    with RunningServer(*flags, zmq=True) as running:
        yield running


def addresses(server: RunningServer) -> list[str]:
    (flag,) = [flag for flag in server._command if flag.startswith("--zmq_endpoint=")]
    return [address(server), flag.removeprefix("--zmq_endpoint=")]


def test_the_right_key(server: RunningServer, keys: Path) -> None:
    for where in addresses(server):
        with ZmqClient(where, keys=curve(keys, "friend")) as client:
            for _ in range(20):
                assert not differs(client.ask(REQUEST), y=X / 2 + 3)
            large = np.arange(1 << 20, dtype="f4")
            client.send(predicting("half_plus_two", {"x": large}))
            answer, frames = client.receive()
            assert not differs(answer, frames, y=large / 2 + 3)


def test_the_wrong_keys(server: RunningServer, keys: Path) -> None:
    """They get nothing, and no connection; those with the right one go on meanwhile."""
    clients = []
    for where in addresses(server):
        clients += [
            ZmqClient(where),
            ZmqClient(where, keys=curve(keys, "stranger")),
            ZmqClient(where, keys=curve(keys, "friend", server="stranger")),
            ZmqClient(where, identity=b"name", keys=curve(keys, "stranger")),
        ]
    with ZmqClient(address(server), keys=curve(keys, "friend"), identity=b"name") as friend:
        for client in clients:
            try_to_send(client)
        for _ in range(50):
            assert not differs(friend.ask(REQUEST), y=X / 2 + 3)
        assert clients[0].nothing_comes(PATIENCE)
        assert all(client.nothing_comes(0) for client in clients)
        assert not differs(friend.ask(REQUEST), y=X / 2 + 3)
    for client in clients:
        client.close()
    assert "Traceback" not in server.log


def test_many_clients_come_and_go(server: RunningServer, keys: Path) -> None:
    for _ in range(30):
        with (
            ZmqClient(address(server), keys=curve(keys, "friend")) as friend,
            ZmqClient(address(server), keys=curve(keys, "stranger")) as stranger,
        ):
            try_to_send(stranger)
            assert not differs(friend.ask(REQUEST), y=X / 2 + 3)
            assert stranger.nothing_comes(0)


def test_it_ends_soon(models: Path, keys: Path) -> None:
    """With clients connected, and those that may not."""
    flags = (
        "--model_name=half_plus_two",
        f"--model_base_path={models}/half_plus_two",
        f"--zmq_curve_secret_key_file={keys}/server.key_secret",
    )
    for more in ([], [f"--zmq_curve_allowed_keys_file={keys}/allowed"]):
        with RunningServer(*flags, *more, zmq=True) as running:
            with ZmqClient(address(running), keys=curve(keys, "friend")) as friend:
                assert not differs(friend.ask(REQUEST), y=X / 2 + 3)
                with ZmqClient(address(running), keys=curve(keys, "stranger")) as stranger:
                    try_to_send(stranger)
                    if more:
                        assert stranger.nothing_comes(PATIENCE)
                    else:
                        assert not differs(stranger.receive()[0], y=X / 2 + 3)
                with ZmqClient(address(running)) as plain:
                    try_to_send(plain)
                    assert plain.nothing_comes(0.1)
                began = time.monotonic()
                assert running.stop() == 0
                assert time.monotonic() - began < 8
            assert "killed" not in running.log


def test_files_that_are_none(models: Path, keys: Path, tmp_path: Path) -> None:
    flags = "--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two"
    (tmp_path / "bad").write_text("no key\n")
    for flag, text in (
        (f"--zmq_curve_secret_key_file={tmp_path}/bad", "Not a file of CURVE keys"),
        (f"--zmq_curve_secret_key_file={tmp_path}/none", "Can't read"),
    ):
        code, log = run_to_its_end(*flags, "--zmq_frontends=1", flag)
        assert code != 0
        assert text in log

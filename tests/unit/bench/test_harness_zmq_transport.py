"""The load harness's ZeroMQ transport against a router of the test's own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from driven import LIMIT, drive
from zmq_router import router

from bench.harness.request_set import Request, RequestSet
from bench.harness.target import PreparationError, Target
from bench.harness.zmq_messages import NO_ID, around_id, id_of
from bench.harness.zmq_protocol import ZmqProtocol
from bench.harness.zmq_transport import ZmqTransport

HALF = b"\x00\x00\x20\x40"  # 2.5


def answer(identifier: bytes, data: bytes = HALF, version: int = 1, **more: object) -> bytes:
    fields = {"v": 1, "id": identifier, "model": "m", "version": version, "outputs": [["y", "float", [1], data]], **more}
    return bytes(msgpack.packb(fields))


def error(identifier: bytes, code: int, status: str) -> bytes:
    return bytes(msgpack.packb({"v": 1, "id": identifier, "code": code, "status": status, "error": "no"}))


def identifier_of(message: bytes) -> bytes:
    return bytes(msgpack.unpackb(message)["id"])


REQUEST = bytes(msgpack.packb({"v": 1, "model": "m", "id": NO_ID, "inputs": []}))


def requests_of(folder: Path) -> RequestSet:
    return RequestSet(f"zmq+ipc://{folder}/z", "tfs", (Request((REQUEST,), (answer(NO_ID),)),))


def outcome(folder: Path, made: Callable[[bytes], bytes]) -> Counter[str]:
    with router(f"ipc://{folder}/z", lambda _, message: [made(identifier_of(message))]):
        transport = ZmqTransport(requests_of(folder), 3)
        try:
            return drive(transport, 12, 3)
        finally:
            transport.close()


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (answer, ""),
        (lambda identifier: answer(identifier, version=2), ""),  # which version answered is all one
        (lambda identifier: answer(identifier, b"\x01\x00\x20\x40"), ""),  # the last bit
        (lambda identifier: answer(identifier, b"\x00\x00\x30\x40"), "wrong answer"),
        (lambda identifier: answer(identifier, b"\x00\x00"), "wrong answer"),
        (lambda identifier: b"\xa2id\xc4\x08" + identifier, "wrong answer"),
        (lambda identifier: error(identifier, 8, "RESOURCE_EXHAUSTED"), "RESOURCE_EXHAUSTED"),
    ],
)
def test_answers_by_their_kinds(tmp_path: Path, made: Callable[[bytes], bytes], kind: str) -> None:
    assert outcome(tmp_path, made) == {kind: 12}


def test_answers_that_nobody_waits_for_are_dropped(tmp_path: Path) -> None:
    """Of requests that were abandoned, twice the same, and what is none at all."""
    late: list[bytes] = []

    def answers(number: int, message: bytes) -> list[bytes]:
        mine = answer(identifier_of(message))
        if not number:
            late.append(mine)
            return []
        return [b"garbage", *late, mine, mine]

    with router(f"ipc://{tmp_path}/z", answers):
        transport = ZmqTransport(requests_of(tmp_path), 1)
        try:
            transport.send(0, 0)
            assert list(transport.poll(0.05)) == []
            transport.abandon(0)
            assert drive(transport, 5, 1) == {"": 5}
            assert late
        finally:
            transport.close()


def test_a_lost_connection_is_told(tmp_path: Path) -> None:
    with router(f"ipc://{tmp_path}/z", lambda _, message: []):
        transport = ZmqTransport(requests_of(tmp_path), 2)
        for slot in range(2):
            transport.send(slot, 0)
        assert list(transport.poll(0.02)) == []
    try:
        told: list[tuple[int, str]] = []
        gives_up = time.monotonic() + LIMIT
        while len(told) < 2:
            assert time.monotonic() < gives_up
            told += transport.poll(0.05)
        assert sorted(told) == [(0, "connection lost"), (1, "connection lost")]
        with router(f"ipc://{tmp_path}/z", lambda _, message: [answer(identifier_of(message))]):
            assert drive(transport, 6, 2) == {"": 6}
    finally:
        transport.close()


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.harness.zmq_transport.CONNECT_SECONDS", 0.05)
    with pytest.raises(OSError, match="timed out"):
        ZmqTransport(requests_of(tmp_path), 1)


def test_preparing_says_what_the_server_says(tmp_path: Path) -> None:
    target = Target(f"zmq+ipc://{tmp_path}/z", "m")
    words = [error(NO_ID, 5, "NOT_FOUND"), b"garbage", answer(NO_ID)]
    with router(f"ipc://{tmp_path}/z", lambda number, _: [words[number]]):
        with pytest.raises(PreparationError, match="NOT_FOUND: no"):
            ZmqProtocol().ask(target, (REQUEST,), LIMIT)
        with pytest.raises(PreparationError, match="no answer"):
            ZmqProtocol().ask(target, (REQUEST,), LIMIT)
        assert ZmqProtocol().ask(target, (REQUEST,), LIMIT) == (answer(NO_ID),)


def test_ids() -> None:
    assert around_id(REQUEST)[0].endswith(b"\xa2id\xc4\x08")
    assert b"".join((around_id(REQUEST)[0], NO_ID, around_id(REQUEST)[1])) == REQUEST
    assert id_of(answer(b"12345678")) == b"12345678"
    assert id_of(b"garbage") == b""
    for wrong in (b"", b"\xa2id\xc4\x08abc"):
        with pytest.raises(ValueError, match="without an id"):
            around_id(wrong)

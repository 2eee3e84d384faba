"""Clients that ask for rows over ZeroMQ: their messages, what they count, and what they say of a server."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from zmq_router import router

from bench import row_client, row_target
from bench.asked_rows import AskedRows
from bench.batch_models import halves
from bench.load import WrongAnswerError
from bench.row_client import RowClient, row_clients
from bench.row_messages import RowAnswers, RowRequests, request_id
from bench.row_target import RowTarget

IMAGES = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
SCORES = np.array([[1, 0], [0, 1], [2, 2], [-4, 2]], dtype=np.float32)
ROWS = AskedRows("net", "image", IMAGES, SCORES)


def answer(number: int, *scores: float, **fields: Any) -> bytes:
    """As the server writes them."""
    outputs = [["scores", "float", [1, len(scores)], struct.pack(f"<{len(scores)}f", *scores)]]
    packed: bytes = msgpack.packb({"v": 1, "id": request_id(number), "model": "net", **fields, "outputs": outputs})
    return packed


def right_answer(message: bytes) -> bytes:
    number = int.from_bytes(msgpack.unpackb(message)["id"], "big")
    return answer(number, *SCORES[number % 4])


def error(number: int) -> bytes:
    packed: bytes = msgpack.packb(
        {"v": 1, "id": request_id(number), "code": 8, "status": "RESOURCE_EXHAUSTED", "error": "no"}
    )
    return packed


def test_rows_are_kept_in_a_file(tmp_path: Path) -> None:
    for rows in (ROWS, halves("m")):
        found = AskedRows.read(rows.write(tmp_path / "rows.npz"))
        assert (found.model, found.input) == (rows.model, rows.input)
        for ours, theirs in ((rows.inputs, found.inputs), (rows.answers, found.answers)):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("twin", [1, 3])
def test_rows_that_answers_do_not_tell_apart_are_refused(tmp_path: Path, twin: int) -> None:
    scores = SCORES.copy()
    scores[twin] = scores[0] + 1e-6
    file = AskedRows("net", "image", IMAGES, scores).write(tmp_path / "rows.npz")
    with pytest.raises(ValueError, match=f"rows of net that are {twin} apart have the same answer"):
        AskedRows.read(file)


def test_a_batch_may_round_its_sums_otherwise() -> None:
    answers = SCORES + np.array([[1e-5, 0], [0, 1e-2], [0, np.nan], [-1e-4, 1e-4]], dtype=np.float32)
    assert ROWS.agree(answers, SCORES).tolist() == [True, False, False, True]


def test_messages_ask_for_one_row_after_the_other() -> None:
    requests = RowRequests(ROWS)
    for number in (0, 1, 7, 1 << 40):
        message = requests.message(number)
        fields = msgpack.unpackb(message)
        assert (fields["v"], fields["model"], fields["id"]) == (1, "net", struct.pack(">q", number))
        data = IMAGES[number % 4].tobytes()
        assert fields["inputs"] == [["image", "uint8", [1, 2, 3], data]]
        assert message.endswith(data)  # where servers look for it


def test_a_float_is_a_row_without_dimensions() -> None:
    assert msgpack.unpackb(RowRequests(halves()).message(3))["inputs"] == [["x", "float", [1], struct.pack("<f", 3.0)]]


@pytest.mark.parametrize(
    "wrong",
    [
        answer(2, 1, 0),
        answer(6, 2, 3),
        answer(2, 2, float("nan")),
        answer(2, 2, 2, extra=1),
        answer(2, 2, 2).replace(b"net", b"ten"),
        error(2),
        b"",
    ],
)
def test_each_answer_is_looked_at(wrong: bytes) -> None:
    answers = RowAnswers(ROWS, answer(0, 1, 0))
    assert answers.right([answer(5, 0, 1), wrong, answer(4, 1, 0)]).tolist() == [True, False, True]
    assert answers.right([wrong]).tolist() == [False]
    assert answers.right([]).tolist() == []


@pytest.mark.parametrize(
    "first",
    [
        answer(0, 1, 0.5),
        answer(0, 1),
        answer(0, 1, 0, 0),
        answer(0, 1, 0).replace(b"net", b"ten"),
        answer(0, 1, 0).replace(b"float", b"int32"),
        error(0),
        msgpack.packb([]),
    ],
)
def test_a_first_answer_that_is_wrong_is_told(first: bytes) -> None:
    with pytest.raises(ValueError, match="answered"):
        RowAnswers(ROWS, first)


@pytest.mark.parametrize("clients", [1, 5])
def test_each_client_waits_for_its_answer(tmp_path: Path, clients: int) -> None:
    held: list[bytes] = []

    def all_at_once(number: int, message: bytes) -> list[bytes]:
        """When each client waits; the last one first."""
        held.append(right_answer(message))
        if number and len(held) < clients:
            return []
        answers = held[::-1]
        held.clear()
        return answers

    endpoint = f"ipc://{tmp_path}/server"
    with router(endpoint, all_at_once), closing(RowClient(endpoint, ROWS)) as client:
        tally = client.run(clients, 0)
    assert (tally.requests, tally.errors) == (clients, 0)
    assert 0 < tally.latencies.percentile(100) / 1e9 <= 1.01 * tally.seconds
    assert not held


def test_clients_ask_again_until_the_end(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/server"
    with (
        router(endpoint, lambda _, message: [right_answer(message)]),
        closing(RowClient(endpoint, ROWS)) as client,
    ):
        tally = client.run(3, 0.3)
    assert tally.requests > 3
    assert 0.3 <= tally.seconds < 20


def test_errors_and_wrong_answers_are_counted_and_not_timed(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/server"

    def some_wrong(number: int, message: bytes) -> list[bytes]:
        return [error(number) if number == 3 else answer(number, 9, 9) if number == 4 else right_answer(message)]

    with router(endpoint, some_wrong), closing(RowClient(endpoint, ROWS)) as client:
        tally = client.run(6, 0)
    assert (tally.requests, tally.errors) == (4, 2)
    assert tally.latencies.total == 4


@pytest.mark.parametrize(
    ("third", "failure", "words"),
    [
        (lambda _: [], zmq.Again, None),
        (lambda message: [right_answer(message), error(1 << 20)], RuntimeError, "nobody waits"),
        (lambda message: [right_answer(message)] * 2, RuntimeError, "nobody waits"),
    ],
)
def test_requests_are_answered_once_each(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    third: Callable[[bytes], list[bytes]],
    failure: type[Exception],
    words: str | None,
) -> None:
    endpoint = f"ipc://{tmp_path}/server"
    monkeypatch.setattr(row_client, "PATIENCE", 0.3)
    with (
        router(endpoint, lambda number, message: third(message) if number == 2 else [right_answer(message)]),
        closing(RowClient(endpoint, ROWS)) as client,
        pytest.raises(failure, match=words),
    ):
        client.run(4, 0)


def test_a_process_asks_several_servers(tmp_path: Path) -> None:
    endpoints = [f"ipc://{tmp_path}/{name}" for name in "ab"]
    file = ROWS.write(tmp_path / "rows.npz")
    servers = [router(endpoint, lambda _, message: [right_answer(message)]) for endpoint in endpoints]
    with servers[0], servers[1], row_clients(file) as load:
        for endpoint in (*endpoints, *endpoints):
            found = load(endpoint, 3, 0.02)
            assert found.requests >= 3
            assert found.errors == 0
            assert 0 < found.p50 <= found.p99 <= found.longest


def test_a_server_that_answers_wrongly_ends_the_process(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/server"
    with (
        router(endpoint, lambda number, _: [error(number)]),
        row_clients(ROWS.write(tmp_path / "rows.npz")) as load,
        pytest.raises(RuntimeError, match="the load generator ended with 1"),
    ):
        load(endpoint, 1, 0.01)


def test_a_target_tells_that_nobody_is_there_from_wrong_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"ipc://{tmp_path}/server"
    target = RowTarget(endpoint, ROWS)
    with monkeypatch.context() as patched, pytest.raises(ConnectionError, match="no answer"):
        patched.setattr(row_target, "_ANSWER_SECONDS", 0.05)
        target.ask(1)
    asked: list[int] = []

    def counted(number: int, message: bytes) -> list[bytes]:
        asked.append(number)
        return [right_answer(message)]

    with router(endpoint, counted):
        target.ask(3)
    assert len(asked) == 3
    with router(endpoint, lambda number, _: [answer(number, 9, 9)]), pytest.raises(WrongAnswerError, match="answered"):
        target.ask(1)

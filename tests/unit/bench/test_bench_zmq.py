"""The ZeroMQ topologies' parts: messages, answers, the echo, the generator and the rows."""

from __future__ import annotations

import struct
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from zmq_router import router

from bench import zmq_client
from bench.floor_process import zmq_echo
from bench.load import Load
from bench.zmq_client import ZmqClient, zmq_load
from bench.zmq_messages import ECHO, MODEL, Answers, Requests
from bench.zmq_predict import add_repetition, zmq_rows


def answer(number: int, *values: float, **fields: Any) -> bytes:
    """As the server writes them."""
    data = struct.pack(f"<{len(values)}f", *values)
    outputs = [["y", "float", [len(values)], data]]
    packed: bytes = msgpack.packb(
        {"v": 1, "id": struct.pack(">q", number), "model": "half_plus_two", "version": 1, **fields, "outputs": outputs}
    )
    return packed


@pytest.mark.parametrize("rows", [1, 3])
def test_messages_differ_in_their_ids_and_numbers(rows: int) -> None:
    messages = list(islice(Requests(rows).messages(), 10_000))
    assert len({len(message) for message in messages}) == 1
    for number in (0, 1, 2, 7_919, 9_999):
        fields = msgpack.unpackb(messages[number])
        assert (fields["v"], fields["model"]) == (1, "half_plus_two")
        assert fields["id"] == struct.pack(">q", number)
        assert fields.get("each", False) is (rows > 1)
        (tensor,) = fields["inputs"]
        expected = [(number * rows + row) % 7_919 for row in range(rows)]
        assert tensor == ["x", "float", [rows], struct.pack(f"<{rows}f", *expected)]
        assert messages[number].endswith(tensor[3])  # where servers look for it


def test_each_right_answer_counts_once() -> None:
    answers = Answers(1, MODEL, answer(0, 2.0))
    assert answers.answered == 0
    answers.take([answer(5, 4.5), answer(2, 3.0), answer(5, 4.5)])
    answers.take([answer(5, 4.5), answer(1 << 17, 2 + (1 << 17) % 7_919 / 2)])
    answers.take([])
    assert answers.answered == 3


@pytest.mark.parametrize(
    "wrong",
    [
        answer(2, 3.5),
        answer(3, 3.0),
        answer(-2, 1.0),
        answer(2, 3.0, extra=1),
        answer(2, 3.0).replace(b"half_plus_two", b"half_plus_ten"),
        msgpack.packb({"v": 1, "id": bytes(8), "code": 13, "status": "INTERNAL", "error": "no"}),
        b"",
    ],
)
def test_a_wrong_answer_answers_nothing(wrong: bytes) -> None:
    answers = Answers(1, MODEL, answer(0, 2.0))
    answers.take([answer(1, 2.5), wrong, answer(4, 4.0)])
    assert answers.answered == 2


def test_rows_of_a_message_are_all_looked_at() -> None:
    answers = Answers(3, MODEL, answer(0, 2.0, 2.5, 3.0))
    answers.take([answer(1, 3.5, 4.0, 4.5), answer(2, 5.0, 5.5, 5.5)])
    assert answers.answered == 1


@pytest.mark.parametrize(
    "first",
    [
        answer(0, 2.5),
        answer(0, 2.0, 2.5),
        answer(0, 2.0, errors=[[0, 13, "no"]]),
        msgpack.packb({"v": 1, "id": bytes(8), "code": 5, "status": "NOT_FOUND", "error": "no"}),
        msgpack.packb([]),
    ],
)
def test_a_first_answer_that_is_wrong_is_told(first: bytes) -> None:
    with pytest.raises(ValueError, match="answered"):
        Answers(1, MODEL, first)


@pytest.mark.parametrize(("window", "rows"), [(1, 1), (8, 1), (2, 256)])
def test_the_echo_and_the_generator(tmp_path: Path, window: int, rows: int) -> None:
    endpoint = f"ipc://{tmp_path}/echo"
    with zmq_echo(endpoint):
        load = zmq_load(endpoint, ECHO, window, 0.1, rows)
    assert load.errors == 0
    assert load.requests >= window * rows
    assert load.requests % rows == 0
    if window == 1:
        assert 0 < load.p50 <= load.p99 <= load.longest


@pytest.mark.parametrize("window", [1, 4])
def test_wrong_answers_are_errors(tmp_path: Path, window: int) -> None:
    endpoint = f"ipc://{tmp_path}/server"

    def one_damaged(number: int, message: bytes) -> list[bytes]:
        return [message[:-1] + b"?" if number == 3 else message]

    with router(endpoint, one_damaged), closing(ZmqClient(endpoint, 1, ECHO)) as client:
        tally = client.run(window, 0.2)
    assert tally.errors == 1
    assert tally.requests > window


def test_an_answer_that_does_not_come_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"ipc://{tmp_path}/server"
    monkeypatch.setattr(zmq_client, "PATIENCE", 0.2)
    with (
        router(endpoint, lambda number, message: [] if number == 3 else [message]),
        closing(ZmqClient(endpoint, 1, ECHO)) as client,
        pytest.raises(zmq.Again),
    ):
        client.run(4, 0.1)


def test_a_server_that_answers_wrongly_at_first_is_told(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/server"
    with router(endpoint, lambda _, message: [message]), pytest.raises(ValueError, match="answered"):
        ZmqClient(endpoint, 1, MODEL)


def test_figures_beside_the_echo() -> None:
    rows = zmq_rows("zmq-stream", {"throughput": (), "p50": (), "p99": ()})
    ours, echo = Load(1000, 2.0, 0.2, 0.4, 3), Load(4000, 2.0, 0.1, 0.1, 0)
    add_repetition(rows, ours, echo)
    assert [row.best_ratio for row in rows.values()] == [0.25, 2.0, 4.0]
    assert (rows["p50"].figures, rows["p50"].unit) == ([200.0], "us")
    assert rows["throughput"].errors == 3
    with pytest.raises(RuntimeError, match="3 of the pyzmq ROUTER echo's answers are wrong"):
        add_repetition(rows, ours, ours)

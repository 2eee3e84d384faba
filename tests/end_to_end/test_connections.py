"""Clients that are slow, hasty, huge, broken or gone: what becomes of them, and of everybody else."""

from __future__ import annotations

import gzip
import http.client
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end import process_facts
from end_to_end.http_answer import LIMIT, answer_of
from end_to_end.raw_connection import RawConnection, chunked, post
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until

MB = 1_000_000
MOST_BYTES = 100_000
PREDICT = "/v1/models/half_plus_two:predict"
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n".encode()
GZIP = {"Content-Encoding": "gzip"}
QUESTION, ANSWER = b'{"instances": [2.0, 4.0]}', {"predictions": [4.0, 5.0]}
COMPRESSED = gzip.compress(QUESTION, mtime=0)


@pytest.fixture(scope="module")
def small(models: Path) -> Iterator[RunningServer]:
    """A server that takes small requests only."""
    flags = "--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two"
    with RunningServer(*flags, f"--max_request_bytes={MOST_BYTES}") as server:
        yield server


def still_right(server: RunningServer) -> None:
    assert server.predict("half_plus_two", QUESTION).json == ANSWER


def body_of(size: int) -> bytes:
    """A right question of this many bytes."""
    return QUESTION + b" " * (size - len(QUESTION))


def test_a_body_in_chunks(catalogue: RunningServer) -> None:
    pieces = [QUESTION[at : at + 3] for at in range(0, len(QUESTION), 3)]
    with RawConnection(catalogue.port) as connection:
        for _ in range(2):
            connection.send(chunked(PREDICT, *pieces))
            assert connection.answer().json == ANSWER


def test_expect_100_continue(catalogue: RunningServer) -> None:
    """As curl asks before a large body."""
    with RawConnection(catalogue.port) as connection:
        request = post(PREDICT, QUESTION, "Expect: 100-continue")
        connection.send(request[: -len(QUESTION)])
        assert connection.read(len(b"HTTP/1.1 100 Continue\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(QUESTION)
        assert connection.answer().json == ANSWER


def test_http_1_0_closes_after_the_answer(catalogue: RunningServer) -> None:
    with RawConnection(catalogue.port) as connection:
        connection.send(post(PREDICT, QUESTION).replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = connection.rest().partition(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0]
        assert body == b'{"predictions":[4.0,5.0]}'


def test_questions_sent_ahead_are_answered_in_order(catalogue: RunningServer) -> None:
    count = 50
    with RawConnection(catalogue.port) as connection:
        for number in range(count):
            connection.send(post(PREDICT, b'{"instances": [%d]}' % number, *["Connection: close"] * (number == count - 1)))
        stream = connection.rest()
    answers = [piece.rpartition(b"\r\n\r\n")[2] for piece in stream.split(b"HTTP/1.1 200 OK")[1:]]
    assert answers == [b'{"predictions":[%s]}' % str(number / 2 + 3).encode() for number in range(count)]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\0\0\0\0\r\n\r\n",
        b"GET /v1/models/half_plus_two HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET\r\n\r\n",
        b"hello, is anybody there?\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdefg\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"9.9") + b"\r\n",
        HEAD + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        HEAD.replace(b"half", b"x" * 100_000) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # how TLS begins
    ],
)
def test_what_is_no_http_gets_a_400_and_the_end_of_the_connection(catalogue: RunningServer, rubbish: bytes) -> None:
    with RawConnection(catalogue.port) as connection:
        connection.send(rubbish)
        connection.say_no_more()
        received = connection.rest()
    assert received == b"" or received.split(b" ")[1] == b"400", received
    still_right(catalogue)


def test_a_body_at_the_limit_is_taken(small: RunningServer) -> None:
    answer = small.predict("half_plus_two", body_of(MOST_BYTES))
    assert (answer.status, answer.json) == (200, ANSWER)


def test_a_body_over_the_limit_is_refused_and_the_flag_named(small: RunningServer) -> None:
    answer = small.predict("half_plus_two", body_of(MOST_BYTES + 1))
    text = f"The request's body is larger than {MOST_BYTES} bytes, the limit set by --max_request_bytes"
    assert (answer.status, answer.error) == (413, text)
    still_right(small)


def test_a_huge_body_is_refused_before_it_has_come(small: RunningServer) -> None:
    with RawConnection(small.port) as connection:
        connection.send(post(PREDICT, b"", length=1 << 40))
        assert connection.answer().status == 413
    still_right(small)


def test_a_huge_body_without_a_length_is_refused_when_it_is_too_much(small: RunningServer) -> None:
    resident = process_facts.resident_bytes(small.process("frontend rest 0"))
    with RawConnection(small.port) as connection:
        connection.send(chunked(PREDICT, end=False))
        sent = connection.send_until_refused(b"10000\r\n" + b" " * 0x10000 + b"\r\n", most=1 << 30)
        answer = connection.answer()
    assert (answer.status, "--max_request_bytes" in answer.error) == (413, True)
    assert sent < 50 * MB
    assert process_facts.resident_bytes(small.process("frontend rest 0")) < resident + 20 * MB
    still_right(small)


def test_a_compressed_body(catalogue: RunningServer) -> None:
    answer = catalogue.ask("POST", PREDICT, COMPRESSED, GZIP)
    assert (answer.status, answer.json) == (200, ANSWER)


@pytest.mark.parametrize("body", [QUESTION, b"", COMPRESSED[: len(COMPRESSED) // 2], COMPRESSED[:5] + b"\xff" * 30])
def test_a_compressed_body_that_is_none(catalogue: RunningServer, body: bytes) -> None:
    answer = catalogue.ask("POST", PREDICT, body, GZIP)
    assert answer.status == 400
    assert answer.error
    still_right(catalogue)


def test_a_small_body_that_grows_huge_is_refused(small: RunningServer) -> None:
    resident = process_facts.resident_bytes(small.process("frontend rest 0"))
    bomb = gzip.compress(bytes(80 * MB))
    assert len(bomb) < MOST_BYTES
    answer = small.ask("POST", PREDICT, bomb, GZIP)
    assert (answer.status, "--max_request_bytes" in answer.error) == (413, True)
    assert process_facts.resident_bytes(small.process("frontend rest 0")) < resident + 50 * MB
    still_right(small)


def test_tensors_larger_than_their_text_are_refused_with_the_flag(small: RunningServer) -> None:
    """Numbers of two bytes of text each, which become eight bytes each, fit; that is what the lane has room for."""
    numbers = b'{"inputs": [' + b"1," * (MOST_BYTES // 2 - 20) + b"1]}"
    answer = small.predict("half_plus_two", numbers)
    assert answer.status == 200
    assert len(answer.json["outputs"]) == MOST_BYTES // 2 - 19


def test_a_large_request_takes_memory_only_while_it_lasts(catalogue: RunningServer) -> None:
    """Tens of megabytes, more than a lane uses as a rule: through the lane and back, whole."""
    before = lane_bytes(catalogue)
    text = b"abcdefgh" * (5 << 20)
    answer = catalogue.predict("text", b'{"instances": ["' + text + b'"]}')
    assert answer.status == 200
    (row,) = answer.json["predictions"]
    assert row["length"] == len(text)
    assert row["upper"] == text.upper().decode()
    limit = before + 40 * MB
    wait_until(lambda: lane_bytes(catalogue) < limit, 10, f"the lanes' memory below {limit}")


def lane_bytes(server: RunningServer) -> int:
    return sum(memfd.resident for memfd in server.lanes())


def test_a_slow_client_holds_up_nobody(catalogue: RunningServer) -> None:
    request = post(PREDICT, QUESTION)
    with RawConnection(catalogue.port) as connection:
        for start, end in itertools.pairwise([0, 1, 30, len(request) - 5, len(request)]):
            connection.send(request[start:end])
            still_right(catalogue)
        assert connection.answer().json == ANSWER


def test_clients_that_leave_in_the_middle_of_a_question(catalogue: RunningServer) -> None:
    request = post(PREDICT, QUESTION)
    for end in range(1, len(request), 7):
        with RawConnection(catalogue.port) as connection:
            connection.send(request[:end])
    with RawConnection(catalogue.port) as connection:
        connection.send(chunked(PREDICT, QUESTION, end=False))
    still_right(catalogue)


def test_clients_that_do_not_wait_for_their_answer(catalogue: RunningServer) -> None:
    for _ in range(50):
        with RawConnection(catalogue.port) as connection:
            connection.send(post(PREDICT, QUESTION))
    still_right(catalogue)
    supervisor = catalogue.pid
    # Whoever left gave its place back: all that was submitted is completed and released.
    wait_until(lambda: process_facts.requests_in_lanes(supervisor) == 0, 10, "the lanes empty")


def test_an_answer_that_nobody_reads_holds_up_nobody(catalogue: RunningServer) -> None:
    """Far more bytes than sockets hold."""
    numbers = b'{"inputs": [' + b"1.5," * (2 << 20) + b"1.5]}"
    with RawConnection(catalogue.port) as connection:
        connection.send(post(PREDICT, numbers))
        for _ in range(20):
            still_right(catalogue)
        answer = connection.answer()
    assert answer.status == 200
    assert answer.json["outputs"] == [3.75] * ((2 << 20) + 1)


def test_a_body_on_a_get_is_ignored(catalogue: RunningServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", catalogue.port, timeout=LIMIT)
    try:
        for _ in range(2):
            connection.request("GET", "/v1/models/half_plus_two", io.BytesIO(b"x" * 10_000), {"Content-Length": "10000"})
            assert answer_of(connection.getresponse()).status == 200
    finally:
        connection.close()

"""Clients that break HTTP's rules, or keep them as slowly and wastefully as they can: nobody notices, nothing is left."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from backports import zstd

from end_to_end import process_facts
from end_to_end.http_answer import ask
from end_to_end.load import Load, halves
from end_to_end.raw_connection import RawConnection, chunked, post
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until

MB = 1 << 20
MOST_BYTES = 1 * MB
PREDICT = "/v1/models/half_plus_two:predict"
HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\n".encode()
QUESTION, ANSWER = b'{"instances": [2.0, 4.0]}', {"predictions": [4.0, 5.0]}
GOOD = post(PREDICT, QUESTION)
_IN_FLIGHT = re.compile(r"^ringserve_inflight_requests\{[^}]*\} (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[RunningServer]:
    flags = "--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two"
    with RunningServer(*flags, f"--max_request_bytes={MOST_BYTES}") as running:
        assert running.predict("half_plus_two", QUESTION).json == ANSWER
        yield running


def descriptors(server: RunningServer) -> int:
    return len(os.listdir(f"/proc/{server.process('frontend rest 0')}/fd"))


def resident(server: RunningServer) -> int:
    return process_facts.resident_bytes(server.process("frontend rest 0"))


@pytest.fixture(autouse=True)
def unharmed(server: RunningServer) -> Iterator[None]:
    """While a test lasts others are answered, and rightly; when it ends all is as it was before."""
    processes, before, logged = server.processes(), descriptors(server), len(server.log)
    with Load(server.port, 1, halves("half_plus_two", 3.0)) as load:
        yield
        outcome = load.stop()
    assert not outcome.wrong
    assert not outcome.dropped
    assert outcome.slowest < 5
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 10, "the lanes empty")
    wait_until(lambda: descriptors(server) <= before, 20, lambda: f"{before} descriptors, not {descriptors(server)}")
    wait_until(lambda: not in_flight(server), 10, "no request in flight")
    assert server.processes() == processes
    assert "Traceback" not in server.log[logged:]
    assert "Error" not in server.log[logged:]


def in_flight(server: RunningServer) -> float:
    """As the metrics have it, which are written once a second."""
    return sum(float(value) for value in _IN_FLIGHT.findall(server.get("/metrics").body.decode()))


@contextmanager
def memory_grows_by_less_than(size: int, server: RunningServer) -> Iterator[None]:
    before = resident(server)
    yield
    assert resident(server) < before + size


def answers(stream: bytes) -> list[int]:
    """The statuses of all that was received, which is a whole number of answers."""
    statuses = []
    while stream:
        head, blank, rest = stream.partition(b"\r\n\r\n")
        assert blank, head
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        assert length, head
        size = int(length[1])
        assert len(rest) >= size, "an answer is cut off"
        body, stream = rest[:size], rest[size:]
        statuses.append(int(head.split(b" ")[1]))
        if b"application/json" in head:
            json.loads(body)
    return statuses


def exchanged(server: RunningServer, data: bytes) -> list[int]:
    """All is sent, nothing more will be; the statuses of what comes until the server closes the connection."""
    with RawConnection(server.port) as connection:
        with suppress(ConnectionError):
            connection.send(data)
            connection.say_no_more()
        try:
            return answers(connection.rest())
        except ConnectionResetError:
            return []


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: 25\r\nContent-Length: 26\r\n\r\n" + QUESTION,
        HEAD + b"Content-Length: 25\r\nTransfer-Encoding: chunked\r\n\r\n" + QUESTION,
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 25\r\n\r\n0\r\n\r\n" + GOOD,
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: +25\r\n\r\n" + QUESTION,
        HEAD + b"Content-Length: 2_5\r\n\r\n" + QUESTION,
        HEAD + b"Content-Length: 0x19\r\n\r\n" + QUESTION,
        HEAD + b"Content-Length: 25, 25\r\n\r\n" + QUESTION,
        HEAD + b"Content-Length: -1\r\n\r\n" + QUESTION,
        HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n" + QUESTION,
        HEAD + b"Content-Length : 25\r\n\r\n" + QUESTION,
        HEAD + b"X: a\r\n folded\r\nContent-Length: 25\r\n\r\n" + QUESTION,
        HEAD + b"X: a\0b\r\nContent-Length: 25\r\n\r\n" + QUESTION,
        HEAD + b"X: a\rb\r\nContent-Length: 25\r\n\r\n" + QUESTION,
        HEAD + b"X\xff: a\r\nContent-Length: 25\r\n\r\n" + QUESTION,
        HEAD + b"X: " + b"y" * 100_000 + b"\r\nContent-Length: 25\r\n\r\n" + QUESTION,
        HEAD + b"X: y\r\n" * 10_000 + b"Content-Length: 25\r\n\r\n" + QUESTION,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + QUESTION,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + QUESTION,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x19\r\n" + QUESTION + b"\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 100_000 + b"\r\nabcde\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        HEAD.replace(b" HTTP", b"\0 HTTP") + b"Content-Length: 25\r\n\r\n" + QUESTION,
        b"\r\n" * 100_000,
        b"P" * 100_000,
    ],
)
def test_what_is_no_http(server: RunningServer, request_: bytes) -> None:
    """One refusal at most, and no second request that is smuggled in behind the first."""
    assert exchanged(server, request_) in ([], [400])


@pytest.mark.parametrize("rubbish", [b"\0" * 100, b"GET\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n", b"\xff" * 100_000])
def test_rubbish_behind_a_right_request(server: RunningServer, rubbish: bytes) -> None:
    """The right one is answered first, where it came first."""
    # In one piece with it, it may take the right one down with it: nothing has been done for either then.
    assert exchanged(server, GOOD + rubbish) in ([], [200], [400], [200, 400])


def test_a_body_longer_than_announced(server: RunningServer) -> None:
    """What is too much is the next request, and no right one; in one piece with the first it may take that down with it."""
    request = post(PREDICT, QUESTION + b"\r\n{}\r\n\r\n", length=len(QUESTION))
    assert exchanged(server, request) in ([], [200], [400], [200, 400])


def test_a_body_shorter_than_announced(server: RunningServer) -> None:
    assert exchanged(server, post(PREDICT, QUESTION, length=len(QUESTION) + 1)) in ([], [400])


def test_slow_clients(server: RunningServer) -> None:
    """A byte now and a byte then, in the head and in the body, of many at once: each is answered in the end."""
    request = post(PREDICT, QUESTION)
    with ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(server.port)) for _ in range(50)]
        for at in range(len(request)):
            for connection in connections:
                connection.send(request[at : at + 1])
        for connection in connections:
            assert connection.answer().json == ANSWER


def test_a_connection_cut_at_every_byte_of_a_request(server: RunningServer) -> None:
    for request in (GOOD, chunked(PREDICT, QUESTION[:9], QUESTION[9:])):
        for end in range(1, len(request)):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(request[:end])
                if end % 2:  # with a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_connection_cut_at_every_byte_of_an_answer(server: RunningServer) -> None:
    with RawConnection(server.port) as connection:
        connection.send(GOOD)
        connection.say_no_more()
        length = len(connection.rest()) or 300
    for end in range(length):
        with socket.create_connection(("127.0.0.1", server.port)) as cut:
            cut.sendall(GOOD * 3)
            received = 0
            while received < end and (piece := cut.recv(end - received)):
                received += len(piece)
            cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_many_idle_connections(server: RunningServer) -> None:
    with memory_grows_by_less_than(50 * MB, server), ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(server.port)) for _ in range(500)]
        for connection in connections[::2]:
            connection.send(GOOD[:40])
        for connection in connections[1::2]:
            connection.send(GOOD)
            assert connection.answer().json == ANSWER


@pytest.mark.parametrize("request_", [GOOD, b"GET /v1/models/half_plus_two/metadata HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_client_that_asks_on_and_never_reads(server: RunningServer, request_: bytes) -> None:
    with memory_grows_by_less_than(30 * MB, server), socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(1)
        with suppress(TimeoutError):  # its requests are no longer taken
            for _ in range(1000):
                connection.sendall(request_ * 1000)
        connection.settimeout(30)
        received = connection.recv(1 << 20)
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_bombs(server: RunningServer, coding: str, compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(bytes(200 * MB))
    with memory_grows_by_less_than(30 * MB, server):
        for _ in range(5):
            answer = ask(server.port, "POST", PREDICT, bomb, {"Content-Encoding": coding})
            assert answer.status == 413
            assert "--max_request_bytes" in answer.error
        many = post(PREDICT, bomb[:100_000], f"Content-Encoding: {coding}") * 20  # damaged, which shows after the limit only
        exchanged(server, many)


@pytest.mark.parametrize(("coding", "empty"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstd.compress(b""))])
def test_a_body_of_members_that_are_empty(server: RunningServer, coding: str, empty: bytes) -> None:
    """Tens of thousands of them, one behind the other: going on to the next must not cost what all that follows costs."""
    taken = []
    for _ in range(3):
        began = time.monotonic()
        answer = ask(server.port, "POST", PREDICT, empty * (MOST_BYTES // len(empty)), {"Content-Encoding": coding})
        taken.append(time.monotonic() - began)
        assert answer.status in (400, 413)
        assert answer.error
    assert min(taken) < 1  # one alone may be held up by what else the machine does


@pytest.mark.parametrize("coding", ["gzip", "zstd", "deflate"])
@pytest.mark.parametrize("body", [b"", QUESTION, gzip.compress(QUESTION, mtime=0)[:-9], zstd.compress(QUESTION)[:-3]])
def test_bodies_that_are_not_compressed_as_they_say(server: RunningServer, coding: str, body: bytes) -> None:
    """Upstream takes such a body for an empty one. Whether the connection can be used again, the answer says."""
    with RawConnection(server.port) as connection:
        connection.send(post(PREDICT, body, f"Content-Encoding: {coding}"))
        answer = connection.answer()
        assert (answer.status, answer.error) == (400, "JSON Parse error: The document is empty")
        if answer.headers.get("connection") != "close":
            connection.send(GOOD)
            assert connection.answer().json == ANSWER


def test_a_client_that_expects_to_go_on_and_does_not(server: RunningServer) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(server.port)) for _ in range(20)]
        for connection in connections:
            connection.send(HEAD + b"Content-Length: 25\r\nExpect: 100-continue\r\n\r\n")
            assert connection.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_deep_nesting(server: RunningServer) -> None:
    """As deep as the limit lets it be."""
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"instances":', b"}]")):
        depth = (MOST_BYTES - 100) // len(opening + closing)
        for body in (opening * depth, opening * depth + b"1" + closing * depth):
            began = time.monotonic()
            answer = ask(server.port, "POST", PREDICT, b'{"instances": [' + body + b"]}")
            assert answer.status == 400
            assert answer.error
            assert time.monotonic() - began < 5


def test_many_requests_ahead_after_a_body_in_pieces(server: RunningServer) -> None:
    """More of them than are parsed at a time: none is forgotten."""
    count = 100
    with RawConnection(server.port) as connection:
        connection.send(GOOD[: -len(QUESTION)])
        time.sleep(0.05)  # so that the body is a piece of its own; if it is not, the test still has to pass
        connection.send(QUESTION + GOOD * (count - 2) + GOOD.replace(b"Host", b"Connection: close\r\nHost"))
        assert answers(connection.rest()) == [200] * count

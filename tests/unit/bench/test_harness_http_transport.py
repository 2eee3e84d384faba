"""The load harness's HTTP transport against a server whose every byte is known."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from driven import LIMIT, drive

from bench.harness.http_protocol import HttpProtocol
from bench.harness.http_transport import HttpTransport
from bench.harness.request_set import Request, RequestSet
from bench.harness.target import PreparationError, Target

BODY = b'{"predictions":[2.5,3.0]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d" % len(BODY)
RIGHT = HEAD + b"\r\n\r\n" + BODY

#: Gets the number of a request and the socket, when all of the request has come.
Script = Callable[[int, socket.socket], None]


def sends(text: bytes) -> Script:
    return lambda _, sock: sock.sendall(text)


class Known:
    """A server that counts what it gets, whatever its length is."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lock = threading.Lock()
        self._socks: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.seen = self.connections = self.bytes = 0
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(sock,))
                with self._lock:
                    self.connections += 1
                    self._socks.append(sock)
                    self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError), sock.makefile("rb") as file:
            while True:
                length = 0
                while (line := file.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                if not line:
                    return
                self._count(len(file.read(length)))
                self._script(self.seen - 1, sock)

    def _count(self, length: int) -> None:
        with self._lock:
            self.seen += 1
            self.bytes += length

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(LIMIT)
        self._listener.close()
        for sock in self._socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)


@contextmanager
def serving(script: Script) -> Iterator[Known]:
    server = Known(script)
    try:
        yield server
    finally:
        server.close()


def requests_of(port: int, body: bytes = b"{}", answer: tuple[bytes, bytes] = (BODY, HEAD)) -> RequestSet:
    part = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    return RequestSet(f"http://127.0.0.1:{port}", "tfs", (Request((part,), answer),))


@contextmanager
def opened(requests: RequestSet, slots: int) -> Iterator[HttpTransport]:
    transport = HttpTransport(requests, slots)
    try:
        yield transport
    finally:
        transport.close()


def outcome(script: Script, count: int = 6, slots: int = 2, body: bytes = b"{}") -> tuple[Counter[str], Known]:
    with serving(script) as server, opened(requests_of(server.port, body), slots) as transport:
        return drive(transport, count, slots), server


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (RIGHT, ""),
        (HEAD.replace(b"OK", b"Fine") + b"\r\nX-More: 1\r\n\r\n" + BODY, ""),
        (RIGHT.replace(b"2.5", b"2.5001").replace(b": 25", b": 28"), ""),
        (RIGHT.replace(b"2.5", b"2.6"), "wrong answer"),
        (RIGHT.replace(b"predictions", b"predictiens"), "wrong answer"),
        (b"HTTP/1.1 503 Full\r\nContent-Length: 2\r\n\r\n{}", "503"),
        (b"HTTP/1.1 429 Full\r\nContent-Length: 0\r\n\r\n", "429"),
        (CHUNKED + b"a\r\n%s\r\nf\r\n%s\r\n0\r\n\r\n" % (BODY[:10], BODY[10:]), ""),
        (b"garbage\r\n\r\n", "wrong answer"),
        (RIGHT + RIGHT, "wrong answer"),
    ],
)
def test_answers_by_their_kinds(text: bytes, kind: str) -> None:
    kinds, server = outcome(sends(text))
    assert kinds == {kind: 6}
    assert server.seen == 6


def test_connections_are_kept() -> None:
    _, server = outcome(sends(RIGHT), count=20, slots=3)
    assert server.connections == 3


def test_an_answer_that_ends_with_its_connection() -> None:
    def script(_: int, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + BODY)
        sock.shutdown(socket.SHUT_RDWR)

    kinds, server = outcome(script)
    assert kinds == {"": 6}
    assert server.connections >= 6


def test_a_connection_that_says_it_closes_is_not_used_again() -> None:
    kinds, server = outcome(sends(HEAD + b"\r\nConnection: close\r\n\r\n" + BODY))
    assert kinds == {"": 6}
    assert server.connections >= 6


def test_lost_connections_are_counted_and_opened_anew() -> None:
    def script(number: int, sock: socket.socket) -> None:
        if number % 3 == 1:
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.sendall(RIGHT)

    kinds, server = outcome(script, count=12)
    assert kinds == {"": server.seen - kinds["connection lost"], "connection lost": kinds["connection lost"]}
    assert kinds["connection lost"] == 4


def test_idle_connections_that_the_server_closes_cost_nothing() -> None:
    """As servers do that keep connections for a few seconds only."""

    def script(_: int, sock: socket.socket) -> None:
        sock.sendall(RIGHT)
        sock.shutdown(socket.SHUT_RDWR)

    with serving(script) as server, opened(requests_of(server.port), 1) as transport:
        for turn in range(1, 4):
            assert drive(transport, 1, 1) == {"": 1}
            gives_up = time.monotonic() + LIMIT
            while transport._slots[0].sock is not None:
                assert list(transport.poll(0.05)) == []
                assert time.monotonic() < gives_up
            assert server.seen == turn


def test_large_requests_go_out_in_parts() -> None:
    body = bytes(8 << 20)
    kinds, server = outcome(sends(RIGHT), count=4, body=body)
    assert kinds == {"": 4}
    assert server.bytes == 4 * len(body)


def test_a_large_request_that_is_refused_before_its_end() -> None:
    """The answer comes while the request is still being sent; nothing else can follow it there."""
    answered = threading.Event()

    def answer(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
            answered.wait(LIMIT)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        requests = requests_of(listener.getsockname()[1], bytes(32 << 20))
        with opened(requests, 1) as transport:
            assert drive(transport, 1, 1) == {"413": 1}
            assert transport._slots[0].sock is None
        answered.set()
        thread.join(LIMIT)


def test_large_answers() -> None:
    body = b"[" + b"1.0," * 500_000 + b"1.0]"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d" % len(body)
    with serving(sends(head + b"\r\n\r\n" + body)) as server:
        requests = requests_of(server.port, answer=(body, head))
        with opened(requests, 2) as transport:
            assert drive(transport, 4, 2) == {"": 4}


def test_an_abandoned_answer_is_dropped() -> None:
    gate = threading.Event()

    def script(number: int, sock: socket.socket) -> None:
        if not number:
            gate.wait(LIMIT)
        sock.sendall(RIGHT)

    with serving(script) as server, opened(requests_of(server.port), 1) as transport:
        transport.send(0, 0)
        assert list(transport.poll(0.01)) == []
        transport.abandon(0)
        gate.set()
        assert drive(transport, 3, 1) == {"": 3}


def test_refused_connections_are_told_and_not_at_once() -> None:
    with serving(sends(RIGHT)) as server:
        transport = HttpTransport(requests_of(server.port), 2)
    try:
        began = time.monotonic()
        kinds = drive(transport, 10, 2)
        assert kinds == {"connection lost": 10}
        assert time.monotonic() - began > 0.05  # two slots, the first of each may be told at once
    finally:
        transport.close()


def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        HttpTransport(requests_of(port), 1)
    with pytest.raises(PreparationError, match="refused"):
        HttpProtocol().ask(Target(f"http://127.0.0.1:{port}"), requests_of(port).requests[0].parts, 1.0)
    with pytest.raises(ValueError, match="TLS"):
        HttpTransport(RequestSet("https://localhost", "tfs", ()), 1)


@pytest.mark.parametrize("body", [b'{"error": "no such model"}', b'{"detail": "no such model"}', b"no such model"])
def test_the_servers_words_of_an_error(body: bytes) -> None:
    with (
        serving(sends(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))) as server,
        pytest.raises(PreparationError, match="404: no such model"),
    ):
        HttpProtocol().ask(Target(f"http://127.0.0.1:{server.port}"), requests_of(server.port).requests[0].parts, LIMIT)


def test_the_servers_words_of_what_it_did_not_want_to_read() -> None:
    def answer(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 413 Large\r\nContent-Length: 9\r\n\r\ntoo large")
            sock.shutdown(socket.SHUT_RDWR)
            while sock.recv(1 << 20):  # else its end would throw away what it has said
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        parts = requests_of(port, bytes(32 << 20)).requests[0].parts
        with pytest.raises(PreparationError, match="413: too large"):
            HttpProtocol().ask(Target(f"http://127.0.0.1:{port}"), parts, LIMIT)
        thread.join(LIMIT)

"""The load generator against a small server whose answers, right and wrong, are known."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.http_generator import Generator, http_load
from bench.load import Target

RIGHT = b'{"predictions":[2.5]}'
WRONG = b'{"predictions":[3.5]}'
SENT = '{"instances":[1.0]}'

#: Says of the n-th request which status and body it gets.
Script = Callable[[int], tuple[int, bytes]]


class Known(ThreadingHTTPServer):
    """Answers by a script, counts what it has answered rightly and wrongly, and keeps what it was sent."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.lock = threading.Lock()
        self.seen = self.right = self.wrong = 0
        self.bodies: set[bytes] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Known

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            status, answer = self.server.script(self.server.seen)
            self.server.seen += 1
            self.server.right += (status, answer) == (200, RIGHT)
            self.server.wrong += (status, answer) != (200, RIGHT)
            self.server.bodies.add(body)
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[:5])  # in two pieces
        self.wfile.write(answer[5:])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(script: Script) -> Iterator[tuple[Known, Target]]:
    server = Known(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server, Target(server.server_port, "/v1/models/m:predict", SENT, {"predictions": [2.5]})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("connections", [1, 7])
def test_right_answers_are_counted_and_timed(connections: int) -> None:
    with serving(lambda _: (200, RIGHT)) as (server, target):
        generator = Generator(target, connections)
        tally = generator.run(0.2)
        generator.close()
        assert tally.requests == server.right == tally.latencies.total
        assert tally.requests >= connections
        assert tally.errors == 0
        assert tally.seconds >= 0.2
        assert server.bodies == {SENT.encode()}


@pytest.mark.parametrize(
    "bad",
    [(200, WRONG), (200, b"{"), (503, RIGHT), (0, b"")],
    ids=["wrong body", "no JSON", "status", "closed connection"],
)
def test_wrong_answers_are_errors_and_the_load_goes_on(bad: tuple[int, bytes]) -> None:
    with serving(lambda number: bad if number % 5 == 2 else (200, RIGHT)) as (server, target):
        generator = Generator(target, 3)
        tally = generator.run(0.3)
        generator.close()
        assert tally.errors == server.wrong > 1
        assert tally.requests == server.right == tally.latencies.total


def test_a_server_that_is_gone_ends_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        generator = Generator(Target(listener.getsockname()[1], "/", SENT, None), 2)
        for _ in range(2):
            listener.accept()[0].close()
    tally = generator.run(30.0)
    generator.close()
    assert (tally.requests, tally.errors) == (0, 2)


def test_no_server_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        Generator(Target(port, "/", SENT, None), 1)


def test_several_processes_share_the_connections() -> None:
    with serving(lambda number: (200, WRONG if number == 10 else RIGHT)) as (server, target):
        load = http_load(target, connections=3, seconds=0.3, processes=2)
        assert load.requests == server.right
        assert load.errors == server.wrong == 1
        assert 0 < load.p50 <= load.p99
        assert load.rate == load.requests / load.seconds


def test_a_generator_that_can_not_run_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RuntimeError, match="load generator ended with 1"):
        http_load(Target(port, "/", SENT, None), 1, 0.1)
    assert "ConnectionRefusedError" in capfd.readouterr().err

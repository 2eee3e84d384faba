"""States of versions: read from the status API's answers, and waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.version_states import StatusClient, available, changing, ended, parse_states, switched


def entry(version: int, state: str, error: str = "") -> dict[str, Any]:
    status = {"error_code": "INTERNAL" if error else "OK", "error_message": error}
    return {"version": str(version), "state": state, "status": status}


def answer(*entries: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps({"model_version_status": entries}).encode()


def test_an_answer_is_read() -> None:
    _, body = answer(entry(2, "LOADING"), entry(1, "AVAILABLE"))
    assert parse_states(body) == {2: "LOADING", 1: "AVAILABLE"}


def test_a_version_that_has_failed_is_told() -> None:
    _, body = answer(entry(2, "END", "no such file"), entry(1, "AVAILABLE"))
    with pytest.raises(RuntimeError, match="version 2 failed: no such file"):
        parse_states(body)


def test_what_is_waited_for() -> None:
    states = {3: "LOADING", 2: "AVAILABLE", 1: "END"}
    assert available(2)(states)
    assert not available(3)(states)
    assert not available(4)(states)
    assert ended(1)(states)
    assert ended(0)(states)  # forgotten
    assert not ended(2)(states)
    assert not switched(2, 3)(states)
    assert not switched(2, 3)({3: "AVAILABLE", 2: "UNLOADING"})
    assert switched(2, 3)({3: "AVAILABLE", 2: "END"})
    assert switched(2, 3)({3: "AVAILABLE"})


@pytest.mark.parametrize(
    ("state", "changes"), [("START", True), ("LOADING", True), ("AVAILABLE", False), ("UNLOADING", True), ("END", False)]
)
def test_a_model_changes_while_a_version_comes_or_goes(state: str, changes: bool) -> None:
    assert changing({1: "AVAILABLE", 2: state}) is changes
    assert not changing({})


class Scripted(ThreadingHTTPServer):
    """Gives its answers in turn, the last one for ever."""

    daemon_threads = True
    script: list[tuple[int, bytes]]
    paths: list[str]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        status, body = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(("127.0.0.1", 0), Handler) as scripted:
        scripted.paths = []
        thread = threading.Thread(target=scripted.serve_forever, args=(0.01,))
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


def test_it_asks_until_the_version_is_there(server: Scripted) -> None:
    server.script = [(404, b"{}"), answer(entry(1, "LOADING")), answer(entry(1, "AVAILABLE"))]
    seen: list[dict[int, str]] = []
    with StatusClient(server.server_port) as client:
        states = client.until("a/b", available(1), 20, lambda states: seen.append(dict(states)))
    assert states == {1: "AVAILABLE"}
    assert seen == [{}, {1: "LOADING"}, {1: "AVAILABLE"}]
    assert set(server.paths) == {"/v1/models/a%2Fb"}


def test_it_gives_up(server: Scripted) -> None:
    server.script = [answer(entry(1, "LOADING"))]
    with StatusClient(server.server_port) as client, pytest.raises(RuntimeError, match=r"m did not get there.*LOADING"):
        client.until("m", available(1), 0)


def test_other_answers_are_told(server: Scripted) -> None:
    server.script = [(500, b"oh")]
    with StatusClient(server.server_port) as client, pytest.raises(RuntimeError, match="status of m was answered 500 b'oh'"):
        client.states("m")

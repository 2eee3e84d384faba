"""Connections over HTTP: kept, lost, late, cancelled, closed, forked, and over TLS."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_model_server import Answer, Asked, HttpModelServer, http_model_server, json_answer

from ringserve.client.deadline import Deadline
from ringserve.client.http.address import HttpAddress
from ringserve.client.http.exchange import HttpAnswer, HttpQuestion
from ringserve.client.http.socket import TimedSocket
from ringserve.client.http.threads import HttpThreads, Work
from ringserve.client.http.transport import HttpTransport
from ringserve.client.operations import Models, Predict, Status
from ringserve.client.tls import Tls
from ringserve.errors import Code, ServingError

KEYS = Path(__file__).parents[2] / "data" / "tls"
GET = HttpQuestion("GET", "/x")
POST = HttpQuestion("POST", "/x", [b"body"])
LIMIT = 20.0

Pair = tuple[HttpModelServer, HttpTransport]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with http_model_server() as server:
        server.answer = lambda asked: json_answer({})
        transport = HttpTransport(server.url)
        yield server, transport
        transport.close()


def failure(call: Callable[[], Any]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        call()
    return caught.value.code, caught.value.message


def until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.001)


class Outcome:
    """What `start` hands over."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self._event = threading.Event()

    def __call__(self, outcome: Any) -> None:
        self.told.append(outcome)
        self._event.set()

    def error(self) -> tuple[Code, str]:
        assert self._event.wait(LIMIT)
        (error,) = self.told
        assert isinstance(error, ServingError)
        return error.code, error.message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host", ("http://host", False, "host", 80, "")),
        ("https://host:1/", ("https://host:1", True, "host", 1, "")),
        ("http://[::1]:2/models/here/", ("http://[::1]:2/models/here", False, "::1", 2, "/models/here")),
    ],
)
def test_addresses(url: str, expected: Any) -> None:
    assert HttpAddress.of(url) == expected


@pytest.mark.parametrize(
    "url", ["host:1", "http://", "http://h:port", "http://h/?x", "http://h/#x", "http://u:pw@h", "http://h/ü"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        HttpTransport(url)
    assert "pw" not in str(caught.value)


def test_connections_are_used_again(pair: Pair) -> None:
    server, transport = pair
    for _ in range(3):
        transport.ask(POST, LIMIT)
        transport.ask(GET, LIMIT)
    assert len(server.asked) == 6
    assert len(server.connections) == 1


def test_threads_have_connections_of_their_own(pair: Pair) -> None:
    server, transport = pair
    together = threading.Barrier(4, timeout=LIMIT)

    def answer(asked: Asked) -> Answer:
        together.wait()
        return json_answer({})

    server.answer = answer
    threads = [threading.Thread(target=transport.ask, args=(GET, LIMIT)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(server.asked) == 4
    server.answer = lambda asked: json_answer({})
    transport.ask(GET, LIMIT)
    assert len(server.connections) == 4


def test_a_connection_that_was_closed_meanwhile_is_not_used(pair: Pair) -> None:
    server, transport = pair
    transport.ask(POST, LIMIT)
    server.connections[0].shutdown(socket.SHUT_RDWR)
    assert transport.ask(POST, LIMIT).status == 200
    assert len(server.asked) == 2


class Raced:
    """The server's idle connections seem open, as they do when the server closes them a moment later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("urllib3.connection.HTTPConnection.is_connected", True)


@pytest.mark.parametrize("question", [GET, POST])
def test_what_nobody_can_have_read_is_asked_again(
    pair: Pair, question: HttpQuestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, transport = pair
    transport.ask(POST, LIMIT)
    server.connections[0].shutdown(socket.SHUT_RDWR)  # what is sent to it now is refused, without a word of its receipt
    server.connections[0].close()
    Raced(monkeypatch)
    assert transport.ask(question, LIMIT).status == 200
    assert len(server.asked) == 2


def test_what_was_read_is_asked_again_only_where_it_may_be(pair: Pair) -> None:
    server, transport = pair

    def lost_once(asked: Asked) -> Answer | None:
        return None if len(server.asked) % 2 == 0 else json_answer({})

    server.answer = lost_once
    transport.ask(POST, LIMIT)
    code, text = failure(lambda: transport.ask(POST, LIMIT))  # it may have been carried out
    assert code is Code.UNAVAILABLE
    assert text.startswith(f"lost the connection to {server.url}: ")
    assert len(server.asked) == 2
    transport.ask(GET, LIMIT)
    assert transport.ask(GET, LIMIT).status == 200
    assert len(server.asked) == 5


def test_a_first_connection_that_is_lost(pair: Pair) -> None:
    server, transport = pair
    server.answer = lambda asked: None
    assert failure(lambda: transport.ask(GET, LIMIT))[0] is Code.UNAVAILABLE
    assert len(server.asked) == 1


def test_an_answer_that_is_cut_off(pair: Pair) -> None:
    server, transport = pair
    server.answer = lambda asked: Answer(b"{}", headers=(("Content-Length", "100"),))

    def answer(asked: Asked) -> Answer | None:
        server.connections[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
        return None

    server.answer = answer
    code, _ = failure(lambda: transport.ask(GET, LIMIT))
    assert code is Code.UNAVAILABLE
    assert len(server.asked) == 1


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    transport = HttpTransport(f"http://127.0.0.1:{port}")
    text = f"cannot reach http://127.0.0.1:{port}: Connection refused"
    assert failure(lambda: transport.call(Status("m"), LIMIT)) == (Code.UNAVAILABLE, text)


def test_an_answer_that_drips_has_no_more_time_than_any() -> None:
    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000:
                try:
                    connection.sendall(bytes((byte,)))
                except OSError:
                    return
                if ended.wait(0.02):
                    return

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        transport = HttpTransport(f"http://127.0.0.1:{listener.getsockname()[1]}")
        began = time.monotonic()
        assert failure(lambda: transport.ask(GET, 0.2)) == (Code.DEADLINE_EXCEEDED, "No answer within 0.2 s")
        assert time.monotonic() - began < 5
        ended.set()
        thread.join(LIMIT)


def test_a_body_that_is_not_taken_has_no_more_time_than_any() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = HttpTransport(f"http://127.0.0.1:{listener.getsockname()[1]}")
        body = [memoryview(bytes(1 << 20))] * 64
        assert failure(lambda: transport.ask(HttpQuestion("POST", "/x", body), 0.2))[0] is Code.DEADLINE_EXCEEDED


def test_no_time_at_all(pair: Pair) -> None:
    server, transport = pair
    assert failure(lambda: transport.ask(GET, 0)) == (Code.DEADLINE_EXCEEDED, "No answer within 0 s")
    assert server.asked == []


def held(server: HttpModelServer) -> threading.Event:
    """The server's answers wait for it."""
    event = threading.Event()

    def answer(asked: Asked) -> Answer:
        event.wait(LIMIT)
        return json_answer({"model_version_status": []})

    server.answer = answer
    return event


def test_start_and_cancel(pair: Pair) -> None:
    server, transport = pair
    event, cancelled, answered = held(server), Outcome(), Outcome()
    cancel = transport.start(Status("a"), LIMIT, cancelled)
    transport.start(Status("b"), None, answered)
    until(lambda: len(server.asked) == 2)
    cancel()
    assert cancelled.error() == (Code.CANCELLED, "The call was cancelled")
    event.set()
    until(lambda: answered.told)
    assert answered.told == [[]]
    cancel()  # again, and too late: does nothing
    assert transport.call(Status("c"), LIMIT) == []


def test_what_cannot_be_sent_goes_to_done(pair: Pair) -> None:
    outcome = Outcome()
    pair[1].start(Predict(("", None, None), "", {}), LIMIT, outcome)
    assert outcome.error()[0] is Code.INVALID_ARGUMENT


def test_close_ends_calls_and_refuses_more(pair: Pair) -> None:
    server, transport = pair
    event, outcome = held(server), Outcome()
    transport.start(Status("m"), None, outcome)
    until(lambda: server.asked)
    transport.close()
    transport.close()
    assert outcome.error() == (Code.CANCELLED, "The client is closed")
    assert failure(lambda: transport.call(Models(), 1)) == (Code.FAILED_PRECONDITION, "The client is closed")
    assert failure(lambda: transport.start(Models(), 1, Outcome())) == (Code.FAILED_PRECONDITION, "The client is closed")
    event.set()


def test_a_child_has_connections_of_its_own(pair: Pair) -> None:
    server, transport = pair
    transport.ask(GET, LIMIT)
    child = os.fork()
    if not child:
        os._exit(0 if transport.ask(GET, LIMIT).status == 200 else 1)
    assert os.waitpid(child, 0)[1] == 0
    transport.ask(GET, LIMIT)
    assert len(server.asked) == 3
    assert len(server.connections) == 2


def test_threads_end_what_waits_too_long() -> None:
    threads = HttpThreads(most=1)
    busy, outcomes = threading.Event(), [Outcome() for _ in range(4)]

    def hold() -> None:
        busy.wait(LIMIT)
        outcomes[0](None)

    threads.add(Work(hold, outcomes[0], Deadline(None)))
    works = [
        Work(lambda: None, outcome, Deadline(seconds))
        for outcome, seconds in zip(outcomes[1:], (60, 0.05, None), strict=True)
    ]
    for work in works:
        threads.add(work)
    assert outcomes[2].error() == (Code.DEADLINE_EXCEEDED, "No answer within 0.05 s")
    threads.drop(works[0])
    threads.drop(works[0])
    assert outcomes[1].error() == (Code.CANCELLED, "The call was cancelled")
    threads.close()
    assert outcomes[3].error() == (Code.CANCELLED, "The client is closed")
    busy.set()
    until(lambda: outcomes[0].told)
    threads.add(works[1])
    assert len(outcomes[2].told) == 2


def test_a_socket_that_tells_nothing_of_what_was_received() -> None:
    left, right = socket.socketpair()
    with left, right:
        timed = TimedSocket(left)
        assert timed.acknowledged == 0
        timed.close()
        assert timed.acknowledged == 0


def server_context(verify: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(KEYS / "server.crt", KEYS / "server.key")
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(KEYS / "client.crt")
    return context


def asked_over_tls(server: HttpModelServer, tls: Tls) -> HttpAnswer:
    transport = HttpTransport(server.url.replace("127.0.0.1", "localhost"), tls)
    try:
        transport.ask(POST, LIMIT)
        return transport.ask(POST, LIMIT)
    finally:
        transport.close()


def test_tls() -> None:
    with http_model_server(server_context()) as server:
        server.answer = lambda asked: Answer(asked.body)
        assert asked_over_tls(server, Tls(KEYS / "server.crt")).body == b"body"
        assert len(server.connections) == 1
        code, text = failure(lambda: asked_over_tls(server, Tls()))
        assert code is Code.UNAVAILABLE
        assert "certificate" in text.lower()
        assert failure(lambda: asked_over_tls(server, Tls(KEYS / "server.crt", server_name="other")))[0] is Code.UNAVAILABLE


def test_tls_with_a_clients_certificate() -> None:
    with http_model_server(server_context(verify=True)) as server:
        server.answer = lambda asked: Answer(asked.body)
        shown = Tls(KEYS / "server.crt", (KEYS / "client.crt").read_bytes(), KEYS / "client.key")
        assert asked_over_tls(server, shown).body == b"body"
        assert failure(lambda: asked_over_tls(server, Tls(KEYS / "server.crt")))[0] is Code.UNAVAILABLE


def test_tls_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="https://"):
        HttpTransport("http://h", Tls())
    with pytest.raises(OSError):
        HttpTransport("https://h", Tls("/no/such/file"))
    for bad in (Tls(b"nothing"), Tls(b"\xff"), Tls(None, KEYS / "client.crt", KEYS / "server.key"), Tls(None, b"", b"")):
        with pytest.raises(ValueError, match="certificates"):
            HttpTransport("https://h", bad)

"""Streams where the protocol has none: a window of calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from answering_server import singles
from played_transport import PlayedTransport, half, playing, prediction

from ringserve.client import Client
from ringserve.errors import Code, ServingError

X = {"x": singles([1])}
Y = prediction(y=singles([2.5]))


@pytest.fixture
def transport() -> Iterator[PlayedTransport]:
    with playing(PlayedTransport()) as played:
        yield played


def code_of(future: Future[Any]) -> Code:
    error = future.exception(20)
    assert isinstance(error, ServingError)
    return error.code


def test_as_many_as_there_may_be(transport: PlayedTransport) -> None:
    stream = Client("played://").stream(most_outstanding=2, key="k")
    first, second = stream.submit("m", X), stream.submit("m", X)
    with pytest.raises(ServingError, match="2 requests before this one") as caught:
        stream.submit("m", X, timeout=0.05)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    [one, two] = transport.next(2)
    assert one.operation.key == "k"
    two.done(Y)
    assert second.result(20) is Y
    third = stream.submit("m", X, timeout=20)
    one.done(ServingError(Code.NOT_FOUND, "none"))
    assert code_of(first) is Code.NOT_FOUND
    transport.next()[0].done(Y)
    assert third.result(20) is Y
    stream.close()


def test_waiting_for_room(transport: PlayedTransport) -> None:
    stream = Client("played://").stream(most_outstanding=1)
    stream.submit("m", X)
    submitted = threading.Event()

    def submit() -> None:
        stream.submit("m", X)
        submitted.set()

    thread = threading.Thread(target=submit)
    thread.start()
    [first] = transport.next()
    assert not submitted.is_set()
    first.done(Y)
    assert submitted.wait(20)
    thread.join(20)
    transport.next()[0].done(Y)
    stream.close()


def test_leaving_waits_for_all_results(transport: PlayedTransport) -> None:
    stream = Client("played://").stream()
    future = stream.submit("m", X)
    closing = threading.Thread(target=stream.close)
    closing.start()
    assert not future.done()
    transport.next()[0].done(Y)
    closing.join(20)
    assert not closing.is_alive()
    with pytest.raises(ServingError, match="The stream is closed"):
        stream.submit("m", X)


def test_leaving_by_an_error_cancels(transport: PlayedTransport) -> None:
    with pytest.raises(KeyError), Client("played://").stream() as stream:
        future = stream.submit("m", X)
        raise KeyError
    assert code_of(future) is Code.CANCELLED
    [asked] = transport.next()
    assert asked.is_cancelled
    asked.done(Y)
    with pytest.raises(ServingError, match="The stream was cancelled"):
        stream.submit("m", X)


def test_a_cancelled_future_makes_room(transport: PlayedTransport) -> None:
    stream = Client("played://").stream(most_outstanding=1)
    assert stream.submit("m", X).cancel()
    stream.submit("m", X, timeout=20)
    stream.cancel()


def test_the_streams_own_time(transport: PlayedTransport) -> None:
    stream = Client("played://").stream(timeout=10)
    stream.submit("m", X, timeout=20)
    stream.submit("m", X, timeout=5)
    [first, second] = transport.next(2)
    assert 9 < (first.timeout or 0) <= 10
    assert 4 < (second.timeout or 0) <= 5
    stream.cancel()
    over = Client("played://").stream(timeout=0)
    with pytest.raises(ServingError, match="No answer within 0 s"):
        over.submit("m", X)
    over.close()


def test_callbacks_may_submit_though_the_stream_is_full(transport: PlayedTransport) -> None:
    """And close it, without waiting for themselves."""
    stream = Client("played://").stream(most_outstanding=1)
    found: list[Any] = []
    ended = threading.Event()

    def again(future: Future[Any]) -> None:
        found.append(future.result())
        if len(found) < 3:
            stream.submit("m", X).add_done_callback(again)
            stream.submit("m", X)
        else:
            stream.close()
            ended.set()

    def serve() -> None:
        while not ended.is_set():
            for asked in transport.next():
                asked.done(Y)

    stream.submit("m", X).add_done_callback(again)
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    assert ended.wait(20)
    server.join(20)


def test_a_client_that_is_closed(transport: PlayedTransport) -> None:
    client = Client("played://")
    with client.stream() as stream:
        client.close()
        with pytest.raises(ServingError, match="The client is closed"):
            stream.submit("m", X)


def test_many_threads(transport: PlayedTransport) -> None:
    transport.answer = half
    wrong: list[float] = []
    with Client("played://").stream(most_outstanding=4) as stream:

        def ask(first: int) -> None:
            for number in range(first, first + 100):
                if stream.predict("m", {"x": singles([number])})["y"].tolist() != [number / 2 + 2]:
                    wrong.append(number)

        threads = [threading.Thread(target=ask, args=(1000 * which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert wrong == []


def test_a_call_that_can_not_even_be_started(transport: PlayedTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system has no more threads: nobody is to wait for it."""

    def start(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(transport, "start", start)
    stream = Client("played://").stream()
    with pytest.raises(RuntimeError, match="new thread"):
        stream.submit("m", X)
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()

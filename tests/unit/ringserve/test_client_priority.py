"""The priority that callers name, from every call of both clients to the message of every protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from http_model_server import Answer, http_model_server, message_answer
from lane_server import LIMIT
from played_transport import HALF, PlayedTransport, half, playing
from shm_calls import Started, each, predict, served

from frontend.bodies.tensor_message import read_request, request_of
from ringserve.client import Client, Predictions, fact_answers
from ringserve.client.answers import Classification, Regression, Source
from ringserve.client.async_client import AsyncClient
from ringserve.client.each import start_each
from ringserve.client.grpc.messages import beside, request_metadata
from ringserve.client.http.transport import HttpTransport
from ringserve.client.operations import Classify, MetadataOf, Predict, PredictEach, Regress
from ringserve.client.tensor_message import predict_message
from ringserve.client.tensors import tensor_of
from ringserve.client.zmq.request_templates import RequestTemplates
from ringserve.errors import Code, ServingError
from shm.layout import LOW

X = {"x": np.ones(1, "<f4")}
EXAMPLES = [{"x": 1.0}]
SOURCE = Source("half", 7, "s")
WHICH = ("half", 3, None)
WRONG: list[Any] = ["urgent", "", "lowest", None, 0, True, b"low", ["low"]]


def answer(operation: Any) -> Any:
    if isinstance(operation, PredictEach):
        return Predictions([("y", np.zeros(1))], SOURCE, {})
    if isinstance(operation, Classify):
        return Classification([], SOURCE)
    return Regression([], SOURCE) if isinstance(operation, Regress) else half(operation)


@pytest.fixture
def transport() -> Iterator[PlayedTransport]:
    with playing(PlayedTransport(answer)) as played:
        yield played


def calls(client: Client, **named: Any) -> list[Callable[[], Any]]:
    def streamed() -> None:
        with client.stream(**named) as stream:
            stream.predict("half", X)

    return [
        lambda: client.predict("half", X, **named),
        lambda: client.submit("half", X, **named).result(LIMIT),
        lambda: client.predict_each("half", X, **named),
        lambda: client.submit_each("half", X, **named).result(LIMIT),
        lambda: client.classify("half", EXAMPLES, **named),
        lambda: client.regress("half", EXAMPLES, **named),
        streamed,
    ]


def async_calls(client: AsyncClient, **named: Any) -> list[Callable[[], Any]]:
    return [
        lambda: client.predict("half", X, **named),
        lambda: client.predict_each("half", X, **named),
        lambda: client.classify("half", EXAMPLES, **named),
        lambda: client.regress("half", EXAMPLES, **named),
    ]


@pytest.mark.parametrize(
    ("named", "low"), [({"priority": "low"}, True), ({"priority": "LOW"}, True), ({"priority": "high"}, False), ({}, False)]
)
def test_every_call_says_it(transport: PlayedTransport, named: dict[str, str], low: bool) -> None:
    for call in calls(Client("grpc://any:1", timeout=LIMIT), **named):
        call()
    assert [operation.low for operation in transport.operations] == [low] * 7
    transport.operations.clear()

    async def ask() -> None:
        for call in async_calls(AsyncClient("grpc://any:1", timeout=LIMIT), **named):
            await call()

    asyncio.run(ask())
    assert [operation.low for operation in transport.operations] == [low] * 4


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_priority(transport: PlayedTransport, wrong: Any) -> None:
    text = "A priority is high or low, not "

    def check(caught: pytest.ExceptionInfo[ServingError]) -> None:
        assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, f"{text}{wrong!r}")

    for call in calls(Client("grpc://any:1", timeout=LIMIT), priority=wrong):
        with pytest.raises(ServingError) as caught:
            call()
        check(caught)

    async def ask() -> None:
        for call in async_calls(AsyncClient("grpc://any:1", timeout=LIMIT), priority=wrong):
            with pytest.raises(ServingError) as caught:
                await call()
            check(caught)

    asyncio.run(ask())
    assert not transport.operations


def test_rows_that_are_asked_for_one_by_one() -> None:
    transport = PlayedTransport(half)
    tensor = tensor_of(np.zeros(3, "<f4"))
    for low in (False, True):
        start_each(transport, PredictEach(WHICH, "", {"x": tensor}, low=low), LIMIT, lambda _: None)
    assert [operation.low for operation in transport.operations] == [False] * 3 + [True] * 3


def test_grpc() -> None:
    """Beside the message, where upstream's server looks at nothing."""
    low = ("x-priority", "low")
    for operation in (Predict(WHICH, "", {}, low=True), Classify(WHICH, "", (), low=True), Regress(WHICH, "", (), low=True)):
        assert beside(operation) == (low,)
    assert beside(Predict(WHICH, "", {}, key="k", low=True)) == (("x-ringserve-key", "k"), low)
    assert beside(Predict(WHICH, "", {}, key="k")) == (("x-ringserve-key", "k"),)
    assert beside(Predict(WHICH, "", {})) == beside(MetadataOf(WHICH)) == ()
    assert request_metadata(None, True) == (low,)


def test_zmq() -> None:
    """What the server reads, whether the message is packed or a template is filled; before the id, as patterns want it."""
    templates = RequestTemplates()
    for low, found in ((True, True), (False, None), (True, True)):
        operation = Predict(WHICH, "", {"x": tensor_of(np.zeros(1, "<f4"))}, low=low)
        (message,) = predict_message(operation, b"12345678", 1.5, 1 << 20)
        assert templates.message(operation, b"12345678", 1.5) == message
        assert read_request(message, 1 << 20).low is found
        assert (b"priority" in bytes(message).partition(b"\xa2id")[0]) == low
        (message, *_) = predict_message(PredictEach(WHICH, "", operation.inputs, low=low), b"12345678", 1.5, 0)
        assert msgpack.unpackb(message).get("priority") == ("low" if low else None)
        for kind in (Classify, Regress):
            fields = fact_answers.example_question(kind(WHICH, "", (b"e",), low=low), b"i", None)
            assert request_of({**fields, "inputs": []}, 0).low is found


def test_http() -> None:
    """As a header, which JSON can have too."""
    with http_model_server() as server:
        transport = HttpTransport(server.url)
        server.answer = lambda asked: message_answer(asked, HALF, read_request(asked.body, 1 << 20).inputs)
        operation = Predict(WHICH, "", {"x": tensor_of(np.zeros(1, "<f4"))}, key="k")
        for low in (False, True):
            operation.low = low
            transport.call(operation, LIMIT)
        server.answer = lambda _: Answer(b'{"results": []}')
        for low in (False, True):
            transport.call(Classify(WHICH, "", (), low=low), LIMIT)
            transport.call(Regress(WHICH, "", (), low=low), LIMIT)
        found = [asked.headers.get("X-Priority") for asked in server.asked]
        assert found == [None, "low", None, None, "low", "low"]
        assert [asked.headers.get("X-Ringserve-Key") for asked in server.asked[:2]] == ["k", "k"]
        assert all(read_request(asked.body, 1 << 20).low is None for asked in server.asked[:2]), "said once"
        transport.close()


def test_shm(tmp_path: Path) -> None:
    """In the descriptors of all kinds of requests, waited for or started."""
    with served(tmp_path) as (server, transport):
        started = Started(transport)
        which = ("half", None, None)
        operations: list[Callable[[bool], Any]] = [
            lambda low: _low(predict([[1]]), low),
            lambda low: _low(predict([1, 2]), low),  # packed
            lambda low: PredictEach(which, "", each([[1], [2]]).inputs, low=low),
            lambda low: PredictEach(which, "", each([[1, 2]]).inputs, low=low),  # in columns of their own
            lambda low: Classify(which, "classify", (b"e",), low=low),
            lambda low: Regress(which, "regress", (b"e",), low=low),
        ]
        for make in operations:
            for low in (False, True):
                _forget(server)
                transport.call(make(low), LIMIT)
                assert not isinstance(started.outcome(started.start(make(low))), ServingError)
                flags = [flag & LOW for lane in server.lanes for flag in lane.flags]
                assert set(flags) == {LOW if low else 0}


def _low(operation: Predict, low: bool) -> Predict:
    operation.low = low
    return operation


def _forget(server: Any) -> None:
    for lane in server.lanes:
        lane.flags.clear()

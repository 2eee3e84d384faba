"""What the clients make of their callers' words, over a transport without a server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from answering_server import singles
from played_transport import HALF, PlayedTransport, half, playing, prediction

from ringserve.client import Classification, Client, Metadata, Predictions, Regression
from ringserve.client.answers import Source
from ringserve.client.operations import Classify, MetadataOf, Models, Predict, PredictEach, Ready, Regress, Status
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature

SOURCE = Source("m", 1, "s")


@pytest.fixture
def transport() -> Iterator[PlayedTransport]:
    with playing(PlayedTransport(half)) as played:
        yield played


def test_predict(transport: PlayedTransport) -> None:
    client = Client("played://", timeout=5)
    version: Any = np.int64(3)
    answer = client.predict("m", {"x": [1, 2]}, version=version, signature="", outputs=["y"], key="k")
    assert answer["y"].tolist() == [2.5, 3.0]
    asked, sent = transport.operations
    assert asked == MetadataOf(("m", 3, None))
    assert isinstance(sent, Predict)
    assert (sent.which, sent.signature, sent.outputs, sent.key) == (("m", 3, None), "", ("y",), "k")
    assert type(sent.which[1]) is int
    dtype, shape, values = sent.inputs["x"]
    assert (dtype.name, tuple(shape), np.asarray(values).tolist()) == ("float", (2,), [1.0, 2.0])
    assert transport.timeouts[0] == 5
    assert 4 < (transport.timeouts[1] or 0) <= 5


def test_times(transport: PlayedTransport) -> None:
    client = Client("played://", timeout=None)
    client.predict("m", {"x": singles([1])})
    client.predict("m", {"x": singles([1])}, timeout=math.inf)
    client.submit("m", {"x": singles([1])}, timeout=0)
    assert transport.timeouts == [None, None, 0]


def test_other_questions(transport: PlayedTransport) -> None:
    client = Client("played://")
    answers: dict[type, Any] = {
        Classify: Classification([], SOURCE),
        Regress: Regression([1.5], SOURCE),
        Status: [],
        MetadataOf: Metadata("m", 1, {}),
        Models: ["a", "b"],
        Ready: True,
    }
    transport.answer = lambda operation: answers[type(operation)]
    assert client.classify("m", [b"one"], context=b"all", label="l", signature="s", key="k") == []
    assert client.regress("m", [b"one", b"two"]) == [1.5]
    assert client.status("m", 3) == []
    assert client.metadata("m", label="l").version == 1
    assert client.models() == ["a", "b"]
    assert client.is_ready("m")
    assert transport.operations == [
        Classify(("m", None, "l"), "s", (b"one",), b"all", "k"),
        Regress(("m", None, None), "", (b"one", b"two"), None, None),
        Status("m", 3),
        MetadataOf(("m", None, "l")),
        Models(),
        Ready("m"),
    ]


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED])
def test_who_does_not_answer_is_not_ready(transport: PlayedTransport, code: Code) -> None:
    def failing(_: Any) -> Any:
        raise ServingError(code, "")

    transport.answer = failing
    assert not Client("played://").is_ready()


def test_requests_of_a_row_each(transport: PlayedTransport) -> None:
    client = Client("played://")
    found = Predictions([("y", np.zeros(2))], SOURCE, {1: ServingError(Code.INTERNAL, "one")})
    transport.answer = lambda operation: half(operation) if isinstance(operation, MetadataOf) else found
    assert client.predict_each("m", {"x": [1, 2]}, key="k") is found
    assert client.submit_each("m", singles([[1], [2], [3]])).result(20).errors == found.errors
    [first, second] = [asked for asked in transport.operations if isinstance(asked, PredictEach)]
    assert (first.count, first.key, second.count) == (2, "k", 3)
    assert tuple(second.inputs["x"][1]) == (3, 1)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": ["a", "b"]}, "has strings"),
        ({"x": singles(1)}, "a row for each request"),
        ({"x": singles([1]), "z": singles([1, 2])}, r"same number of rows \(x: 1, z: 2\)"),
        ({"x": singles([])}, "no rows"),
        ({}, "there are no inputs"),
    ],
)
def test_rows_that_are_no_requests(transport: PlayedTransport, inputs: Any, words: str) -> None:
    with pytest.raises(ServingError, match=words) as caught:
        Client("played://").predict_each("m", inputs)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert not transport.operations


def test_a_slot(transport: PlayedTransport) -> None:
    with Client("played://").slot("m", 3) as slot:
        assert (slot.inputs["x"].dtype, slot.inputs["x"].shape) == (np.dtype(np.float32), (3,))
        assert not slot.outputs
        for first in (1, 5):
            slot.inputs["x"][:] = [first, 2, 3]
            slot.run(timeout=5)
            assert slot.outputs["y"].tolist() == [first / 2 + 2, 3.0, 3.5]
    assert not slot.outputs
    with pytest.raises(ServingError, match="The slot is closed"):
        slot.run()


def test_a_slot_of_strings(transport: PlayedTransport) -> None:
    strings = Signature.of({"s": ("string", (-1, 2))}, {})
    transport.answer = lambda operation: (
        Metadata("m", 1, {"serving_default": strings}) if isinstance(operation, MetadataOf) else prediction()
    )
    with Client("played://").slot("m", 1) as slot:
        slot.inputs["s"][0, 1] = "text"
        slot.run()
    assert transport.operations[-1].inputs["s"][2] == [b"", b"text"]


@pytest.mark.parametrize("shape", [None, (), (3,), (-1, -1)])
def test_slots_need_rows_of_a_fixed_form(transport: PlayedTransport, shape: Any) -> None:
    odd = Signature.of({"x": ("float", shape)}, {})
    transport.answer = lambda _: Metadata("m", 1, {"serving_default": odd})
    with pytest.raises(ServingError, match="no rows of a fixed form") as caught:
        Client("played://").slot("m", 3)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_slots_that_are_too_large(transport: PlayedTransport) -> None:
    large = Signature.of({"x": ("float", (-1, 1 << 20))}, {})
    transport.answer = lambda _: Metadata("m", 1, {"serving_default": large})
    with pytest.raises(ServingError, match="at most 2147483647"):
        Client("played://").slot("m", 1 << 20)
    with pytest.raises(ValueError, match="at least 1"):
        Client("played://").slot("m", 0)
    assert HALF.inputs[0].row == ()


def test_a_client_that_is_closed(transport: PlayedTransport) -> None:
    with Client("played://") as client:
        pass
    assert transport.is_closed
    with pytest.raises(ServingError, match="The client is closed"):
        client.submit("m", {"x": singles([1])})


def test_what_a_cancelled_future_cancels(transport: PlayedTransport) -> None:
    transport.answer = None
    future = Client("played://").submit("m", {"x": singles([1])})
    [asked] = transport.next()
    assert future.cancel()
    assert asked.is_cancelled
    asked.done(prediction())
    assert future.cancelled()

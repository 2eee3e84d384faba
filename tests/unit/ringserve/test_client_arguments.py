"""What callers may say wrongly: versions, names, times and keys of other types and sizes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from answering_server import (
    CLASSIFY,
    METADATA,
    PREDICT,
    REGRESS,
    AnsweringServer,
    answering_server,
    half_plus_two,
    metadata_of,
    serving,
    singles,
)

from ringserve.client import Client
from ringserve.errors import Code, ServingError
from ringserve.model_spec_writer import model_spec_field
from ringserve.protos import message_module
from ringserve.streaming_messages import PREDICT_STREAM, message_class

Pair = tuple[AnsweringServer, Client]

X = {"x": singles([1])}


@pytest.fixture
def pair() -> Iterator[Pair]:
    with answering_server() as (server, port), Client(f"grpc://127.0.0.1:{port}", timeout=20) as client:
        server.answers[PREDICT] = half_plus_two
        server.answers[METADATA] = metadata_of(x=1)
        yield server, client


def sent_version(version: Any) -> int:
    spec = message_module("tensorflow_serving.apis.model_pb2").ModelSpec.FromString(model_spec_field("m", version)[2:])
    assert spec.HasField("version")
    return int(spec.version.value)


@pytest.mark.parametrize("version", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_versions_are_whole_numbers_of_any_type(version: Any) -> None:
    assert sent_version(version) == 3


@pytest.mark.parametrize("version", [-(1 << 63), -1, 0, (1 << 63) - 1, np.int64(-1)])
def test_versions_of_any_size(version: Any) -> None:
    assert sent_version(version) == version


@pytest.mark.parametrize(
    "version",
    [3.0, 1.0, np.float32(3), "3", b"3", [3], math.nan, 1 << 63, -(1 << 63) - 1, pytest.param(10**5000, id="long")],
)
def test_versions_that_are_none(pair: Pair, version: Any) -> None:
    """Also where the cache has an equal number."""
    sent_version(1)
    for call in (
        lambda: model_spec_field("m", version),
        lambda: pair[1].predict("m", X, version=version),
        lambda: pair[1].metadata("m", version=version),
        lambda: pair[1].status("m", version),
    ):
        assert refused(call) == "A model's version is a whole number of 64 bits"


def test_a_version_of_numpys_and_an_input_without_a_name(pair: Pair) -> None:
    versions: list[Any] = [np.int64(3), np.array(3)]
    for version in versions:
        assert pair[1].predict("m", [1.0], version=version)["y"].tolist() == [2.5]


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": b"m"},
        {"model": None},
        {"model": ["m"]},
        {"label": b"stable"},
        {"label": 1},
        {"signature": b"s"},
        {"signature": ["s"]},
        {"inputs": {1: singles([1])}},
        {"inputs": {b"x": singles([1])}},
        {"inputs": {1: [1.0]}},
        {"inputs": {("x",): ["text"]}},
        {"outputs": [1]},
        {"outputs": [b"y"]},
        {"outputs": b"y"},
        {"outputs": "y"},
        {"outputs": 5},
        {"outputs": [["y"]]},
        {"outputs": np.array([1, 2])},
    ],
)
def test_names_that_are_no_text(pair: Pair, arguments: dict[str, Any]) -> None:
    given = {"model": "m", "inputs": X, **arguments}
    refused(lambda: pair[1].predict(**given))
    refused(lambda: pair[1].submit(**given))
    with pair[1].stream() as stream:
        refused(lambda: stream.submit(**given))


def test_other_calls_and_names_that_are_no_text(pair: Pair) -> None:
    client = pair[1]
    nothing: Any = b"m"
    refused(lambda: client.is_ready(nothing))
    refused(lambda: client.status(nothing))
    refused(lambda: client.metadata(nothing))
    refused(lambda: client.classify(nothing, [{"x": 1.0}]))
    refused(lambda: client.regress("m", [{"x": 1.0}], signature=nothing))


def test_names_from_an_array(pair: Pair) -> None:
    assert list(pair[1].predict("m", X, outputs=np.array(["y", "y"]))) == ["y"]  # type: ignore[arg-type]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ServingError) as caught:
        call()
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("seconds", [math.nan, -1, -math.inf, np.float64("nan")])
def test_times_that_are_none(pair: Pair, seconds: float) -> None:
    client = pair[1]
    with client.stream() as stream:
        for call in (
            lambda: client.predict("m", X, timeout=seconds),
            lambda: client.submit("m", X, timeout=seconds),
            lambda: client.metadata("m", timeout=seconds),
            lambda: client.stream(timeout=seconds),
            lambda: stream.submit("m", X, timeout=seconds),
            lambda: Client(client.address, timeout=seconds),
        ):
            with pytest.raises(ValueError, match="a timeout is a number of seconds"):
                call()


@pytest.mark.parametrize("seconds", [math.inf, 1e30, 1e300, 10**400, 1e9, np.float32(5)])
def test_times_of_any_length(pair: Pair, seconds: float) -> None:
    server, client = pair
    server.streams[PREDICT_STREAM] = echo
    assert client.predict("m", X, timeout=seconds)["y"].tolist() == [2.5]
    assert client.submit("m", X, timeout=seconds).result(20)["y"].tolist() == [2.5]
    with client.stream(timeout=seconds) as stream:
        assert stream.submit("m", X, timeout=seconds).result(20)["y"].tolist() == [2.5]
    with Client(client.address, timeout=seconds) as other:
        assert other.predict("m", X)["y"].tolist() == [2.5]


def test_no_time_at_all(pair: Pair) -> None:
    server, client = pair
    server.streams[PREDICT_STREAM] = echo
    client.predict("m", X)
    for _ in range(20):  # what gRPC makes of it is a matter of luck
        with pytest.raises(ServingError, match="No answer within 0 s") as caught:
            client.predict("m", X, timeout=0)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert late(client.submit("m", X, timeout=0))
    with client.stream() as stream:
        for _ in range(20):
            assert late(stream.submit("m", X, timeout=0))
        assert stream.predict("m", X)["y"].tolist() == [2.5]


def late(future: Any) -> bool:
    error = future.exception(20)
    assert isinstance(error, ServingError)
    return (error.code, error.message) == (Code.DEADLINE_EXCEEDED, "No answer within 0 s")


def test_asking_for_a_signature_takes_of_the_time(pair: Pair) -> None:
    server, client = pair
    left: list[float] = []
    asked = threading.Event()
    signatures = metadata_of(x=1)

    def slow(message: bytes, call: Any) -> Any:
        asked.wait(0.5)
        return signatures(message, call)

    def noted(message: bytes, call: Any) -> Any:
        left.append(call.time_remaining())
        return half_plus_two(message, call)

    server.answers.update({METADATA: slow, PREDICT: noted})
    client.submit("m", [1.0], timeout=10).result(20)
    assert left[0] < 9.6


def echo(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
    for message in messages:
        results = message_class("StreamedResults")()
        for streamed in message_class("StreamedRequests").FromString(message).requests:
            response = half_plus_two(streamed.request.SerializeToString(), None)
            results.results.add().response.CopyFrom(response)
        yield bytes(results.SerializeToString())


def test_a_key_and_a_priority_go_beside_the_message(pair: Pair) -> None:
    server, client = pair
    keys: list[tuple[str | None, str | None]] = []

    def noting(answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def noted(message: Any, call: Any) -> Any:
            beside = dict(call.invocation_metadata())
            keys.append((beside.get("x-ringserve-key"), beside.get("x-priority")))
            return answer(message, call)

        return noted

    server.answers[PREDICT] = noting(half_plus_two)
    server.answers[CLASSIFY] = noting(lambda *_: serving("ClassificationResponse", "classification")())
    server.answers[REGRESS] = noting(lambda *_: serving("RegressionResponse", "regression")())
    server.streams[PREDICT_STREAM] = noting(echo)
    client.predict("m", X, label="new", key="user 17")
    client.submit("m", X, label="new", key="user 18", priority="low").result(20)
    client.classify("m", [{"x": 1.0}], key="user 19")
    client.regress("m", [{"x": 1.0}], key="")
    with client.stream(key="user 20", priority="low") as stream:
        stream.predict("m", X)
    client.predict_each("m", singles(range(100)), priority="low")
    client.predict("m", X, priority="high")
    with client.stream() as stream:
        stream.predict("m", X)
    with_keys = [("user 17", None), ("user 18", "low"), ("user 19", None), ("", None), ("user 20", "low")]
    assert keys == [*with_keys, (None, "low"), (None, None), (None, None)]


@pytest.mark.parametrize("key", ["é", "a\nb", "\x7f", " a", "a ", 17, b"a"])
def test_keys_that_can_not_be_sent(pair: Pair, key: Any) -> None:
    client = pair[1]
    for call in (
        lambda: client.predict("m", X, key=key),
        lambda: client.submit("m", X, key=key),
        lambda: client.classify("m", [{"x": 1.0}], key=key),
        lambda: client.regress("m", [{"x": 1.0}], key=key),
        lambda: client.stream(key=key),
    ):
        assert "A key is printable ASCII text" in refused(call)

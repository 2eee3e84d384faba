"""The light client's calls, against a server that answers with protobuf's own messages."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answering_server import (
    CLASSIFY,
    HEALTH,
    HEALTH_LIST,
    METADATA,
    PREDICT,
    REGRESS,
    STATUS,
    AnsweringServer,
    answering_server,
    half_plus_two,
    metadata_of,
    serving,
    singles,
)
from grpc_health.v1 import health_pb2

from ringserve.client import Class, Client, VersionState
from ringserve.client.grpc import prediction_reader
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.servable import State


@pytest.fixture
def pair() -> Iterator[tuple[AnsweringServer, Client]]:
    with answering_server() as (server, port), Client(f"grpc://127.0.0.1:{port}", timeout=20) as client:
        server.answers[PREDICT] = half_plus_two
        server.answers[METADATA] = metadata_of(x=1)
        yield server, client


Pair = tuple[AnsweringServer, Client]


def recorded(server: AnsweringServer, method: str, message_class: Any, response: Any) -> list[Any]:
    """From now on the requests of that method, parsed; all are answered with `response`."""
    seen: list[Any] = []

    def answer(message: bytes, _: Any) -> Any:
        seen.append(message_class.FromString(message))
        return response

    server.answers[method] = answer
    return seen


def test_an_array_and_who_answered(pair: Pair) -> None:
    answer = pair[1].predict("half", {"x": singles([[1, 2], [5, -4]])})
    assert list(answer) == ["y"]
    np.testing.assert_array_equal(answer["y"], singles([[2.5, 3.0], [4.5, 0.0]]))
    assert (answer.model, answer.version, answer.signature) == ("half", 7, "serving_default")
    answer["y"] += 1  # the caller's own
    assert answer["y"].dtype == np.float32


def test_plain_numbers_take_the_inputs_type_and_one_value_the_only_input(pair: Pair) -> None:
    client = pair[1]
    for inputs in ({"x": [1, 2.0]}, [1, 2.0], {"x": (1, 2)}, singles([1, 2])):
        np.testing.assert_array_equal(client.predict("half", inputs)["y"], singles([2.5, 3.0]))
    assert client.predict("half", 1)["y"].shape == ()


def test_signatures_are_asked_for_once_and_only_when_they_are_needed(pair: Pair) -> None:
    server, client = pair
    asked: list[bytes] = []
    answer = metadata_of(x=1)

    def counted(message: bytes, call: Any) -> Any:
        asked.append(message)
        return answer(message, call)

    server.answers[METADATA] = counted
    client.predict("half", {"x": singles([1])})
    assert not asked
    for _ in range(3):
        client.predict("half", [1.0])
    assert len(asked) == 1
    client.predict("half", [1.0], version=7)
    assert len(asked) == 2


def test_every_part_of_a_predict_request(pair: Pair) -> None:
    server, client = pair
    message_class = serving("PredictRequest", "predict")
    seen = recorded(server, PREDICT, message_class, serving("PredictResponse", "predict")())
    x = np.arange(6, dtype=np.int64).reshape(2, 3)
    client.predict("m", {"a": x, "b": ["one", b"two\0"]}, version=-3, signature="s", outputs=["p", "q"])
    client.predict("m", {"a": x}, label="canary")
    client.predict("m", {}, version=0)
    whole, labelled, zero = seen
    assert (whole.model_spec.name, whole.model_spec.version.value, whole.model_spec.signature_name) == ("m", -3, "s")
    assert list(whole.output_filter) == ["p", "q"]
    a, b = whole.inputs["a"], whole.inputs["b"]
    assert (a.dtype, [dim.size for dim in a.tensor_shape.dim], a.tensor_content) == (9, [2, 3], x.tobytes())
    assert (b.dtype, [dim.size for dim in b.tensor_shape.dim], list(b.string_val)) == (7, [2], [b"one", b"two\0"])
    assert (labelled.model_spec.version_label, labelled.model_spec.WhichOneof("version_choice")) == (
        "canary",
        "version_label",
    )
    assert zero.model_spec.HasField("version")
    assert not zero.inputs


def test_outputs_of_every_form(pair: Pair) -> None:
    server, client = pair
    response = serving("PredictResponse", "predict")()
    strings, content, integers, halves, empty = (response.outputs[name] for name in ("s", "c", "i", "h", "e"))
    strings.dtype = 7
    strings.tensor_shape.dim.add(size=2)
    strings.string_val.extend([b"\xff", b"a\0"])
    content.dtype = 2
    content.tensor_content = np.array([1, 2, 3], np.float64).tobytes()
    content.tensor_shape.dim.add(size=3)
    integers.dtype = 6
    integers.tensor_shape.dim.add(size=3)
    integers.int_val.extend([-1, 127, -128])
    halves.dtype = 14
    halves.tensor_shape.dim.add(size=1)
    halves.half_val.append(0x3FC0)
    empty.dtype = 1
    empty.tensor_shape.dim.add(size=0)
    empty.tensor_shape.dim.add(size=4)
    recorded(server, PREDICT, serving("PredictRequest", "predict"), response)
    answer = client.predict("m", {})
    assert answer["s"].dtype == object
    assert answer["s"].tolist() == [b"\xff", b"a\0"]
    assert answer["c"].tolist() == [1.0, 2.0, 3.0]
    assert answer["i"].dtype == np.int8
    assert answer["i"].tolist() == [-1, 127, -128]
    assert (answer["h"].dtype.name, answer["h"].astype(np.float32).tolist()) == ("bfloat16", [1.5])
    assert answer["e"].shape == (0, 4)
    assert all(array.flags.writeable for array in answer.values())
    assert (answer.model, answer.version) == ("", 0)


def test_messages_of_more_than_4_mib(pair: Pair) -> None:
    x = np.arange(3 << 20, dtype=np.float32)
    np.testing.assert_array_equal(pair[1].predict("half", {"x": x})["y"], x * np.float32(0.5) + np.float32(2))


def test_what_the_server_says(pair: Pair) -> None:
    with pytest.raises(ServingError) as caught:
        pair[1].predict("half", {"x": singles([1])}, signature="boom")
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.message == "no such signature"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": [[1], [2, 3]]}, "Input 'x': not an array"),
        ({"x": [1j]}, "Input 'x': complex128 values do not fit into an input of float"),
        ({"x": np.array([1], "datetime64[s]")}, "no type of TensorFlow's"),
        ({"x": [None]}, "Input 'x': object values do not fit into an input of float"),
        ({"x": ["\ud800"]}, "no UTF-8 form"),
        ({"z": [1.0]}, "The signature has no input 'z', only x"),
    ],
)
def test_inputs_that_can_not_be_sent(pair: Pair, inputs: Any, words: str) -> None:
    with pytest.raises(ServingError, match=words) as caught:
        pair[1].predict("half", inputs)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_value_without_a_name_needs_a_signature_with_one_input(pair: Pair) -> None:
    server, client = pair
    server.answers[METADATA] = metadata_of(a=1, b=3)
    with pytest.raises(ServingError, match=r"2 inputs \(a, b\): pass a dict"):
        client.predict("m", [1.0])
    with pytest.raises(ServingError, match='"other" not found'):
        client.predict("m", [1.0], signature="other")


def test_version_and_label_exclude_each_other(pair: Pair) -> None:
    with pytest.raises(ServingError, match="not by both"):
        pair[1].predict("m", {}, version=1, label="stable")


def test_an_answer_that_is_none(pair: Pair) -> None:
    server, client = pair
    server.answers[PREDICT] = lambda *_: b"\x0a\xff"
    server.answers[STATUS] = lambda *_: b"\x0a\xff"
    for call in (lambda: client.predict("m", {}), lambda: client.status("m")):
        with pytest.raises(ServingError) as caught:
            call()
        assert caught.value.code is Code.INTERNAL


def test_an_output_that_numpy_has_no_array_for(pair: Pair) -> None:
    server, client = pair
    response = serving("PredictResponse", "predict")()
    response.outputs["y"].dtype = 1
    for size in (0, 1 << 40, 1 << 40):
        response.outputs["y"].tensor_shape.dim.add(size=size)
    server.answers[PREDICT] = lambda *_: response
    failed = client.submit("m", {}).exception(20)
    with pytest.raises(ServingError, match="Output 'y': an array of the shape") as caught:
        client.predict("m", {})
    assert isinstance(failed, ServingError)
    assert failed.code is caught.value.code is Code.UNIMPLEMENTED


def test_a_failure_that_nobody_thought_of_ends_the_future(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(prediction_reader, "array_of", broken)
    failed = pair[1].submit("half", {"x": singles([1])}).exception(20)
    assert isinstance(failed, ServingError)
    assert (failed.code, failed.message) == (Code.INTERNAL, "The answer can't be read: KeyError: 'x'")


def test_nobody_there() -> None:
    with answering_server() as (_, port):
        pass
    with Client(f"grpc://127.0.0.1:{port}") as client:
        with pytest.raises(ServingError) as caught:
            client.predict("m", {})
        assert caught.value.code is Code.UNAVAILABLE
        assert client.submit("m", {}).exception(20).code is Code.UNAVAILABLE  # type: ignore[union-attr]
        assert not client.is_ready()


def test_a_method_that_there_is_not(pair: Pair) -> None:
    for call in (pair[1].is_ready, lambda: pair[1].status("m")):
        with pytest.raises(ServingError) as caught:
            call()
        assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("own", [False, True])
def test_no_answer_in_time(own: bool) -> None:
    release = threading.Event()
    with answering_server() as (server, port), Client(f"grpc://127.0.0.1:{port}", timeout=20 if own else 0.1) as client:
        server.answers[PREDICT] = lambda *_: b"" * release.wait(20)
        started = time.monotonic()
        with pytest.raises(ServingError, match=r"No answer within 0\.") as caught:
            client.predict("m", {}, timeout=0.1 if own else None)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        late = client.submit("m", {}, timeout=0.1).exception(20)
        assert isinstance(late, ServingError)
        assert late.code is Code.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 10
        release.set()
        assert not client.predict("m", {}, timeout=math.inf), "no limit"


def test_the_server_learns_the_time_that_is_left(pair: Pair) -> None:
    server, client = pair
    left: list[float] = []

    def answer(_: bytes, call: Any) -> bytes:
        left.append(call.time_remaining())
        return b""

    server.answers[PREDICT] = answer
    client.predict("m", {}, timeout=5)
    assert 0 < left[0] < 6, "gRPC rounds up"


def test_many_without_waiting(pair: Pair) -> None:
    futures = [pair[1].submit("half", {"x": singles([number])}) for number in range(64)]
    assert [future.result(20)["y"].tolist() for future in futures] == [[number / 2 + 2] for number in range(64)]
    failed = pair[1].submit("half", {"x": singles([1])}, signature="boom").exception(20)
    assert isinstance(failed, ServingError)
    assert failed.code is Code.FAILED_PRECONDITION


def test_a_cancelled_future_cancels_its_call(pair: Pair) -> None:
    server, client = pair
    started, ended = threading.Event(), threading.Event()

    def answer(_: bytes, call: Any) -> bytes:
        call.add_callback(ended.set)
        started.set()
        ended.wait(20)
        return b""

    server.answers[PREDICT] = answer
    future = client.submit("m", {})
    assert started.wait(20)
    assert future.cancel()
    assert ended.wait(20)
    assert future.cancelled()


def test_closed_clients_and_their_calls() -> None:
    asked, release = threading.Event(), threading.Event()

    def answer(*_: Any) -> bytes:
        asked.set()
        release.wait(20)
        return b""

    with answering_server() as (server, port):
        server.answers[PREDICT] = answer
        client = Client(f"grpc://127.0.0.1:{port}")
        future = client.submit("m", {})
        assert asked.wait(20)
        client.close()
        client.close()
        failed = future.exception(20)
        assert isinstance(failed, ServingError)
        assert failed.code is Code.CANCELLED
        for call in (lambda: client.predict("m", {}), lambda: client.submit("m", {}), client.stream):
            with pytest.raises(ServingError, match="The client is closed"):
                call()
        release.set()


def test_threads_share_a_client(pair: Pair) -> None:
    wrong: list[int] = []

    def ask(first: int) -> None:
        for number in range(first, first + 20):
            if pair[1].predict("half", [number, 1.0])["y"].tolist() != [number / 2 + 2, 2.5]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(100 * which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert wrong == []


def test_classes_of_examples(pair: Pair) -> None:
    server, client = pair
    response = serving("ClassificationResponse", "classification")()
    response.model_spec.name = "iris"
    response.model_spec.version.value = 3
    response.model_spec.signature_name = "classify"
    first, second = response.result.classifications.add(), response.result.classifications.add()
    first.classes.add(label="setosa", score=0.25)
    first.classes.add(label="virginica", score=0.75)
    second.classes.add(score=1.0)
    seen = recorded(server, CLASSIFY, serving("ClassificationRequest", "classification"), response)
    serialised = message_module("tensorflow.core.example.example_pb2").Example()
    serialised.features.feature["x"].float_list.value.append(1.5)
    answer = client.classify(
        "iris", [{"x": 1.5, "name": "a", "n": [1, True]}, serialised.SerializeToString()], signature="classify"
    )
    assert answer == [[Class("setosa", 0.25), Class("virginica", 0.75)], [Class("", 1.0)]]
    assert (answer.model, answer.version, answer.signature) == ("iris", 3, "classify")
    [one, two] = seen[0].input.example_list.examples
    assert one.features.feature["x"].float_list.value[:] == [1.5]
    assert one.features.feature["name"].bytes_list.value[:] == [b"a"]
    assert one.features.feature["n"].int64_list.value[:] == [1, 1]
    assert two == serialised
    assert seen[0].model_spec.signature_name == "classify"


def test_values_of_examples_with_a_context(pair: Pair) -> None:
    server, client = pair
    response = serving("RegressionResponse", "regression")()
    response.result.regressions.add(value=2.5)
    response.result.regressions.add()
    seen = recorded(server, REGRESS, serving("RegressionRequest", "regression"), response)
    assert client.regress("m", [{"x": singles([1, 2])}, {}], context={"c": [b"\xff"]}) == [2.5, 0.0]
    given = seen[0].input.example_list_with_context
    assert given.context.features.feature["c"].bytes_list.value[:] == [b"\xff"]
    assert given.examples[0].features.feature["x"].float_list.value[:] == [1, 2]
    assert len(given.examples) == 2


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ({"x": 1.0}, "a list of dicts"),
        ([7], "not int"),
        ([{"x": [1, "a"]}], "'x' is neither numbers nor texts"),
        ([{"x": [[1.0]]}], "'x' is neither"),
        ([{"x": 1 << 64}], "more than 64 bits"),
        ([{1: 1.0}], "a feature's name is text"),
    ],
)
def test_examples_that_are_none(pair: Pair, examples: Any, words: str) -> None:
    with pytest.raises(ServingError, match=words) as caught:
        pair[1].classify("m", examples)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_states_of_versions(pair: Pair) -> None:
    server, client = pair
    response = serving("GetModelStatusResponse", "get_model_status")()
    response.model_version_status.add(version=2, state=30)
    failed = response.model_version_status.add(version=1, state=50)
    failed.status.error_code = 5
    failed.status.error_message = "gone"
    seen = recorded(server, STATUS, serving("GetModelStatusRequest", "get_model_status"), response)
    assert client.status("m", 2) == [
        VersionState(2, State.AVAILABLE, Code.OK, ""),
        VersionState(1, State.END, Code.NOT_FOUND, "gone"),
    ]
    assert (seen[0].model_spec.name, seen[0].model_spec.version.value) == ("m", 2)


def test_metadata(pair: Pair) -> None:
    server, client = pair
    server.answers[METADATA] = metadata_of(b=9, a=7)
    found = client.metadata("m", label="stable")
    assert (found.model, found.version, list(found.signatures)) == ("m", 7, ["serving_default"])
    signature = found.signatures["serving_default"]
    assert [(spec.alias, spec.name, spec.dtype.name, spec.shape) for spec in signature.inputs] == [
        ("a", "a:0", "string", (-1, 3)),
        ("b", "b:0", "int64", (-1, 3)),
    ]
    assert signature.outputs[0].shape is None
    assert signature.method == "tensorflow/serving/predict"


def test_readiness(pair: Pair) -> None:
    server, client = pair

    def answer(message: bytes, _: Any) -> bytes:
        if message == b"\x0a\x04lost":
            raise ServingError(Code.NOT_FOUND, "unknown service")
        return b"\x08\x01" if message in (b"\x0a\x00", b"\x0a\x04good") else b"\x08\x02"

    server.answers[HEALTH] = answer
    assert client.is_ready()
    assert client.is_ready("good")
    assert not client.is_ready("new")
    assert not client.is_ready("lost")


def test_models(pair: Pair) -> None:
    server, client = pair
    response = health_pb2.HealthListResponse()
    for name in ("", "ModelService", "PredictionService", "mnist", "half"):
        response.statuses[name].status = 1
    server.answers[HEALTH_LIST] = lambda *_: response
    assert client.models() == ["half", "mnist"]
    assert client.submit("half", {"x": singles([1])}).result(20)


@pytest.mark.parametrize("has_list", [True, False])
def test_models_of_a_server_that_names_none(pair: Pair, has_list: bool) -> None:
    if has_list:  # as upstream's, which has a health service too
        response = health_pb2.HealthListResponse()
        response.statuses[""].status = 1
        pair[0].answers[HEALTH_LIST] = lambda *_: response
    with pytest.raises(ServingError, match="TensorFlow Serving's gRPC API") as caught:
        pair[1].models()
    assert caught.value.code is Code.UNIMPLEMENTED


def test_unix_sockets(tmp_path: Path) -> None:
    with answering_server(f"unix:{tmp_path}/grpc") as (server, _), Client(f"grpc+unix://{tmp_path}/grpc") as client:
        server.answers[PREDICT] = half_plus_two
        assert client.predict("half", {"x": singles([2])})["y"].tolist() == [3.0]


def test_a_server_that_comes_back(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/grpc"
    with Client(f"grpc+unix://{tmp_path}/grpc") as client:
        for _ in range(2):
            with answering_server(address) as (server, _):
                server.answers[HEALTH] = lambda *_: b"\x08\x01"
                until = time.monotonic() + 20
                while not client.is_ready():
                    assert time.monotonic() < until
                    time.sleep(0.01)

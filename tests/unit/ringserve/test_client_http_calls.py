"""Operations over HTTP, against a server that answers as ringserve's does, or as upstream's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from http_model_server import Answer, Asked, HttpModelServer, http_model_server, json_answer, message_answer

from frontend.bodies.tensor_message import read_request
from frontend.tensors import Tensor as SentTensor
from ringserve.client.answers import Class, VersionState
from ringserve.client.example_features import one_serialised
from ringserve.client.http.transport import HttpTransport
from ringserve.client.operations import (
    Classify,
    MetadataOf,
    Models,
    Operation,
    Predict,
    PredictEach,
    Ready,
    Regress,
    Status,
    Which,
)
from ringserve.client.tensors import tensor_of
from ringserve.errors import Code, ServingError
from ringserve.servable import State
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME, STRING

LATEST: Which = ("m", None, None)
HALF = Signature.of({"x": ("float", (-1,))}, {"y": ("float", (-1,))})
FLOAT = BY_NAME["float"]

Pair = tuple[HttpModelServer, HttpTransport]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with http_model_server() as server:
        transport = HttpTransport(server.url)
        yield server, transport
        transport.close()


def half_plus_two(asked: Asked) -> Answer:
    """As ringserve's server."""
    x = read_request(asked.body, 1 << 28).inputs["x"]
    return message_answer(asked, HALF, {"y": SentTensor(FLOAT, x.shape, (np.asarray(x.data) / 2 + 2).astype("<f4"))})


def described(signature: Signature) -> Any:
    """As the metadata route has it."""

    def info(specs: Any) -> dict[str, Any]:
        return {
            spec.alias: {
                "dtype": f"DT_{spec.dtype.name.upper()}",
                "tensor_shape": {
                    "dim": [{"size": str(size), "name": ""} for size in spec.shape or ()],
                    "unknown_rank": spec.shape is None,
                },
                "name": spec.name,
            }
            for spec in specs
        }

    fields = {"inputs": info(signature.inputs), "outputs": info(signature.outputs), "method_name": signature.method}
    return {
        "model_spec": {"name": "m", "signature_name": "", "version": "3"},
        "metadata": {"signature_def": {"signature_def": {signature.name: fields}}},
    }


def upstream(signature: Signature, run: Callable[[Any], Any]) -> Callable[[Asked], Answer]:
    """A server that knows JSON only, as upstream's: `run` gets a request's document."""

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            return json_answer(described(signature))
        if not asked.path.endswith(":predict"):
            return Answer(b"<HTML>Not Found</HTML>", 404, "text/html")
        try:
            document = asked.document
        except ValueError:
            return json_answer({"error": "JSON Parse error: Invalid value. at offset: 0"}, 400)
        return json_answer({"outputs": run(document["inputs"])})

    return answer


def floats(*values: float) -> Any:
    return tensor_of(np.array(values, "<f4"))


def refusal(transport: HttpTransport, operation: Operation[Any], timeout: float | None = 20) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        transport.call(operation, timeout)
    return caught.value.code, caught.value.message


def test_predict_is_one_message_each_way(pair: Pair) -> None:
    server, transport = pair
    server.answer = half_plus_two
    prediction = transport.call(Predict(("m", 3, None), "", {"x": floats(2, 4)}, ("y",), "someone"), 20)
    assert prediction["y"].tolist() == [3, 4]
    assert prediction["y"].flags.writeable
    assert prediction.source == ("m", 3, "serving_default")
    (asked,) = server.asked
    assert (asked.verb, asked.path) == ("POST", "/v1/models/m/versions/3:predict")
    assert (asked.headers["Content-Type"], asked.headers["X-Ringserve-Key"]) == ("application/x-msgpack", "someone")
    request = read_request(asked.body, 1 << 20)
    assert (request.model, request.version, request.outputs, request.timeout) == ("m", 3, ("y",), 20_000_000_000)


@pytest.mark.parametrize("count", [0, 1, 20_000, 3_000_000])
def test_arrays_of_every_size(pair: Pair, count: int) -> None:
    server, transport = pair
    server.answer = half_plus_two
    x = np.arange(count, dtype="<f4")
    prediction = transport.call(Predict(LATEST, "", {"x": tensor_of(x)}), 20)
    np.testing.assert_array_equal(prediction["y"], x / 2 + 2)
    prediction["y"][:] = 0  # the caller's own


def test_arrays_in_any_memory_order_and_strings(pair: Pair) -> None:
    server, transport = pair
    turned = np.arange(40_000, dtype="<i8").reshape(200, 200).T
    signature = Signature.of({}, {"a": ("int64", None), "s": ("string", None)})
    seen: dict[str, Any] = {}

    def answer(asked: Asked) -> Answer:
        seen.update(read_request(asked.body, 1 << 28).inputs)
        return message_answer(asked, signature, seen)

    server.answer = answer
    texts = (STRING, (2,), [b"\xff\0", b"b"])
    prediction = transport.call(Predict(LATEST, "", {"a": tensor_of(turned), "s": texts}), 20)
    np.testing.assert_array_equal(prediction["a"], turned)
    assert prediction["s"].tolist() == [b"\xff\0", b"b"]


def test_a_server_that_knows_json_only_is_found_out_once(pair: Pair) -> None:
    server, transport = pair
    server.answer = upstream(HALF, lambda inputs: [value / 2 + 2 for value in inputs["x"]])
    for _ in range(2):
        prediction = transport.call(Predict(LATEST, "", {"x": floats(2, 4)}), 20)
        assert prediction["y"].dtype == np.float32
        assert prediction["y"].tolist() == [3, 4]
        assert prediction.source == ("m", 0, "serving_default")
    paths = [asked.path.removeprefix("/v1/models/m") for asked in server.asked]
    assert paths == [":predict", "/metadata", ":predict", ":predict"]
    assert server.asked[2].document == {"signature_name": "serving_default", "inputs": {"x": [2, 4]}}


def test_json_of_every_type(pair: Pair) -> None:
    server, transport = pair
    types = ("float", "double", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string")
    arrays: dict[str, Any] = {
        name: np.array([[1, 0]], BY_NAME[name].numpy) if name != "string" else np.array([[b"\xff", b"b"]], object)
        for name in types
    }
    arrays["float"] = np.array([[math.nan, -math.inf]], "<f4")
    arrays["double"] = np.array([[0.1, 1e300]])
    arrays["uint64"] = np.array([[0, (1 << 64) - 1]], "<u8")
    tensors = {name: (name, (-1, -1)) for name in types}
    server.answer = upstream(Signature.of(tensors, tensors), lambda inputs: inputs)
    inputs = {name: tensor_of(array) for name, array in arrays.items()}
    prediction = transport.call(Predict(LATEST, "", inputs), 20)
    for name, array in arrays.items():
        assert prediction[name].dtype == array.dtype
        np.testing.assert_array_equal(prediction[name], array)
    some = transport.call(Predict(LATEST, "", inputs, ("bool", "int8")), 20)
    assert list(some) == ["bool", "int8"]
    code, text = refusal(transport, Predict(LATEST, "", inputs, ("nope",)))
    assert (code, text.partition(",")[0]) == (Code.INVALID_ARGUMENT, "The signature has no output 'nope'")


@pytest.mark.parametrize(("shape", "declared"), [((), ()), ((0,), (-1,)), ((0, 3), (-1, 3)), ((2, 0), (-1, -1))])
def test_shapes_that_json_hardly_says(pair: Pair, shape: tuple[int, ...], declared: tuple[int, ...]) -> None:
    server, transport = pair
    same = {"x": ("float", declared)}
    server.answer = upstream(Signature.of(same, same), lambda inputs: inputs["x"])
    prediction = transport.call(Predict(LATEST, "", {"x": tensor_of(np.zeros(shape, "<f4"))}), 20)
    assert prediction["x"].shape == shape


def test_what_json_does_not_say_is_checked_here(pair: Pair) -> None:
    server, transport = pair
    same = {"x": ("half", (-1,))}
    server.answer = upstream(HALF, lambda inputs: inputs["x"])
    text = "Input 'x' is to be float but double is provided"
    assert refusal(transport, Predict(LATEST, "", {"x": tensor_of(np.zeros(1))})) == (Code.INVALID_ARGUMENT, text)
    code, _ = refusal(transport, Predict(LATEST, "nope", {"x": floats(1)}))
    assert code is Code.FAILED_PRECONDITION
    with http_model_server() as other:
        other.answer = upstream(Signature.of(same, same), lambda inputs: inputs["x"])
        another = HttpTransport(other.url)
        code, _ = refusal(another, Predict(LATEST, "", {"x": tensor_of(np.zeros(1, "<f2"))}))
        assert code is Code.UNIMPLEMENTED
        another.close()


@pytest.mark.parametrize("outputs", [None, "1", [["a"], ["b", "c"]], {"y": [1]}, [{"b64": 1}], [[1], [2, 3]]])
def test_json_that_is_no_answer(pair: Pair, outputs: Any) -> None:
    server, transport = pair
    server.answer = upstream(HALF, lambda inputs: outputs)
    assert refusal(transport, Predict(LATEST, "", {"x": floats(1)}))[0] is Code.INTERNAL


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"{}", 200),
        Answer(b"", 200, "application/x-msgpack"),
        Answer(b"\x81", 200, "application/x-msgpack"),
        Answer(b"\x91\x01", 200, "application/x-msgpack"),
        Answer(b"\x80" + bytes(100_000), 200, "application/x-msgpack"),
        Answer(
            b"\x81\xa7outputs\x91\x94\xa1y\xa5float\x91\x01\xc6\xff\xff\xff\xff" + bytes(100_000),
            200,
            "application/x-msgpack",
        ),
    ],
)
def test_messages_that_are_no_answer(pair: Pair, answer: Answer) -> None:
    server, transport = pair
    server.answer = lambda asked: answer
    assert refusal(transport, Predict(LATEST, "", {"x": floats(1)}))[0] is Code.INTERNAL


def test_rows_as_requests_of_their_own(pair: Pair) -> None:
    server, transport = pair
    server.answer = half_plus_two
    predictions = transport.call(PredictEach(LATEST, "", {"x": floats(*range(100))}), 20)
    assert predictions.errors == {}
    assert predictions["y"].tolist() == [x / 2 + 2 for x in range(100)]
    assert len(server.asked) == 100


def test_classify_and_regress(pair: Pair) -> None:
    server, transport = pair
    features = {"f": [1.5, math.inf], "i": [-1, 2**63 - 1], "s": [b"\xff", "ü"], "none": []}
    example, context = one_serialised(features), one_serialised({"c": 1.0})
    server.answer = lambda asked: Answer(b'{"results": [[["a", 0.5], ["", NaN]]]}')
    classes = transport.call(Classify(("m", None, "stable"), "which", (example,), context, "key"), 20)
    assert classes[0][0] == Class("a", 0.5)
    assert math.isnan(classes[0][1].score)
    assert classes.source == ("m", 0, "which")
    (asked,) = server.asked
    assert asked.path == "/v1/models/m/labels/stable:classify"
    assert asked.headers["X-Ringserve-Key"] == "key"
    text = [{"b64": "/w=="}, {"b64": "w7w="}]
    assert asked.document == {
        "signature_name": "which",
        "context": {"c": [1.0]},
        "examples": [{"f": [1.5, math.inf], "i": [-1, 2**63 - 1], "s": text, "none": []}],
    }
    assert b'"f": [1.5, Infinity]' in asked.body
    assert b'"c": [1.0]' in asked.body  # 1 would be another kind

    server.answer = lambda asked: Answer(b'{"results": [1, 2.5]}')
    assert transport.call(Regress(("m", 2, None), "", (b"", example)), 20) == [1.0, 2.5]
    assert server.asked[1].document["examples"][0] == {}
    code, text_of_it = refusal(transport, Regress(LATEST, "", (example, b"\x0a\xff")))
    assert (code, text_of_it.partition(":")[0]) == (Code.INVALID_ARGUMENT, "Example 1 is no serialised tf.Example")


@pytest.mark.parametrize("body", [b"{}", b"", b"[]", b'{"results": [[1]]}', b'{"results": [[[1, 2]]]}', b'{"results": 1}'])
def test_results_that_are_none(pair: Pair, body: bytes) -> None:
    server, transport = pair
    server.answer = lambda asked: Answer(body)
    assert refusal(transport, Classify(LATEST, "", (b"",)))[0] is Code.INTERNAL


def test_status_and_metadata(pair: Pair) -> None:
    server, transport = pair
    versions = [
        {"version": "12", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
        {"version": "3", "state": "END", "status": {"error_code": "NOT_FOUND", "error_message": "no graph"}},
        {"version": "1", "state": "NEW", "status": {"error_code": "NEW", "error_message": ""}},
    ]
    server.answer = lambda asked: json_answer({"model_version_status": versions})
    assert transport.call(Status("a/b c"), 20) == [
        VersionState(12, State.AVAILABLE, Code.OK, ""),
        VersionState(3, State.END, Code.NOT_FOUND, "no graph"),
        VersionState(1, State.UNKNOWN, Code.UNKNOWN, ""),
    ]
    transport.call(Status("m", 7), 20)
    assert [asked.path for asked in server.asked] == ["/v1/models/a%2Fb%20c", "/v1/models/m/versions/7"]

    signature = Signature.of({"x": ("float", (-1, 2)), "a": ("string", None)}, {"y": ("bfloat16", ())})
    document = described(signature)
    document["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"]["dtype"] = "DT_FLOAT_REF"
    server.answer = lambda asked: json_answer(document)
    metadata = transport.call(MetadataOf(("m", None, "l")), 20)
    assert metadata == ("m", 3, {"serving_default": signature})
    assert server.asked[-1].path == "/v1/models/m/labels/l/metadata"


@pytest.mark.parametrize("operation", [Status("m"), MetadataOf(LATEST), Models()])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b'{"model_version_status": [1]}', b'{"paths": {"/readyz/{model}": 1}}']
)
def test_facts_that_are_none(pair: Pair, operation: Operation[Any], body: bytes) -> None:
    server, transport = pair
    server.answer = lambda asked: Answer(body)
    assert refusal(transport, operation)[0] is Code.INTERNAL


def test_models(pair: Pair) -> None:
    server, transport = pair
    choice = {"name": "model", "in": "path", "schema": {"type": "string", "enum": ["b", "a"]}}
    server.answer = lambda asked: json_answer({"paths": {"/readyz/{model}": {"get": {"parameters": [choice]}}}})
    assert transport.call(Models(), 20) == ["a", "b"]
    server.answer = lambda asked: json_answer({"paths": {}})
    assert transport.call(Models(), 20) == []
    server.answer = lambda asked: json_answer({"error": f"Malformed request: GET {asked.path}"}, 400)  # upstream's
    assert refusal(transport, Models())[0] is Code.UNIMPLEMENTED
    server.answer = lambda asked: json_answer({"error": "busy"}, 503)
    assert refusal(transport, Models()) == (Code.UNAVAILABLE, "busy")


def test_readiness(pair: Pair) -> None:
    server, transport = pair
    for status, document, ready in (
        (200, {"status": "ok"}, True),
        (503, {"status": "unavailable"}, False),
        (404, {}, False),
    ):
        server.answer = lambda asked, status=status, document=document: json_answer(document, status)  # type: ignore[misc]
        assert transport.call(Ready("m/n"), 20) is ready
    assert server.asked[0].path == "/readyz/m%2Fn"
    server.answer = lambda asked: json_answer({"error": "no"}, 403)
    assert refusal(transport, Ready()) == (Code.PERMISSION_DENIED, "no")


def test_readiness_of_upstream(pair: Pair) -> None:
    server, transport = pair
    state = ["LOADING"]

    def answer(asked: Asked) -> Answer:
        if asked.path != "/v1/models/m":
            return Answer(b"<HTML>Not Found</HTML>", 404, "text/html")
        entry = {"version": "1", "state": state[0], "status": {"error_code": "OK", "error_message": ""}}
        return json_answer({"model_version_status": [entry]})

    server.answer = answer
    assert transport.call(Ready("m"), 20) is False
    state[0] = "AVAILABLE"
    assert transport.call(Ready("m"), 20) is True
    assert refusal(transport, Ready())[0] is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error": "bad"}', (Code.INVALID_ARGUMENT, "bad")),
        (404, b"<HTML>Not Found</HTML>", (Code.NOT_FOUND, "HTTP 404 Not Found")),
        (413, b'{"error": "too large"}', (Code.RESOURCE_EXHAUSTED, "too large")),
        (418, b"[]", (Code.UNKNOWN, "HTTP 418 I'm a Teapot")),
        (429, b'{"error": ""}', (Code.RESOURCE_EXHAUSTED, "HTTP 429 Too Many Requests")),
        (503, b'{"error": "full"}', (Code.UNAVAILABLE, "full")),
        (504, b'{"error": "late"}', (Code.DEADLINE_EXCEEDED, "late")),
    ],
)
def test_errors(pair: Pair, status: int, body: bytes, expected: tuple[Code, str]) -> None:
    server, transport = pair
    server.answer = lambda asked: Answer(body, status)
    assert refusal(transport, Status("m")) == expected
    assert refusal(transport, Predict(LATEST, "", {"x": floats(1)})) == expected


def test_what_no_path_can_say(pair: Pair) -> None:
    server, transport = pair
    for operation in (Status(""), Status("m", -1), MetadataOf(("m", None, ""))):
        assert refusal(transport, operation)[0] is Code.INVALID_ARGUMENT
    assert server.asked == []

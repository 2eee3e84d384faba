"""PredictRequest messages over HTTP, with gRPC's rules and texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from binary_bodies import (
    ONE,
    PROTOBUF,
    SERVABLE,
    SPEC,
    TWO,
    PredictResponse,
    decoded,
    encoded,
    inputs,
    numbers,
    of_type,
    predict_request,
    refusal,
    texts,
)

from frontend.bodies.negotiation import BodyOptions
from frontend.endpoint import TooLargeError
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature

X = numbers("float", [[1, 2, 3]])


def body(**fields: Any) -> bytes:
    request = predict_request(x=X)
    for name, value in fields.items():
        if name == "version":
            request.model_spec.version.value = value
        elif name == "output_filter":
            request.output_filter.extend(value)
        else:
            setattr(request.model_spec, name, value)
    encoded_request: bytes = request.SerializeToString()
    return encoded_request


def test_inputs_in_both_forms() -> None:
    assert inputs(PROTOBUF, body(), ONE)[0].data.tolist() == [[1, 2, 3]]  # type: ignore[union-attr]
    request = predict_request(a=numbers("float", 5), b=texts(b"x", b"y"))
    request.inputs["a"].ClearField("tensor_content")
    request.inputs["a"].float_val.append(2)
    a, b = inputs(PROTOBUF, request.SerializeToString(), TWO)
    assert (a.shape, np.asarray(a.data).item()) == ((), 2)
    assert (b.shape, b.data) == ((2,), [b"x", b"y"])
    bfloat16 = predict_request(x=numbers("bfloat16", [16256]))
    assert inputs(PROTOBUF, bfloat16.SerializeToString(), of_type("bfloat16"))[0].data.tolist() == [16256]  # type: ignore[union-attr]


@pytest.mark.parametrize("wrap", [bytearray, memoryview])
def test_any_buffer(wrap: Any) -> None:
    read = decoded(PROTOBUF, wrap(body()))
    assert read.inputs(ONE)[0].data.tolist() == [[1, 2, 3]]


def test_what_is_no_message() -> None:
    for bad in (b"{}", b"\xff", body()[:-1], b"\x0a\xff"):
        assert "expected a serialised tensorflow.serving.PredictRequest" in refusal(PROTOBUF, bad)


def test_texts_of_grpc() -> None:
    with pytest.raises(ServingError, match='Serving signature key "other" not found') as caught:
        inputs(PROTOBUF, body(signature_name="other"), ONE)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert refusal(PROTOBUF, b"").startswith("input size does not match signature: 0!=1 len({}) != len({x}). ")
    assert refusal(PROTOBUF, body(), of_type("double")) == "Expects arg[0] to be double but float is provided"
    assert refusal(PROTOBUF, body(output_filter=["n"])).startswith("output tensor alias not found in signature: n ")
    assert refusal(PROTOBUF, body(output_filter=["y", "y"])) == "duplicate output tensor alias: y"
    assert refusal(PROTOBUF, body(), headers={"X-Ringserve-Outputs": "n"}).startswith("output tensor alias not found")
    request = predict_request(x=X)
    request.inputs["x"].tensor_shape.dim[0].size = 2
    assert refusal(PROTOBUF, request.SerializeToString()) == "tensor parsing error: x"


def test_methods_are_checked_where_the_server_says_so() -> None:
    strange = Signature("serving_default", "strange", ONE.inputs, ONE.outputs)
    assert len(inputs(PROTOBUF, body(), strange)) == 1
    with pytest.raises(ServingError, match="Was: strange"):
        inputs(PROTOBUF, body(), strange, options=BodyOptions(check_method=True))


def test_few_values_for_many_elements() -> None:
    request = predict_request(x=X)
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].tensor_shape.dim[0].size = 1 << 40
    with pytest.raises(TooLargeError):
        inputs(PROTOBUF, request.SerializeToString(), ONE)


def test_strings_that_no_body_carries() -> None:
    request = predict_request(x=texts(b"a"))
    request.inputs["x"].tensor_shape.dim[0].size = 33_000_000
    with pytest.raises(TooLargeError, match="strings that the message does not carry"):
        inputs(PROTOBUF, request.SerializeToString(), of_type("string"))


def test_more_dimensions_than_numpy_has() -> None:
    request = predict_request(x=numbers("float", np.ones((1,) * 60)))
    for _ in range(4):
        request.inputs["x"].tensor_shape.dim.add(size=1)
    assert len(inputs(PROTOBUF, request.SerializeToString(), ONE)[0].shape) == 64
    request.inputs["x"].tensor_shape.dim.add(size=1)
    assert refusal(PROTOBUF, request.SerializeToString()) == "a tensor of 65 dimensions; expected at most 64"


def test_the_version_to_resolve() -> None:
    assert decoded(PROTOBUF, body()).spec == SPEC
    assert decoded(PROTOBUF, body(name="m", version=0)).spec == SPEC._replace(version=0)
    assert decoded(PROTOBUF, body(version_label="l"), {"X-Ringserve-Key": "k"}).spec == SPEC._replace(label="l", key="k")
    assert decoded(PROTOBUF, body()).timeout is None
    assert refusal(PROTOBUF, body(name="n")) == "The URL asks for model m, the message in the body for model n"
    said = refusal(PROTOBUF, body(version=1), spec=SPEC._replace(version=2))
    assert said == "The URL asks for version 2, the message in the body for version 1"


def response(raw: bytes) -> Any:
    return PredictResponse.FromString(raw)


@pytest.mark.parametrize("content", [False, True])
def test_answers(content: bool) -> None:
    signature = Signature.of({"x": ("float", None)}, {"y": ("int64", None), "z": ("string", None)})
    outputs = [numbers("int64", [-1, 1 << 40]), texts(b"\xff")]
    read = decoded(PROTOBUF, body(), options=BodyOptions(tensor_content=content))
    answer = read.encode(SERVABLE, signature, outputs)
    assert answer.content_type == PROTOBUF
    found = response(answer.body)
    assert (found.model_spec.name, found.model_spec.version.value) == ("m", 7)
    assert found.model_spec.signature_name == "serving_default"
    assert list(found.outputs["y"].int64_val) == ([] if content else [-1, 1 << 40])
    assert bool(found.outputs["z"].tensor_content) is content


def test_only_the_outputs_that_are_asked_for() -> None:
    signature = Signature.of({"x": ("float", None)}, {"y": ("float", None), "z": ("string", None)})
    outputs = [numbers("float", [1]), texts(b"s")]
    by_message = response(encoded(PROTOBUF, body(output_filter=["z"]), signature, outputs).body)
    by_header = response(encoded(PROTOBUF, body(), signature, outputs, {"X-Ringserve-Outputs": "z"}).body)
    assert list(by_message.outputs) == list(by_header.outputs) == ["z"]

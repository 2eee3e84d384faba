"""Predict's messages over gRPC: checks in upstream's order and words, and answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from binary_bodies import ONE, SERVABLE, TWO, PredictResponse, numbers, of_type, predict_request, texts

from frontend.bodies.body_options import BodyOptions
from frontend.catalog import ModelSpec
from frontend.grpc.model_spec import model_spec
from frontend.grpc.predict_body import PredictBody, is_long
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature

OPTIONS = BodyOptions()
X = numbers("float", [[1, 2, 3]])


def request(**tensors: Any) -> Any:
    made = predict_request(**(tensors or {"x": X}))
    made.model_spec.name = "m"
    return made


def body(made: Any, options: BodyOptions = OPTIONS) -> PredictBody:
    return PredictBody(made.SerializeToString(), options)


def refusal(made: Any, signature: Signature = ONE, options: BodyOptions = OPTIONS) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        read = body(made, options)
        read.inputs(read.signature({signature.name: signature}))
    return caught.value.code, caught.value.message


def test_inputs_are_views() -> None:
    message = request().SerializeToString()
    (tensor,) = PredictBody(message, OPTIONS).inputs(ONE)
    assert tensor.shape == (1, 3)
    assert isinstance(tensor.data, np.ndarray)
    assert tensor.data.tolist() == [[1, 2, 3]]
    assert np.shares_memory(tensor.data, np.frombuffer(message, np.uint8))


def test_inputs_come_in_the_order_of_the_signature() -> None:
    made = request(b=texts(b"x", b"y"), a=numbers("float", 5))
    a, b = body(made).inputs(TWO)
    assert (a.shape, np.asarray(a.data).item()) == ((), 5)
    assert (b.shape, b.data) == ((2,), [b"x", b"y"])


def test_the_version_that_is_asked_for() -> None:
    made = request()
    assert body(made).spec == ModelSpec("m") == model_spec(made)
    made.model_spec.version.value = 0
    assert body(made).spec == ModelSpec("m", version=0) == model_spec(made)
    made.model_spec.version_label = ""
    assert body(made).spec == ModelSpec("m", label="") == model_spec(made)


def test_messages_that_ask_for_no_model() -> None:
    made = request()
    made.model_spec.name = ""
    assert refusal(made) == (Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
    made.ClearField("model_spec")
    assert refusal(made) == (Code.INVALID_ARGUMENT, "Missing ModelSpec")


def test_texts_of_upstream_in_its_order() -> None:
    made = request(z=numbers("double", [1]))
    made.output_filter.extend(["n", "y", "y"])
    made.inputs["z"].dtype = 0
    made.inputs["w"].dtype = 1
    made.model_spec.signature_name = "other"
    strange = Signature("serving_default", "strange", ONE.inputs, ONE.outputs)
    checked = BodyOptions(check_method=True)
    assert refusal(made) == (Code.FAILED_PRECONDITION, 'Serving signature key "other" not found.')
    made.model_spec.signature_name = ""
    assert refusal(made, strange, checked)[0] is Code.INTERNAL
    assert refusal(made)[1].startswith("input size does not match signature: 2!=1 len({w,z}) != len({x}). ")
    del made.inputs["w"]
    assert refusal(made)[1].startswith("Signature input alias: x(feed name: x:0) not found in request")
    made.inputs["x"].CopyFrom(made.inputs.pop("z"))
    assert refusal(made) == (Code.INVALID_ARGUMENT, "tensor parsing error: x")
    made.inputs["x"].dtype = 2
    assert refusal(made)[1].startswith("output tensor alias not found in signature: n ")
    del made.output_filter[0]
    assert refusal(made) == (Code.INVALID_ARGUMENT, "duplicate output tensor alias: y")
    del made.output_filter[0]
    assert refusal(made) == (Code.INVALID_ARGUMENT, "Expects arg[0] to be float but double is provided")


@pytest.mark.parametrize("bad", [b"{}", b"\xff", b"\x0a\xff", b"\x1a\x01\xff"])
def test_what_is_no_message(bad: bytes) -> None:
    with pytest.raises(ServingError, match=r"expected a serialised tensorflow\.serving\.PredictRequest") as caught:
        PredictBody(bad, OPTIONS)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_tensor_that_is_no_message() -> None:
    message = b"\x0a\x03\x0a\x01m\x12\x08\x0a\x01x\x12\x03\x08\x01\x2a"
    with pytest.raises(ServingError, match=r"expected a serialised tensorflow\.serving\.PredictRequest"):
        PredictBody(message, OPTIONS).inputs(ONE)


def test_few_bytes_for_much_memory() -> None:
    made = request()
    made.inputs["x"].ClearField("tensor_content")
    made.inputs["x"].tensor_shape.dim[0].size = 1 << 40
    assert body(made).heavy
    assert refusal(made)[0] is Code.RESOURCE_EXHAUSTED


def test_which_take_long() -> None:
    large = request(x=numbers("float", np.zeros((1 << 22,))))
    assert not body(large).heavy, "a view"
    assert not is_long(large.SerializeToString())
    assert not body(request()).heavy
    assert body(request(x=texts(*[b"s"] * 50_000))).heavy
    assert is_long(b"\x1a\x00" * 1100)
    assert not is_long(b"\x1a\x00" * 1000)


@pytest.mark.parametrize("content", [False, True])
def test_answers(content: bool) -> None:
    signature = Signature.of({"x": ("float", None)}, {"y": ("int64", None), "z": ("string", None)})
    read = body(request(), BodyOptions(tensor_content=content))
    read.inputs(signature)
    found = PredictResponse.FromString(read.encode(SERVABLE, signature, [numbers("int64", [-1, 1 << 40]), texts(b"s")]).body)
    assert (found.model_spec.name, found.model_spec.version.value) == ("m", 7)
    assert found.model_spec.signature_name == "serving_default"
    assert list(found.outputs["y"].int64_val) == ([] if content else [-1, 1 << 40])
    assert bool(found.outputs["z"].tensor_content) is content


def test_exactly_the_outputs_that_are_asked_for() -> None:
    made = request(a=numbers("float", 5), b=texts(b"x"))
    made.output_filter.append("z")
    read = body(made)
    read.inputs(TWO)
    found = PredictResponse.FromString(read.encode(SERVABLE, TWO, [numbers("float", [1]), texts(b"s")]).body)
    assert list(found.outputs) == ["z"]


def test_what_was_read_is_let_go() -> None:
    read = body(request(x=numbers("int64", [1])))
    read.inputs(of_type("int64"))
    assert not read.heavy

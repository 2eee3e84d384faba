"""Regress over gRPC: each check with its text, what is fed, and the answer's bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_messages import example, features
from example_requests import ONE, RegressionRequest, RegressionResponse, message, request
from hypothesis import given
from hypothesis import strategies as st
from made_outputs import classify_signature, numbers, regress_signature, tensor_spec, texts

from frontend.bodies.body_options import BodyOptions
from frontend.catalog import ModelSpec
from frontend.grpc.example_answer import regression_result
from frontend.grpc.example_bodies import RegressBody
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.predict_request import REGRESS
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.signature_text import signature_text

MODEL = ServableId("m", 7)
REGRESS_SIGNATURE = regress_signature()
PLAIN = BodyOptions()
RegressionResult = message("regression", "RegressionResult")


def body(*examples: Any, options: BodyOptions = PLAIN, **fields: Any) -> RegressBody:
    return RegressBody(request(RegressionRequest, *(examples or (ONE,)), **fields), options)


def invalid(made: Any) -> str:
    with pytest.raises(ServingError) as caught:
        made()
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def strange(inputs: str = "inputs", outputs: str = "outputs", method: str = REGRESS, dtype: str = "string") -> Signature:
    """Not all of them can be regressed with."""
    fed = tuple(tensor_spec(alias, dtype) for alias in inputs.split())
    return Signature("s", method, fed, tuple(tensor_spec(alias, "float") for alias in outputs.split()))


def test_which_version() -> None:
    assert body().spec == ModelSpec("m")
    assert body(version=3).spec == ModelSpec("m", 3)
    assert body(label="l").spec == ModelSpec("m", label="l")
    assert invalid(lambda: RegressBody(b"", PLAIN)) == "Missing ModelSpec"
    assert invalid(lambda: body(name="")) == "ModelSpec has no name specified."
    assert "RegressionRequest" in invalid(lambda: RegressBody(b"\xff", PLAIN))


def test_the_signature_by_name_and_the_default_one() -> None:
    default = regress_signature(DEFAULT_SIGNATURE)
    served = {one.name: one for one in (REGRESS_SIGNATURE, default)}
    assert body(signature="regress").signature(served) is REGRESS_SIGNATURE
    assert body().signature(served) is body(signature=DEFAULT_SIGNATURE).signature(served) is default
    for asked, shown in (("", DEFAULT_SIGNATURE), ("nope", "nope")):
        text = invalid(lambda asked=asked: body(signature=asked).signature({"regress": REGRESS_SIGNATURE}))
        assert text == f"No signature was found with the name: {shown}"


REFUSED = [
    (strange("", "a b"), "Expected one input Tensor."),
    (strange("inputs more"), "Expected one input Tensor."),
    (strange("x", ""), "Expected one output Tensor."),
    (strange("x", "outputs more"), "Expected one output Tensor."),
    (strange("x", "y"), f"No regression inputs found in SignatureDef: {signature_text(strange('x', 'y'))}"),
    (strange(outputs="y"), f"No regression outputs found in SignatureDef: {signature_text(strange(outputs='y'))}"),
]


@pytest.mark.parametrize(("signature", "text"), REFUSED)
def test_signatures_that_do_not_regress(signature: Signature, text: str) -> None:
    assert invalid(lambda: body(signature="s").signature({"s": signature})) == text


def test_methods_are_looked_at_first_where_the_server_says_so() -> None:
    text = "Expected regression signature method_name to be tensorflow/serving/regress. Was: odd"
    checked = body(signature="s", options=BodyOptions(check_method=True))
    assert invalid(lambda: checked.signature({"s": strange("x", "y", method="odd")})) == text
    fine = strange(method="odd")
    assert body(signature="s").signature({"s": fine}) is fine


def test_the_examples() -> None:
    (tensor,) = body(example(x=[2.0]), example(z=[5]), context=example(z=[1])).inputs(REGRESS_SIGNATURE)
    assert tensor.shape == (2,) and isinstance(tensor.data, list)
    assert [features(row) for row in tensor.data] == [
        {"z": ("int64_list", [1]), "x": ("float_list", [2.0])},
        {"z": ("int64_list", [5])},
    ]
    empty = RegressBody(request(RegressionRequest), PLAIN)
    assert invalid(lambda: empty.inputs(REGRESS_SIGNATURE)) == "Input is empty."
    text = invalid(lambda: body().inputs(strange(dtype="float")))
    assert text == "Expects arg[0] to be float but string is provided"


UNFIT = [
    ([], "Expected output_tensors and output_tensor_names to have the same size."),
    ([numbers([1.0, 2.0])] * 2, "Expected output_tensors and output_tensor_names to have the same size."),
    ([numbers(1.0)], "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"),
    (
        [numbers([[1.0, 2.0]] * 2)],
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
    ),
    (
        [numbers([[[1.0]]] * 2)],
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,1,1]",
    ),
    ([numbers([1.0])], "Input batch size did not match output batch size: 2 vs. 1"),
    ([numbers([1, 2], "int64")], "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
    ([texts((2,), b"a", b"b")], "Expected output Tensor of DT_FLOAT.  Got: DT_STRING"),
]


@pytest.mark.parametrize(("outputs", "text"), UNFIT)
def test_outputs_that_are_no_regression(outputs: list[Tensor], text: str) -> None:
    assert invalid(lambda: body(ONE, ONE).encode(MODEL, REGRESS_SIGNATURE, outputs)) == text


@pytest.mark.parametrize("output", [numbers([1.5, 0.0]), numbers([[1.5], [0.0]])])
def test_answers(output: Tensor) -> None:
    response = RegressionResponse.FromString(body(ONE, ONE).encode(MODEL, REGRESS_SIGNATURE, [output]).body)
    assert [one.value for one in response.result.regressions] == [1.5, 0.0]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 7, "regress")


def test_a_classification_is_no_regression() -> None:
    signature = classify_signature("classes", "scores")
    assert invalid(lambda: body(signature="classify").signature({"classify": signature})) == "Expected one output Tensor."


NUMBERS = st.one_of(st.just(0.0), st.just(-0.0), st.floats(width=32))


@given(st.lists(NUMBERS, max_size=200))
def test_bytes_are_those_that_protobuf_writes(values: list[float]) -> None:
    wanted = RegressionResult()
    for value in values:
        wanted.regressions.add(value=value)
    assert regression_result(np.array(values, "<f4")) == wanted.SerializeToString()


def test_numbers_that_do_not_lie_side_by_side() -> None:
    values = np.arange(20, dtype="<f4").reshape(10, 2)[:, 1]
    assert [one.value for one in RegressionResult.FromString(regression_result(values)).regressions] == values.tolist()

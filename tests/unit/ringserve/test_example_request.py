"""Requests of examples: each check of a signature with its text, and what is fed."""

from __future__ import annotations

from typing import Any

import pytest

from ringserve.errors import Code, ServingError
from ringserve.example_request import (
    classify_signature,
    example_inputs,
    examples,
    named_classify_signature,
    named_regress_signature,
    regress_signature,
    with_context,
)
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.protos import message_module
from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import BY_NAME, STRING

CHECKS = [named_classify_signature, named_regress_signature]


def specs(*aliases: str, dtype: str = "string") -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(alias, f"{alias}:0", BY_NAME[dtype], (-1,)) for alias in aliases)


def signature(inputs: str = "inputs", outputs: str = "outputs", method: str = "", name: str = "s") -> Signature:
    return Signature(name, method, specs(*inputs.split()), specs(*outputs.split()))


def refusal(check: Any, made: Signature, check_method: bool = False) -> str:
    with pytest.raises(ServingError) as caught:
        check(made.name, {made.name: made}, check_method)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("outputs", ["classes", "scores", "classes scores", "classes other", "other scores"])
def test_signatures_to_classify_with(outputs: str) -> None:
    made = signature(outputs=outputs)
    assert named_classify_signature("s", {"s": made}, False) is made
    assert refusal(named_classify_signature, made, True) == (
        f"Expected classification signature method_name to be {CLASSIFY}. Was: "
    )
    made = signature(outputs=outputs, method=CLASSIFY)
    assert named_classify_signature("s", {"s": made}, True) is made


def test_signatures_to_regress_with() -> None:
    made = signature()
    assert named_regress_signature("s", {"s": made}, False) is made
    assert refusal(named_regress_signature, made, True) == (
        f"Expected regression signature method_name to be {REGRESS}. Was: "
    )
    made = signature(method=REGRESS)
    assert named_regress_signature("s", {"s": made}, True) is made


@pytest.mark.parametrize("check", CHECKS)
def test_a_signature_that_there_is_not(check: Any) -> None:
    made = signature(outputs="classes", name="other")
    for asked, shown in (("nope", "nope"), ("", DEFAULT_SIGNATURE)):
        with pytest.raises(ServingError) as caught:
            check(asked, {"other": made}, True)
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message == f"No signature was found with the name: {shown}"


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("inputs", ["", "inputs more"])
def test_the_number_of_inputs(check: Any, inputs: str) -> None:
    assert refusal(check, signature(inputs, "outputs x y z")) == "Expected one input Tensor."


def test_the_number_of_outputs() -> None:
    for outputs in ("", "classes scores other"):
        text = f"Expected one or two output Tensors, found {len(outputs.split())}"
        assert refusal(named_classify_signature, signature("x", outputs)) == text
    for outputs in ("", "outputs other"):
        assert refusal(named_regress_signature, signature("x", outputs)) == "Expected one output Tensor."


def test_the_names() -> None:
    shown = 'inputs {\n  key: "x"\n  value {\n    name: "x:0"\n    dtype: DT_STRING\n'
    text = refusal(named_classify_signature, signature("x", "y"))
    assert text.startswith(f"No classification inputs found in SignatureDef: {shown}")
    text = refusal(named_regress_signature, signature("x", "y"))
    assert text.startswith(f"No regression inputs found in SignatureDef: {shown}")
    text = refusal(named_classify_signature, signature(outputs="y"))
    assert text.startswith(
        'Expected classification signature outputs to contain at least one of "classes" or "scores". '
        'Signature was: inputs {\n  key: "inputs"\n'
    )
    text = refusal(named_regress_signature, signature(outputs="y"))
    assert text.startswith('No regression outputs found in SignatureDef: inputs {\n  key: "inputs"\n')


def test_messages_name_their_signature() -> None:
    classify, regress = signature(outputs="scores", name=DEFAULT_SIGNATURE), signature(name="r")
    both = {one.name: one for one in (classify, regress)}
    request = message_module("tensorflow_serving.apis.classification_pb2").ClassificationRequest()
    assert classify_signature(request, both, False) is classify
    request = message_module("tensorflow_serving.apis.regression_pb2").RegressionRequest()
    request.model_spec.signature_name = "r"
    assert regress_signature(request, both, False) is regress


def test_an_input_that_takes_no_strings() -> None:
    made = Signature("s", "", specs("inputs", dtype="float"), ())
    with pytest.raises(ServingError) as caught:
        example_inputs([b"a"], made)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "Expects arg[0] to be float but string is provided"
    assert example_inputs([b"a", b"b"], signature()) == (STRING.number, (2,), [b"a", b"b"])


def test_a_context_is_in_each_row_as_long_as_there_is_room() -> None:
    assert with_context(b"", [b"a", b""], 0) == [b"a", b""]
    assert with_context(b"c", [b"a", b""], 3) == [b"ca", b"c"]
    with pytest.raises(ServingError) as caught:
        with_context(b"c", [b"a", b""], 2)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_a_messages_context_has_the_same_limit() -> None:
    message = message_module("tensorflow_serving.apis.input_pb2").Input()
    message.example_list_with_context.context.features.feature["x"].bytes_list.value.append(b"y" * 1000)
    for _ in range(1000):
        message.example_list_with_context.examples.add()
    with pytest.raises(ServingError) as caught:
        examples(message, 1 << 20 >> 1)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert examples(message).shape == (1000,)

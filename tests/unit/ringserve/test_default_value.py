"""Default values of inputs: decoded once, and in the place of what a request leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringserve.default_value import DefaultValue
from ringserve.errors import Code, ServingError
from ringserve.predict_checks import check_all_used, check_input_count, in_order
from ringserve.predict_message import read_request
from ringserve.predict_request import predict_inputs
from ringserve.protos import message_module
from ringserve.signature import PREDICT_METHOD, Signature, TensorSpec
from ringserve.tensor import BY_NAME

TENSOR = message_module("tensorflow.core.framework.tensor_pb2").TensorProto
REQUEST = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest


def proto(dtype: str, *shape: int, **values: Any) -> Any:
    made = TENSOR(dtype=BY_NAME[dtype].number, **values)
    made.tensor_shape.SetInParent()
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def signature(**defaults: Any) -> Signature:
    """Of the floats a, b and c."""
    inputs = tuple(TensorSpec(alias, f"{alias}:0", BY_NAME["float"], (-1,)) for alias in "abc")
    values = tuple(DefaultValue(alias, value.SerializeToString()) for alias, value in sorted(defaults.items()))
    return Signature("s", PREDICT_METHOD, inputs, (), defaults=values)


NONE = signature()
SOME = signature(b=proto("float", float_val=[5]), c=proto("float", 2, float_val=[6, 7]))


def request(*outputs: str, **tensors: Any) -> bytes:
    made = REQUEST(output_filter=outputs)
    for alias, tensor in tensors.items():
        made.inputs[alias].CopyFrom(tensor)
    message: bytes = made.SerializeToString()
    return message


def read(of: Signature, *outputs: str, **tensors: Any) -> list[Any]:
    return [(tensor.shape, list(tensor.values)) for tensor in predict_inputs(read_request(request(*outputs, **tensors)), of)]


def refusal(of: Signature, *outputs: str, **tensors: Any) -> str:
    with pytest.raises(ServingError) as caught:
        read(of, *outputs, **tensors)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


X = proto("float", 1, float_val=[1])


def test_what_a_request_leaves_out() -> None:
    assert read(SOME, a=X) == [((1,), [1]), ((), [5]), ((2,), [6, 7])]
    assert read(SOME, a=X, b=X) == [((1,), [1]), ((1,), [1]), ((2,), [6, 7])]
    assert read(SOME, a=X, c=X) == [((1,), [1]), ((), [5]), ((1,), [1])]
    assert read(SOME, a=X, b=X, c=X) == [((1,), [1])] * 3
    assert read(signature(a=X, b=X, c=X)) == [((1,), [1])] * 3


def test_the_same_tensor_every_time_which_nobody_can_change() -> None:
    value = DefaultValue("x", proto("int32", 3, int_val=[1]).SerializeToString())
    first = value.decode()
    assert value.decode() is first
    assert isinstance(first.values, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        first.values[0] = 2
    assert value == DefaultValue("x", value.message), "decoded or not"
    assert hash(value) == hash(DefaultValue("x", value.message))


def test_strings() -> None:
    value = DefaultValue("x", proto("string", 2, string_val=[b"u"]).SerializeToString())
    assert value.decode() == (7, (2,), [b"u", b"u"])


def test_too_few_or_too_many() -> None:
    size = "input size does not match signature: "
    assert refusal(NONE, a=X) == (
        f"{size}1!=3 len({{a}}) != len({{a,b,c}}). Sent extra: {{}}. Missing but required: {{b,c}}."
    )
    assert refusal(SOME, a=X, b=X, d=X, e=X) == (
        f"{size}4!=3 len({{a,b,d,e}}) != len({{a,b,c}}). Sent extra: {{d,e}}. Missing but required: {{c}}."
    )
    check_input_count(["z"], SOME)


@pytest.mark.parametrize(
    ("of", "sent", "have", "defaults"),
    [(SOME, "", "", "b,c"), (SOME, "b", "b", "b,c"), (SOME, "bcd", "b,c,d", "b,c"), (NONE, "xbc", "b,c,x", "")],
)
def test_an_input_without_a_value(of: Signature, sent: str, have: str, defaults: str) -> None:
    assert refusal(of, **dict.fromkeys(sent, X)) == (
        "Signature input alias: a(feed name: a:0) not found in request and no default value provided. "
        f"Inputs expected to be in the request {{{have}}}, or default input alias set: {defaults}"
    )


def test_a_name_that_no_input_has() -> None:
    """After the tensors are parsed, before the outputs are looked at."""
    text = "Inputs contains invalid name. Used request inputs: a, request input: a,z"
    assert refusal(SOME, "no output", a=X, z=proto("double", float_val=[1])) == text
    assert refusal(SOME, a=proto("float", -1), z=X) == "tensor parsing error: a"
    assert refusal(SOME, "no output", a=X, c=X).startswith("output tensor alias not found in signature: no output")
    assert refusal(signature(a=X, b=X, c=X), z=X).endswith("Used request inputs: , request input: z")


def test_a_default_value_for_no_input() -> None:
    odd = signature(z=X)
    assert refusal(odd, a=X, b=X).endswith("default input alias set: z")
    assert read(odd, a=X, b=X, c=X) == [((1,), [1])] * 3


def test_default_values_that_are_no_good() -> None:
    for bad in (proto("float", -1), proto("resource"), TENSOR(), proto("float", 2, tensor_content=b"12345")):
        of = signature(b=X, c=bad)
        for _ in range(2):
            assert refusal(of, a=X) == "tensor parsing error: c"
        assert len(read(of, a=X, c=X)) == 3, "it is not looked at"
    assert refusal(signature(b=X, c=proto("double", double_val=[1])), a=X) == (
        "Expects arg[2] to be float but double is provided"
    )


def test_one_that_is_larger_than_any_request() -> None:
    of = signature(b=X, c=proto("float", 1 << 20, float_val=[0]))
    with pytest.raises(ServingError) as caught:
        predict_inputs(read_request(request(a=X)), of, 1 << 20)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_what_was_sent_is_not_copied() -> None:
    sent = {"a": 1, "b": 2, "c": 3}
    assert in_order(sent, SOME) == [1, 2, 3]
    found = in_order({"a": 1, "c": 3}, SOME)
    assert found == [1, SOME.defaults[0], 3]
    assert found[1] is SOME.defaults[0]
    check_all_used(sent, SOME)

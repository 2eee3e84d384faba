"""Predict bodies in row and columnar format: what they mean, and the text of every refusal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_signatures import signature, spec

from frontend.rest import json_arrays
from frontend.rest.predict_body import Inputs, PredictBody
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME

X = signature(spec("x"))
TEXT = signature(spec("t", "string"))
TWO = signature(spec("a"), spec("b", "int32"))
TWO_TEXTS = signature(spec("s", "string"), spec("t", "string"))
HALF = signature(spec("h", "half"))


def read(body: str | dict[str, Any], of: Signature = X) -> Inputs:
    text = body if isinstance(body, str) else json.dumps(body)
    return PredictBody(text.encode()).tensors(of)


def plain(tensor: Tensor) -> Any:
    return tensor.data if isinstance(tensor.data, list) else tensor.data.tolist()


def values(inputs: Inputs) -> list[Any]:
    return [plain(tensor) for tensor in inputs.tensors]


def rows(instances: Any, of: Signature = X) -> list[Any]:
    inputs = read({"instances": instances}, of)
    assert inputs.rows
    assert [tensor.dtype for tensor in inputs.tensors] == [wanted.dtype for wanted in of.inputs]
    return values(inputs)


def columns(value: Any, of: Signature = X) -> list[Any]:
    inputs = read({"inputs": value}, of)
    assert not inputs.rows
    return values(inputs)


def refusal(body: str | dict[str, Any], of: Signature = X, code: Code = Code.INVALID_ARGUMENT) -> str:
    with pytest.raises(ServingError) as caught:
        read(body, of)
    assert caught.value.code is code
    return caught.value.message


# Either format


def test_signature_name() -> None:
    assert PredictBody(b'{"instances":[1]}').signature_name == "serving_default"
    assert PredictBody(b'{"signature_name":"","instances":[1]}').signature_name == "serving_default"
    assert PredictBody(b'{"signature_name":"other"}').signature_name == "other"
    for value in ("null", "1", "true", "[]", '{"a": 1}'):
        body = f'{{"signature_name": {value}, "instances": [1]}}'
        with pytest.raises(ServingError) as caught:
            _ = PredictBody(body.encode()).signature_name
        text = "not formatted correctly. 'signature_name' key must be a string value."
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message == f"JSON Value: {body} {text}"


def test_which_format() -> None:
    assert refusal({}) == refusal({"x": [1]}) == "Missing 'inputs' or 'instances' key"
    body = {"instances": [1], "inputs": [1]}
    text = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    assert refusal(body) == f"JSON Value: {json.dumps(body)} {text}"
    assert refusal({"instances": None, "inputs": None}).endswith(" to exist ")
    assert rows([1], X) == columns([1], X) == [[1.0]]


def test_unknown_keys_are_ignored() -> None:
    assert values(read({"x": {}, "instances": [1], "context": 5})) == [[1.0]]


def test_signatures_without_inputs() -> None:
    for name, shown in (("serving_default", "DEFAULT"), ("other", "other")):
        of = signature(name=name)
        assert refusal({"instances": [1]}, of) == f"Failed to get input map for signature: {shown}"
        assert refusal({}, of) == f"Failed to get input map for signature: {shown}"


# Row format: the list of instances


@pytest.mark.parametrize("value", [1, "a", None, True, {"x": [1]}, {"b64": "AA=="}])
def test_instances_must_be_a_list(value: Any) -> None:
    assert refusal({"instances": value}) == (
        f"JSON Value: {json.dumps({'instances': value})} Expecting 'instances' to be an list/array"
    )


def test_instances_must_not_be_empty() -> None:
    assert refusal({"instances": []}) == "JSON Value: {\"instances\": []} No values in 'instances' array"


def test_several_inputs_need_objects() -> None:
    text = (
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
    )
    for first in (1, "a", None, [1]):
        assert refusal({"instances": [first, {"a": 1, "b": 2}]}, TWO) == text


def test_an_object_for_bytes_is_one_value_of_one_input() -> None:
    message = refusal({"instances": [{"b64": "AA=="}]}, TWO_TEXTS)
    assert message.startswith("input size does not match signature: 1!=2 len({s}) != len({s,t}).")
    assert message.endswith(" Sent extra: {}. Missing but required: {t}.")


# Row format: values of the single input


@pytest.mark.parametrize(
    ("instances", "shape"),
    [
        ([1], (1,)),
        ([1, 2.5, 3], (3,)),
        ([[1, 2], [3, 4], [5, 6]], (3, 2)),
        ([[[1]], [[2]]], (2, 1, 1)),
        ([[]], (1, 0)),
        ([[], []], (2, 0)),
        ([[[], []]], (1, 2, 0)),
    ],
)
def test_values(instances: Any, shape: tuple[int, ...]) -> None:
    (tensor,) = read({"instances": instances}).tensors
    assert tensor.shape == shape
    assert plain(tensor) == instances


def test_no_shape_of_the_signature_is_checked() -> None:
    declared = signature(spec("x", shape=(-1, 28, 28)))
    assert rows([1, 2, 3], declared) == [[1.0, 2.0, 3.0]]


def test_strings() -> None:
    assert rows(["a", "é"], TEXT) == [[b"a", "é".encode()]]
    assert rows([{"b64": "AP8="}, "b", {"b64": ""}], TEXT) == [[b"\0\xff", b"b", b""]]
    assert rows([["a", {"b64": "YQ=="}], ["b", "c"]], TEXT) == [[b"a", b"a", b"b", b"c"]]
    assert values(PredictBody(b'{"instances": ["\xff\xfe"]}').tensors(TEXT)) == [[b"\xff\xfe"]]


def test_an_input_named_b64() -> None:
    of = signature(spec("b64", "string"))
    assert rows([{"b64": "YQ=="}], of) == [[b"a"]]  # the value, not a named instance
    assert rows([{"b64": {"b64": "YQ=="}}], of) == [[b"a"]]  # a named one


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([1, {"x": 2}], "Expecting value/list but got object at item 1 of input list"),
        ([[1], [2], {}], "Expecting value/list but got object at item 2 of input list"),
        (
            ["a"],
            "Failed to process element: 0 of 'instances' list. "
            'Error: INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: float',
        ),
        (
            [None],
            "Failed to process element: 0 of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON Value: null Type: Null is not of expected type: float",
        ),
        (
            [{"b64": "YQ=="}],
            "Failed to process element: 0 of 'instances' list. "
            'Error: INVALID_ARGUMENT: JSON Value: {"b64": "YQ=="} Type: Object is not of expected type: float',
        ),
        (
            [1, True],
            "Failed to process element: 1 of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON Value: true Type: True is not of expected type: float",
        ),
        (
            [[1, 2], [3]],
            "Failed to process element: 1 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
        ),
        (
            [1, 2, [3]],
            "Failed to process element: 2 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]",
        ),
        (
            [[1, 2], [[3, 4]]],
            "Failed to process element: 1 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]",
        ),
        ([[], 1], "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 0 but got: 1"),
        (
            [[], [[]]],
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [0] but got: [1,0]",
        ),
        (
            [[[1, 2], [3]]],
            "Failed to process element: 0 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ([1, "a", {"x": 1}], 'Failed to process element: 1 of \'instances\' list. Error: INVALID_ARGUMENT: JSON Value: "a" Type: '
         "String is not of expected type: float"),
    ],
)  # fmt: skip
def test_bad_values(instances: Any, message: str) -> None:
    assert refusal({"instances": instances}) == message


def test_bad_strings() -> None:
    start = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
    assert refusal({"instances": [{"b64": "!"}]}, TEXT) == start + "Unable to base64 decode"
    assert (
        refusal({"instances": [[{"x": 1}]]}, TEXT) == start + 'JSON Value: {"x": 1} not formatted correctly for base64 data'
    )
    assert refusal({"instances": [1]}, TEXT) == start + "JSON Value: 1 Type: Number is not of expected type: string"


def test_dtypes_that_json_cannot_carry() -> None:
    """In row format the wrapper is always INVALID_ARGUMENT; columnar keeps UNIMPLEMENTED."""
    inner = "Conversion of JSON Value: 1.5 to type: half"
    rows_text = f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {inner}"
    assert refusal({"instances": [1.5]}, HALF) == rows_text
    named = f"Failed to process element: 0 key: h of 'instances' list. Error: UNIMPLEMENTED: {inner}"
    assert refusal({"instances": [{"h": 1.5}]}, HALF) == named
    assert refusal({"inputs": [1.5]}, HALF, Code.UNIMPLEMENTED) == inner
    assert refusal({"inputs": {"h": [1.5]}}, HALF, Code.UNIMPLEMENTED) == inner


# Row format: named values


def test_named_values() -> None:
    assert rows([{"x": 1}, {"x": 2}]) == [[1.0, 2.0]]
    assert rows([{"b": 1, "a": [0.5]}, {"a": [1.5], "b": 2}], TWO) == [[[0.5], [1.5]], [1, 2]]
    assert rows([{"t": {"b64": "YQ=="}}, {"t": "b"}], TEXT) == [[b"a", b"b"]]
    assert rows([{"a": [], "b": [[]]}], TWO) == [[[]], [[[]]]]


def test_two_strings_by_name() -> None:
    assert rows([{"s": {"b64": "YQ=="}, "t": "b"}], TWO_TEXTS) == [[b"a"], [b"b"]]


@pytest.mark.parametrize("later", [1, None, "a", [1], {"b64": "YQ=="}])
def test_named_values_among_others(later: Any) -> None:
    message = "Expecting object but got list at item 1 of input list"
    assert refusal({"instances": [{"x": 1}, later]}) == message


def test_unknown_name() -> None:
    text = "Failed to process element: {} key: {} of 'instances' list. "
    inner = "Error: INVALID_ARGUMENT: JSON object: does not have named input: {}"
    assert refusal({"instances": [{"y": 1}]}) == (text + inner).format(0, "y", "y")
    assert refusal({"instances": [{"x": 1}, {"x": 1, "y": 1, "z": 1}]}) == (text + inner).format(1, "y", "y")
    assert refusal({"instances": [{"x": 1, "": 1}]}) == (text + inner).format(0, "", "")


def test_missing_name() -> None:
    text = "Failed to process element: {} of 'instances' list. JSON object: {} keys must be equal to: {}"
    assert refusal({"instances": [{}]}) == text.format(0, "{}", "x")
    assert refusal({"instances": [{"a": 1, "b": 1}, {"b": 1}]}, TWO) == text.format(1, '{"b": 1}', "a,b")
    unsorted = signature(spec("zeta"), spec("Alpha"), spec("beta"))
    assert refusal({"instances": [{"beta": 1}]}, unsorted) == text.format(0, '{"beta": 1}', "Alpha,beta,zeta")


def test_bad_named_values() -> None:
    text = "Failed to process element: 1 key: b of 'instances' list. Error: INVALID_ARGUMENT: "
    good = {"a": 1, "b": 1}
    wrong = "JSON Value: 1.0 Type: Number is not of expected type: int32"
    assert refusal({"instances": [good, {"a": 1, "b": 1.0}]}, TWO) == text + wrong
    assert refusal({"instances": [good, {"a": 1, "b": [1]}]}, TWO) == text + "Expecting shape [] but got: [1]"
    assert refusal({"instances": [good, {"a": 1, "b": [1, 2]}]}, TWO) == text + "Expecting tensor size: 1 but got: 2"


def test_of_several_faults_the_first_one_counts() -> None:
    """Element by element, in each the names in the order of the document."""
    value = "Failed to process element: {} key: {} of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"!\" "
    unknown = "Failed to process element: {} key: {} of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not"
    bad_b, bad_a = {"b": "!", "a": "!"}, {"a": "!", "b": "!"}
    good = {"a": 1, "b": 1}
    for faulty, start in (
        ([bad_b], value.format(0, "b")),
        ([bad_a], value.format(0, "a")),
        ([good, bad_b], value.format(1, "b")),
        ([bad_a, {"x": 1}], value.format(0, "a")),
        ([bad_a, 5], value.format(0, "a")),
        ([{"a": 1, "x": 1, "b": "!"}], unknown.format(0, "x")),
        ([{"b": "!", "x": 1}], value.format(0, "b")),
        ([good, {"a": 1, "x": 1}, bad_a], unknown.format(1, "x")),
        ([{"a": "!"}], value.format(0, "a")),
    ):
        assert refusal({"instances": faulty}, TWO).startswith(start)


# Columnar format


@pytest.mark.parametrize(
    ("value", "shape"),
    [(1, ()), ([], (0,)), ([1], (1,)), ([[1, 2], [3, 4]], (2, 2)), ([[], []], (2, 0)), ([[[1]], [[2]]], (2, 1, 1))],
)
def test_columns_have_the_shape_of_their_nesting(value: Any, shape: tuple[int, ...]) -> None:
    for written in (value, {"x": value}):
        (tensor,) = read({"inputs": written}).tensors
        assert tensor.shape == shape
        assert plain(tensor) == value
        assert not read({"inputs": written}).rows


def test_columns_may_differ_in_length() -> None:
    assert columns({"b": [1, 2, 3], "a": 0.5}, TWO) == [0.5, [1, 2, 3]]


def test_more_columns_than_inputs_are_ignored() -> None:
    assert columns({"x": [1], "y": "whatever", "z": None}) == [[1.0]]


def test_bytes_as_a_column() -> None:
    assert columns({"b64": "YQ=="}, TEXT) == [[b"a"]]
    assert columns([{"b64": "YQ=="}, "b"], TEXT) == [[b"a", b"b"]]
    assert columns({"t": {"b64": "YQ=="}}, TEXT) == [[b"a"]]
    assert columns("a", TEXT) == [[b"a"]]


def test_missing_column() -> None:
    text = "Missing named input: {} in 'inputs' object."
    assert refusal({"inputs": {}}) == text.format("x")
    assert refusal({"inputs": {"X": 1}}) == text.format("x")
    assert refusal({"inputs": {"a": 1}}, TWO) == text.format("b")
    assert refusal({"inputs": {"b64": 1}}) == text.format("x")  # no text, so no bytes


def test_several_columns_need_an_object() -> None:
    text = "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
    for value in (1, "a", None, [1], [{"a": 1, "b": 1}], {"b64": "YQ=="}):
        assert refusal({"inputs": value}, TWO) == text


def test_bad_columns_are_not_wrapped() -> None:
    assert refusal({"inputs": "a"}) == 'JSON Value: "a" Type: String is not of expected type: float'
    assert refusal({"inputs": None}) == "JSON Value: null Type: Null is not of expected type: float"
    assert refusal({"inputs": [{"x": 1}]}) == 'JSON Value: {"x": 1} Type: Object is not of expected type: float'
    assert refusal({"inputs": {"x": [[1], [2, 3]]}}) == (
        "Encountered list at unexpected size: 2 at level: 1 expected size: 1"
    )
    assert refusal({"inputs": {"b64": "!"}}, TEXT) == "Unable to base64 decode"


# Large bodies, which go another way


def large(key: str, text: str, **more: str) -> str:
    extra = "".join(f', "{name}": {value}' for name, value in more.items())
    body = f'{{"{key}": [{text}{", 1" * json_arrays.SMALLEST_NUMBER_BODY}]{extra}}}'
    assert len(body) > json_arrays.SMALLEST_NUMBER_BODY
    return body


def test_large_bodies_mean_the_same() -> None:
    of_int = signature(spec("x", "int32"))
    count = 1 + json_arrays.SMALLEST_NUMBER_BODY
    assert values(read(large("instances", "2"))) == [[2.0] + [1.0] * (count - 1)]
    assert read(large("instances", "2")).rows
    assert not read(large("inputs", "2"), of_int).rows
    assert PredictBody(large("inputs", "2", signature_name='"other"').encode()).signature_name == "other"
    assert PredictBody(large("inputs", "2").encode()).signature_name == "serving_default"
    assert "plain list" in refusal(large("instances", "2"), TWO)
    start = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: "
    assert refusal(large("instances", "1.0"), of_int) == start + "1.0 Type: Number is not of expected type: int32"
    assert refusal(large("instances", "[2]")).endswith("Expecting shape [1] but got: []")
    assert refusal(large("inputs", "2147483648"), of_int).endswith("2147483648 Type: Number is not of expected type: int32")
    assert refusal(large("inputs", "1"), signature(spec("x", "bool"))).endswith("Type: Number is not of expected type: bool")
    double = signature(spec("x", "double"))
    assert values(read(large("inputs", "18446744073709551616"), double))[0][0] == 2.0**64
    assert refusal(large("instances", "1,,2")).startswith("JSON Parse error: Invalid value. at offset: ")
    assert refusal(large("instances", "1e309")).startswith("JSON Parse error: Number too big")


# Whatever comes

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | st.just({"b64": "YQ=="})
keys = st.sampled_from(["a", "b", "x", "b64", "t"])
anything = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner), max_leaves=12)
documents = st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name", "z"]), anything)
signatures = st.sampled_from([X, TEXT, TWO, TWO_TEXTS, HALF, signature(spec("b64", "string")), signature()])


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@settings(deadline=None, max_examples=300)
@given(documents, signatures)
def test_any_document_gives_tensors_or_is_refused(document: dict[str, Any], of: Signature) -> None:
    try:
        inputs = read(document, of)
    except ServingError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)
        return
    assert inputs.rows == ("instances" in document)
    assert [tensor.dtype for tensor in inputs.tensors] == [wanted.dtype for wanted in of.inputs]
    for tensor in inputs.tensors:
        if isinstance(tensor.data, list):
            assert len(tensor.data) == int(np.prod(tensor.shape))
        else:
            assert tensor.data.shape == tensor.shape
        if inputs.rows:
            assert tensor.shape[0] == len(document["instances"])


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@settings(deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False) | st.integers(-100, 100), min_size=1), st.sampled_from(["float", "double"])
)
def test_all_ways_to_say_the_same(numbers: list[float], dtype: str) -> None:
    of = signature(spec("x", dtype))
    wanted = [np.array(numbers, dtype=BY_NAME[dtype].numpy).tolist()]
    assert rows(numbers, of) == rows([{"x": number} for number in numbers], of) == wanted
    assert columns(numbers, of) == columns({"x": numbers}, of) == wanted

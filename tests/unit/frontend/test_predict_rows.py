"""Predict bodies in row format: values, named values, and the text of every refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made_signatures import signature, spec
from predict_bodies import HALF, TEXT, TWO, TWO_TEXTS, plain, read, refusal, rows, values

from frontend.rest.predict_body import PredictBody
from ringserve.errors import Code

# Row format: the list of instances


@pytest.mark.parametrize("value", [1, "a", None, True, {}, {"b64": "AA=="}])
def test_instances_must_be_a_list(value: Any) -> None:
    shown = '{\n        "b64": "AA=="\n    }' if isinstance(value, dict) and value else json.dumps(value)
    text = f"JSON Value: {{\n    \"instances\": {shown}\n}} Expecting 'instances' to be an list/array"
    assert refusal({"instances": value}) == text


def test_instances_must_not_be_empty() -> None:
    assert refusal({"instances": []}) == "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"


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
            'Error: INVALID_ARGUMENT: JSON Value: {\n    "b64": "YQ=="\n} Type: Object is not of expected type: float',
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
        ([[], 1], "Failed to process element: 1 of 'instances' list. "
         "Error: INVALID_ARGUMENT: Expecting tensor size: 0 but got: 1"),
        (
            [[], [[]]],
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [0] but got: [1,0]",
        ),
        (
            [[[1, 2], [3]]],
            "Failed to process element: 0 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        (
            [1, "a", {"x": 1}],
            "Failed to process element: 1 of 'instances' list. "
            'Error: INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: float',
        ),
    ],
)  # fmt: skip
def test_bad_values(instances: Any, message: str) -> None:
    assert refusal({"instances": instances}) == message


def test_bad_strings() -> None:
    start = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
    assert refusal({"instances": [{"b64": "!"}]}, TEXT) == start + "Unable to base64 decode"
    assert (
        refusal({"instances": [[{"x": 1}]]}, TEXT)
        == start + 'JSON Value: {\n    "x": 1\n} not formatted correctly for base64 data'
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
    assert refusal({"instances": [{"a": 1, "b": 1}, {"b": 1}]}, TWO) == text.format(1, '{\n    "b": 1\n}', "a,b")
    unsorted = signature(spec("zeta"), spec("Alpha"), spec("beta"))
    assert refusal({"instances": [{"beta": 1}]}, unsorted) == text.format(0, '{\n    "beta": 1\n}', "Alpha,beta,zeta")


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

"""Predict bodies: which format and signature they are for, columns, and what may come in either format."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_signatures import signature, spec
from predict_bodies import HALF, TEXT, TWO, TWO_TEXTS, X, columns, plain, read, refusal, rows, values

from frontend.request_body import RequestBody
from frontend.rest import json_arrays
from frontend.rest.predict_body import PredictBody
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME

# Either format


def test_signature_name() -> None:
    assert PredictBody(b'{"instances":[1]}').signature_name == "serving_default"
    assert PredictBody(b'{"signature_name":"","instances":[1]}').signature_name == "serving_default"
    assert PredictBody(b'{"signature_name":"other"}').signature_name == "other"
    for value in ("null", "1", "true", "[]", "{}"):
        body = f'{{\n    "signature_name": {value},\n    "instances": [1]\n}}'
        with pytest.raises(ServingError) as caught:
            _ = PredictBody(body.encode()).signature_name
        text = "not formatted correctly. 'signature_name' key must be a string value."
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message == f"JSON Value: {body} {text}"


def test_which_format() -> None:
    assert refusal({}) == refusal({"x": [1]}) == "Missing 'inputs' or 'instances' key"
    body = {"instances": [1], "inputs": [1]}
    text = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    assert refusal(body) == f'JSON Value: {{\n    "instances": [1],\n    "inputs": [1]\n}} {text}'
    assert refusal({"instances": None, "inputs": None}).endswith(" to exist ")
    assert rows([1], X) == columns([1], X) == [[1.0]]


def test_unknown_keys_are_ignored() -> None:
    assert values(read({"x": {}, "instances": [1], "context": 5})) == [[1.0]]


def test_signatures_without_inputs() -> None:
    """The name is the one that was sent."""
    of = signature(name="serving_default")
    for sent, shown in (({}, "DEFAULT"), ({"signature_name": ""}, "DEFAULT"), ({"signature_name": "other"}, "other")):
        for body in ({"instances": [1]}, {}):
            assert refusal({**body, **sent}, of) == f"Failed to get input map for signature: {shown}"
    assert refusal({"signature_name": "serving_default"}, of).endswith(": serving_default")


def test_a_method_that_is_none_of_the_three_is_found_last() -> None:
    odd = replace(signature(spec("x")), method="custom")
    assert PredictBody(b'{"instances": [1]}').inputs(odd)
    for body, code in ((b'{"instances": [1]}', Code.INTERNAL), (b'{"instances": ["a"]}', Code.INVALID_ARGUMENT)):
        with pytest.raises(ServingError) as caught:
            PredictBody(body, check_method=True).inputs(odd)
        assert caught.value.code is code
    assert PredictBody(b'{"instances": [1]}', check_method=True).inputs(signature(spec("x")))


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
    assert refusal({"inputs": [{"x": 1}]}) == 'JSON Value: {\n    "x": 1\n} Type: Object is not of expected type: float'
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


# Names that stand there more than once, where upstream takes the first one


@pytest.mark.parametrize("more", ["", ', "n": NaN'])
def test_of_several_columns_the_first_one_counts(more: str) -> None:
    assert values(read(f'{{"inputs": {{"x": [1], "x": [2]}}{more}}}')) == [[1.0]]
    assert values(read(f'{{"inputs": {{"b": 1, "a": 2, "a": 3, "b": 4}}{more}}}', TWO)) == [2.0, 1]
    assert values(read(f'{{"inputs": {{"x": [1], "\\u0078": [2]}}{more}}}')) == [[1.0]]
    assert values(read(f'{{"inputs": {{"\\u0078": [1], "x": [2]}}{more}}}')) == [[1.0]]
    of = signature(spec("é", "string"))
    for one, other in (("é", "é"), ("é", "\\u00e9"), ("\\u00E9", "é"), ("\\u00e9", "\\u00E9")):
        assert values(read(f'{{"inputs": {{"{one}": "1", "{other}": "2"}}{more}}}', of)) == [[b"1"]]


@pytest.mark.parametrize("more", ["", ', "n": NaN'])
def test_of_several_names_in_a_row_the_first_one_counts(more: str) -> None:
    """Upstream puts all of them into the tensor, and shifts the rows behind."""
    assert values(read(f'{{"instances": [{{"x": 1}}, {{"x": 2, "x": 3}}]{more}}}')) == [[1.0, 2.0]]
    assert values(read(f'{{"instances": [{{"a": 1, "b": 2, "a": 3}}]{more}}}', TWO)) == [[1.0], [2]]
    text = "Failed to process element: 0 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON object: "
    assert refusal(f'{{"instances": [{{"x": 1, "a": 2, "b": 3, "x": 4}}]{more}}}', TWO).startswith(text)


def test_of_several_lists_of_numbers_the_first_one_counts() -> None:
    numbers = ", ".join(["1"] * 200)
    for key in ("instances", "inputs"):
        assert values(read(f'{{"{key}": [{numbers}], "{key}": [2]}}')) == [[1.0] * 200]
        assert values(read(f'{{"{key}": [2], "{key}": [{numbers}]}}')) == [[2.0]]


def test_names_in_texts_are_no_names() -> None:
    of = signature(spec("s", "string"), spec("t", "string"))
    assert values(read({"inputs": {"s": ["s", "t", '"s"'], "t": "t"}}, of)) == [[b"s", b"t", b'"s"'], [b"t"]]
    instances = [{"s": "t", "t": "s"}, {"s": "s", "t": "\\u0074"}]
    assert values(read({"instances": instances}, of)) == [[b"t", b"s"], [b"s", b"\\u0074"]]


def test_a_zero_ends_a_name() -> None:
    """In row format; columns are looked for by their whole name."""
    assert values(read('{"instances": [{"x\\u0000y": 1}, {"x": 2}]}')) == [[1.0, 2.0]]
    text = "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not"
    assert refusal('{"instances": [{"x": 1, "y\\u0000x": 2}]}').startswith(text)
    assert refusal('{"inputs": {"x\\u0000y": 1}}') == "Missing named input: x in 'inputs' object."


# As a RequestBody


def test_the_signature_that_is_asked_for() -> None:
    known = {"serving_default": X, "other": TWO}
    assert PredictBody(b'{"instances": [1]}').signature(known) is X
    assert PredictBody(b'{"signature_name": "other"}').signature(known) is TWO
    with pytest.raises(ServingError) as caught:
        PredictBody(b'{"signature_name": "none"}').signature(known)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == 'Serving signature name: "none" not found in signature def'


@pytest.mark.parametrize("count", [1, 200])
def test_answers_come_in_the_format_of_the_request(count: int) -> None:
    of = signature(spec("x"), outputs=(spec("y"),))
    numbers = [1.0] * count
    for key, answer in (("instances", "predictions"), ("inputs", "outputs")):
        body: RequestBody = PredictBody(json.dumps({key: numbers}).encode())
        assert body.signature({"serving_default": of}) is of
        (tensor,) = body.inputs(of)
        found = body.encode(ServableId("m", 1), of, [tensor])
        assert json.loads(found.body) == {answer: numbers}
        assert found.content_type == "application/json"
        assert found.headers == ()


def test_what_was_read_is_forgotten_while_the_request_waits() -> None:
    for text in ('{"instances": [1, "x"]}', large("instances", "2"), '{"inputs": {"x": [1]}}'):
        data = text.replace('"x"]', "2]").encode()
        before = sys.getrefcount(data)
        body = PredictBody(data)
        assert sys.getrefcount(data) > before
        (tensor,) = body.inputs(X)
        assert sys.getrefcount(data) == before
        key = "predictions" if b"instances" in data else "outputs"
        of = signature(spec("x"), outputs=(spec("y"),))
        assert json.loads(body.encode(ServableId("m", 1), of, [tensor]).body) == {key: plain(tensor)}


@pytest.mark.parametrize("text", ["1e39", '{"x": 1e39}', "[1e39]"])
def test_too_large_for_a_float32_is_infinite_without_a_warning(text: str) -> None:
    """In long lists, which cost more than a few."""
    body = f'{{"instances": [{", ".join([text] * 1024)}]}}'
    with np.errstate(over="raise"):
        (tensor,) = read(body).tensors
    assert np.isinf(tensor.data).all()


ORDERED = [
    ('{"instances": [1', "JSON Parse error: Missing a comma or ']' after an array element. at offset: 16"),
    ('[1]{"signature_name": 1}', "JSON Value: [1] Is not object"),
    ('{"signature_name": 1}', "JSON Value: {\n    \"signature_name\": 1\n} not formatted correctly. 'signature_name' key"),
    ('{"signature_name": "no", "inputs": 1, "instances": 1}', 'Serving signature name: "no" not found in signature def'),
    ('{"signature_name": "none", "inputs": 1, "instances": 1}', "Failed to get input map for signature: none"),
    ('{"inputs": "a", "instances": "a"}', 'JSON Value: {\n    "inputs": "a",\n    "instances": "a"\n} Not formatted'),
    ('{"instances": "a"}', 'JSON Value: {\n    "instances": "a"\n} Expecting \'instances\' to be an list/array'),
    ("{}", "Missing 'inputs' or 'instances' key"),
]


@pytest.mark.parametrize(("body", "text"), ORDERED)
def test_order_of_checks(body: str, text: str) -> None:
    known = {"serving_default": X, "none": signature(name="none")}
    with pytest.raises(ServingError) as caught:
        read_body = PredictBody(body.encode())
        read_body.inputs(read_body.signature(known))
    assert caught.value.message.startswith(text)

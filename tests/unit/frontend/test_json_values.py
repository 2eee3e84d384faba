"""One JSON value to one tensor: which JSON each dtype takes, what shape nesting gives, and the texts of refusals."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.rest.json_document import parse_document
from frontend.rest.json_values import MOST_DIMS, is_b64, json_type, tensor_from_value, tensor_of, text_bytes
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, DTYPES, STRING, DType

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
READABLE = ("float", "double", "bool", "string", *WHOLE)
UNREADABLE = [dtype for dtype in DTYPES.values() if dtype.name not in READABLE]


def tensor(text: str, dtype: str) -> Tensor:
    return tensor_from_value(parse_document(b'{"a":' + text.encode() + b"}")["a"], BY_NAME[dtype])


def one(text: str, dtype: str) -> Any:
    found = tensor(text, dtype)
    assert found.shape == ()
    assert not isinstance(found.data, list)
    assert found.data.shape == ()
    assert found.data.dtype.str == BY_NAME[dtype].numpy
    return found.data.item()


def refusal(value: Any, dtype: DType | str, code: Code = Code.INVALID_ARGUMENT) -> str:
    with pytest.raises(ServingError) as caught:
        tensor_from_value(value, BY_NAME[dtype] if isinstance(dtype, str) else dtype)
    assert caught.value.code is code
    return caught.value.message


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("float", "1", 1.0),
        ("float", "0.5", 0.5),
        ("float", "-0", 0.0),
        ("float", "16777217", 16777216.0),  # through double, then to float
        ("float", "18446744073709551615", 2.0**64),
        ("float", "1e39", math.inf),
        ("float", "-1e308", -math.inf),
        ("float", "1e-46", 0.0),
        ("float", "Infinity", math.inf),
        ("double", "1", 1.0),
        ("double", "9007199254740993", 2.0**53),
        ("double", "18446744073709551616", 2.0**64),
        ("double", "-Infinity", -math.inf),
        ("double", "0.1", 0.1),
        ("int32", "-2147483648", -(1 << 31)),
        ("int32", "2147483647", (1 << 31) - 1),
        ("int32", "-0", 0),
        ("int16", "70000", 70000 - 65536),  # checked as int32, then cut
        ("int8", "300", 44),
        ("int8", "-129", 127),
        ("int8", "2147483647", -1),
        ("uint8", "-1", 255),
        ("uint8", "256", 0),
        ("int64", "9223372036854775807", (1 << 63) - 1),
        ("int64", "-9223372036854775808", -(1 << 63)),
        ("uint32", "4294967295", (1 << 32) - 1),
        ("uint64", "18446744073709551615", (1 << 64) - 1),
        ("bool", "true", True),
        ("bool", "false", False),
    ],
)
def test_numbers(dtype: str, text: str, value: float) -> None:
    found = one(text, dtype)
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value)


def test_zeros_and_nan() -> None:
    assert math.copysign(1, one("-0.0", "float")) == -1
    assert math.copysign(1, one("-1e-46", "float")) == -1
    for text in ("NaN", "-NaN"):
        assert math.isnan(one(text, "float"))
        assert math.isnan(one(text, "double"))


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        *((dtype, text) for dtype in WHOLE for text in ("1.0", "1e2", "NaN", "true", "null", '"1"')),
        *((dtype, "2147483648") for dtype in ("int8", "int16", "int32", "uint8")),
        *((dtype, "-2147483649") for dtype in ("int8", "int16", "int32", "uint8")),
        ("int64", "9223372036854775808"),
        ("int64", "18446744073709551616"),
        ("int64", "-9223372036854775809"),
        ("uint32", "-1"),
        ("uint32", "4294967296"),
        ("uint64", "-1"),
        ("uint64", "18446744073709551616"),
        *((dtype, text) for dtype in ("float", "double") for text in ("true", "null", '"1"', '{"b64": "AAAA"}')),
        *(("bool", text) for text in ("0", "1", "1.0", "null", '"true"')),
        *(("string", text) for text in ("1", "1.5", "true", "null")),
    ],
)
def test_wrong_types(dtype: str, text: str) -> None:
    value = parse_document(b'{"a":' + text.encode() + b"}")["a"]
    message = refusal(value, dtype)
    assert message.startswith("JSON Value: ")
    assert message.endswith(f" Type: {json_type(value)} is not of expected type: {dtype}")
    assert refusal([value], dtype) == message


def test_the_text_of_a_wrong_type() -> None:
    assert refusal("a", "float") == 'JSON Value: "a" Type: String is not of expected type: float'
    assert refusal(None, "int32") == "JSON Value: null Type: Null is not of expected type: int32"
    text = 'JSON Value: {\n    "b64": "AA=="\n} Type: Object is not of expected type: int64'
    assert refusal({"b64": "AA=="}, "int64") == text


def test_types_have_rapidjsons_names() -> None:
    values: list[Any] = [None, True, False, {}, [], "", 1, 1.5, math.nan]
    names = ["Null", "True", "False", "Object", "Array", "String", "Number", "Number", "Number"]
    assert [json_type(value) for value in values] == names


@pytest.mark.parametrize("dtype", [*UNREADABLE, DType(99, "type_99", "")], ids=lambda dtype: dtype.name)
def test_dtypes_that_json_cannot_carry(dtype: DType) -> None:
    for value, shown in ((1, "1"), ([[2.5]], "2.5"), ("x", '"x"'), (True, "true")):
        text = f"Conversion of JSON Value: {shown} to type: {dtype.name}"
        assert refusal(value, dtype, Code.UNIMPLEMENTED) == text


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (1, ()),
        ([], (0,)),
        ([1], (1,)),
        ([1, 2, 3], (3,)),
        ([[]], (1, 0)),
        ([[], []], (2, 0)),
        ([[[], []]], (1, 2, 0)),
        ([[1, 2], [3, 4], [5, 6]], (3, 2)),
        ([[[1]], [[2]]], (2, 1, 1)),
    ],
)
def test_shapes(value: Any, shape: tuple[int, ...]) -> None:
    for dtype in READABLE:
        typed = _as(value, dtype)
        found = tensor_from_value(typed, BY_NAME[dtype])
        assert found.dtype is BY_NAME[dtype]
        assert found.shape == shape
        if isinstance(found.data, list):
            assert found.data == [b"%d" % n for n in range(1, 1 + math.prod(shape))]
        else:
            assert found.data.shape == shape
            assert found.data.tolist() == typed


def _as(value: Any, dtype: str) -> Any:
    if isinstance(value, list):
        return [_as(item, dtype) for item in value]
    return str(value) if dtype == "string" else bool(value) if dtype == "bool" else value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1, 2], [3]], "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ([[1], [2, 3]], "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([[], [1]], "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
        ([[[1, 2]], [[3, 4], [5, 6]]], "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        ([1, []], "Encountered list at unexpected level: 1 expected < 1"),
        ([[1, [2]], [3]], "Encountered list at unexpected level: 2 expected < 2"),
        ([[1], 2], "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([[], "a"], 'JSON Value: "a" found at incorrect level: 2 in the JSON DOM. Expected at level: 2'),
        ([[[1]], [2]], "JSON Value: 2 found at incorrect level: 3 in the JSON DOM. Expected at level: 3"),
        ([1, [2], "a"], "Encountered list at unexpected level: 1 expected < 1"),  # the first fault counts
        ([1, "a", [2]], 'JSON Value: "a" Type: String is not of expected type: float'),
    ],
)
def test_ragged(value: Any, message: str) -> None:
    assert refusal(value, "float") == message


def test_rank_has_a_limit() -> None:
    value: Any = 1
    for _ in range(MOST_DIMS):
        value = [value]
    assert tensor_from_value(value, BY_NAME["float"]).shape == (1,) * MOST_DIMS
    assert tensor_from_value(value, BY_NAME["int8"]).shape == (1,) * MOST_DIMS
    assert refusal([value], "float") == f"A tensor has {MOST_DIMS + 1} dimensions, at most {MOST_DIMS} can be"
    for _ in range(100_000):
        value = [value]
    assert refusal(value, "string").endswith(f"at most {MOST_DIMS} can be")
    with pytest.raises(ServingError):
        tensor_of([1], (1,) * (MOST_DIMS + 1), BY_NAME["float"])
    ragged = refusal([1, value], "float")
    assert ragged == "Encountered list at unexpected level: 1 expected < 1"


def strings(value: Any) -> list[bytes]:
    found = tensor_from_value(value, STRING)
    assert isinstance(found.data, list)
    return found.data


def test_strings() -> None:
    assert strings("a") == [b"a"]
    assert strings(["", "é", "\0", "x" * 1000]) == [b"", "é".encode(), b"\0", b"x" * 1000]
    assert strings([["a"], [{"b64": "Yg=="}]]) == [b"a", b"b"]
    assert strings({"b64": ""}) == [b""]


def test_bytes_that_are_no_utf8_stay() -> None:
    assert text_bytes("\udcff\udc80é") == b"\xff\x80\xc3\xa9"
    assert text_bytes("\ud800") == b"\xed\xa0\x80"


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("YWJj", b"abc"),
        ("YWI=", b"ab"),
        ("YWI", b"ab"),
        ("YQ==", b"a"),
        ("YQ", b"a"),
        ("YQ..", b"a"),
        ("YWI.", b"ab"),
        ("YQ=.", b"a"),
        (" Y W\nJ\tj\r\n", b"abc"),
        ("YQ= =", b"a"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("", b""),
        (" ", b""),
    ],
)
def test_base64(text: str, raw: bytes) -> None:
    assert strings({"b64": text}) == [raw]


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "YQ=",
        "Y===",
        "=",
        "====",
        "YWJj=",
        "YWJj====",
        "YQ===",
        "YWJjZA=",
        "YWJjZA===",
        "YWJj=ZGVm",
        "====YWJj",
        "Y=Q=",
        "-_-_",
        "YQ==YQ==",
        "a*b=",
        "é",
        "\ud800",
    ],
)
def test_bad_base64(text: str) -> None:
    assert refusal({"b64": text}, "string") == "Unable to base64 decode"


@pytest.mark.parametrize("value", [{}, {"b64": 1}, {"b64": None}, {"b64": "AA==", "x": 1}, {"B64": "AA=="}, {"x": "AA=="}])
def test_other_objects_are_no_strings(value: dict[str, Any]) -> None:
    assert not is_b64(value)
    message = refusal(value, "string")
    assert message.startswith("JSON Value: {")
    assert message.endswith("} not formatted correctly for base64 data")


def test_what_stands_for_bytes() -> None:
    assert is_b64({"b64": ""})
    for value in (None, "b64", ["b64"], {"b64": ["AA=="]}):
        assert not is_b64(value)


@settings(deadline=None)
@given(st.lists(st.binary()))
def test_base64_comes_back(raws: list[bytes]) -> None:
    texts = [base64.b64encode(raw).decode() for raw in raws]
    assert strings([{"b64": text} for text in texts]) == raws
    assert strings([{"b64": text.rstrip("=")} for text in texts]) == raws


@settings(deadline=None)
@given(st.sampled_from(["int8", "int16", "uint8"]), st.lists(st.integers(-(1 << 31), (1 << 31) - 1)))
def test_narrow_whole_numbers_wrap(dtype: str, values: list[int]) -> None:
    found = tensor_from_value(values, BY_NAME[dtype]).data
    kind = np.dtype(BY_NAME[dtype].numpy)
    mask = (1 << 8 * kind.itemsize) - 1
    assert isinstance(found, np.ndarray)
    assert found.dtype == kind
    assert [int(number) & mask for number in found] == [value & mask for value in values]

"""Outputs to JSON: rows and columns, every dtype, numbers that come back to the last bit, and what can't be written."""

from __future__ import annotations

import base64
import json
import math
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from made_signatures import spec

from frontend.rest.predict_answer import encode_answer
from frontend.tensors import Array, Tensor
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, STRING

WRITABLE = ("float", "double", "bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
FLOATS = ("float", "double")


def numbers(dtype: str, value: Any) -> Tensor:
    array = np.array(value, dtype=BY_NAME[dtype].numpy)
    return Tensor(BY_NAME[dtype], array.shape, array)


def texts(shape: tuple[int, ...], *elements: bytes) -> Tensor:
    return Tensor(STRING, shape, list(elements))


def encode(outputs: dict[str, Tensor], rows: bool) -> bytes:
    specs = [spec(alias, tensor.dtype.name, None) for alias, tensor in outputs.items()]
    return encode_answer(specs, list(outputs.values()), rows)


def rows(**outputs: Tensor) -> Any:
    answer = json.loads(encode(outputs, True))
    assert list(answer) == ["predictions"]
    return answer["predictions"]


def columns(**outputs: Tensor) -> Any:
    answer = json.loads(encode(outputs, False))
    assert list(answer) == ["outputs"]
    return answer["outputs"]


def refusal(rows: bool, **outputs: Tensor) -> str:
    with pytest.raises(ServingError) as caught:
        encode(outputs, rows)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_one_output_has_no_name() -> None:
    assert rows(y=numbers("float", [1, 2.5])) == [1.0, 2.5]
    assert rows(y=numbers("int32", [[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert columns(y=numbers("float", [1, 2.5])) == [1.0, 2.5]
    assert columns(y=numbers("float", 3)) == 3.0
    assert rows(y=texts((2,), b"a", b"b")) == ["a", "b"]
    assert columns(y=texts((), b"a")) == "a"


def test_several_outputs_by_name() -> None:
    one, two = numbers("float", [1, 2]), numbers("int64", [[1, 2], [3, 4]])
    strings, flags = texts((2,), b"a", b"b"), numbers("bool", [True, False])
    assert rows(a=one, b=two, c=strings, d=flags) == [
        {"a": 1.0, "b": [1, 2], "c": "a", "d": True},
        {"a": 2.0, "b": [3, 4], "c": "b", "d": False},
    ]
    assert columns(a=one, b=two, c=strings, d=flags) == {
        "a": [1.0, 2.0],
        "b": [[1, 2], [3, 4]],
        "c": ["a", "b"],
        "d": [True, False],
    }
    assert columns(a=numbers("float", 1), b=two, c=texts((), b"x")) == {"a": 1.0, "b": [[1, 2], [3, 4]], "c": "x"}


def test_columns_may_differ_in_length() -> None:
    assert columns(a=numbers("float", [1]), b=numbers("float", [1, 2])) == {"a": [1.0], "b": [1.0, 2.0]}


def test_no_output() -> None:
    assert refusal(True) == refusal(False) == "Cannot convert empty tensor map to JSON"


def test_rows_need_a_first_dimension() -> None:
    text = "Tensor name: s has no shape information "
    assert refusal(True, s=numbers("float", 1)) == text
    assert refusal(True, a=numbers("float", [1]), s=texts((), b"x")) == text


def test_rows_of_one_number() -> None:
    text = "Tensor name: b has inconsistent batch size: 3 expecting: 2"
    a, b = numbers("float", [1, 2]), numbers("float", [1, 2, 3])
    assert refusal(True, a=a, b=b) == text
    assert refusal(True, a=numbers("float", []), b=b) == "Tensor name: b has inconsistent batch size: 3 expecting: 0"
    assert refusal(True, a=b, b=numbers("float", 1)) == "Tensor name: b has no shape information "


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64", "complex128", "qint8", "quint16"])
def test_dtypes_that_json_cannot_carry(dtype: str) -> None:
    text = f"Failed to write JSON value for tensor type: {dtype}"
    values: tuple[Any, ...] = (1, [1], [[]])
    for value in values:
        assert refusal(False, y=numbers(dtype, value)) == text
    assert refusal(True, y=numbers(dtype, [1])) == text
    assert refusal(True, x=numbers("float", [1]), y=numbers(dtype, [1])) == text


@pytest.mark.parametrize("dtype", WRITABLE)
@pytest.mark.parametrize(
    "shape", [(0,), (0, 3), (3, 0), (1, 0), (0, 0), (2, 0, 3), (2, 3, 0), (2, 1, 0, 1), (0, 1, 2)], ids=str
)
def test_empty_dimensions(dtype: str, shape: tuple[int, ...]) -> None:
    empty = numbers(dtype, np.empty(shape))
    strings = texts(shape)
    nested = np.empty(shape).tolist()
    assert rows(y=empty) == columns(y=empty) == rows(y=strings) == columns(y=strings) == nested
    assert rows(y_bytes=strings) == nested
    assert columns(a=empty, b=strings) == {"a": nested, "b": nested}
    assert rows(a=empty, b=strings) == [{"a": row, "b": row} for row in nested]
    nan = numbers("float", np.full(max(shape[0], 1), np.nan))
    if shape[0]:
        assert repr(rows(a=empty, n=nan)) == repr([{"a": row, "n": math.nan} for row in nested])


@pytest.mark.parametrize("dtype", [name for name in WRITABLE if name not in (*FLOATS, "bool")])
def test_whole_numbers(dtype: str) -> None:
    limits = np.iinfo(BY_NAME[dtype].numpy)
    values = [limits.min, 0, 1, limits.max]
    assert rows(y=numbers(dtype, values)) == values  # not as texts, 64 bits neither
    assert columns(y=numbers(dtype, limits.max)) == limits.max
    assert rows(y=numbers(dtype, values), z=numbers(dtype, values)) == [{"y": value, "z": value} for value in values]


def test_flags() -> None:
    assert rows(y=numbers("bool", [True, False])) == [True, False]
    assert columns(y=numbers("bool", True)) is True


FLOAT_TEXTS = [0.1, 1 / 3, 3.0, -0.0, 0.0, 1e-45, 3.4028235e38, 1.17549435e-38, 16777216.0, 9000000.0, 0.00003, 123456.79]


def shortest(value: float) -> str:
    return repr(float(str(np.float32(value))))


def numbers_as_written(body: bytes) -> Any:
    return json.loads(body, parse_float=str, parse_constant=str)


def test_float32_is_written_short() -> None:
    """0.1, not 0.10000000149011612: in every format and beside numbers that are not finite."""
    tensor = numbers("float", FLOAT_TEXTS)
    wanted = [shortest(value) for value in FLOAT_TEXTS]

    def check(found: list[Any]) -> None:
        assert all(type(text) is str for text in found), "floats have a point or an exponent"
        assert list(map(float, found)) == list(map(float, wanted))
        assert [text.startswith("-") for text in found] == [text.startswith("-") for text in wanted]

    for as_rows, key in ((True, "predictions"), (False, "outputs")):
        check(numbers_as_written(encode({"y": tensor}, as_rows))[key])
        with_nan = numbers("float", [*FLOAT_TEXTS, np.nan])
        check(numbers_as_written(encode({"y": with_nan}, as_rows))[key][:-1])
    for other in (0.0, np.nan):
        others = numbers("float", np.full(len(FLOAT_TEXTS), other))
        check([row["y"] for row in numbers_as_written(encode({"y": tensor, "z": others}, True))["predictions"]])
        check(numbers_as_written(encode({"y": tensor, "z": others}, False))["outputs"]["y"])
    for value in FLOAT_TEXTS:
        check_one = numbers_as_written(encode({"y": numbers("float", value)}, False))["outputs"]
        assert float(check_one) == float(shortest(value))


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_that_are_not_finite(dtype: str) -> None:
    """Bare words, as upstream writes them; Python's json takes them."""
    tensor = numbers(dtype, [np.nan, np.inf, -np.inf, 0.5])
    for body in (encode({"y": tensor}, True), encode({"y": tensor}, False)):
        for word in (b"NaN", b"Infinity", b"-Infinity", b"0.5"):
            assert word in body
        assert b"null" not in body
    assert repr(rows(y=tensor)) == "[nan, inf, -inf, 0.5]"
    for value, text in ((np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")):
        assert repr(columns(y=numbers(dtype, value))) == text


@pytest.mark.parametrize("dtype", FLOATS)
def test_not_finite_beside_others(dtype: str) -> None:
    """Whatever stands beside such a number is written as ever."""
    outputs = {
        "bad": numbers(dtype, [[1.5, np.nan], [np.inf, -0.0]]),
        "lone": numbers(dtype, [np.nan, 0.1]),
        "good": numbers("float", [0.1, 2]),
        "whole": numbers("uint64", [(1 << 64) - 1, 0]),
        "flag": numbers("bool", [True, False]),
        "small": numbers("int8", [[-1], [1]]),
        "text": texts((2,), b"null", "é".encode()),
        "raw_bytes": texts((2, 1), b"\xff", b""),
        "none": numbers("float", np.empty((2, 0))),
    }
    first = {
        "bad": [1.5, math.nan], "lone": math.nan, "good": 0.1, "whole": (1 << 64) - 1, "flag": True, "small": [-1],
        "text": "null", "raw_bytes": [{"b64": "/w=="}], "none": [],
    }  # fmt: skip
    second = {
        "bad": [math.inf, -0.0], "lone": 0.1, "good": 2.0, "whole": 0, "flag": False, "small": [1],
        "text": "é", "raw_bytes": [{"b64": ""}], "none": [],
    }  # fmt: skip
    assert repr(rows(**outputs)) == repr([first, second])
    assert repr(columns(**outputs)) == repr({key: [first[key], second[key]] for key in first})


def test_the_words_stand_where_the_numbers_are() -> None:
    mixed = numbers("float", [np.nan, 0.1, np.inf, -np.inf, np.nan, -2])
    assert encode({"y": mixed}, True) == b'{"predictions":[NaN,0.1,Infinity,-Infinity,NaN,-2.0]}'
    assert encode({"y": numbers("double", [[np.nan], [1]])}, False) == b'{"outputs":[[NaN],[1.0]]}'
    assert encode({"y": numbers("float", -np.inf)}, False) == b'{"outputs":-Infinity}'
    two = {"null": texts((2,), b"null", b"[null"), "y": numbers("float", [[1, np.nan], [-np.inf, 0.5]])}
    assert encode(two, False) == b'{"outputs":{"null":["null","[null"],"y":[[1.0,NaN],[-Infinity,0.5]]}}'
    assert encode(two, True) == (b'{"predictions":[{"null":"null","y":[1.0,NaN]},{"null":"[null","y":[-Infinity,0.5]}]}')
    three = {
        "a": numbers("double", [np.inf, 0.1, np.nan]),
        "b": texts((3,), b"null", b"", b"null"),
        "c": numbers("float", np.empty((3, 2, 0))),
        "d": numbers("float", [[[1, np.nan]], [[2, 3]], [[-np.inf, 4]]]),
    }
    assert encode(three, True) == (
        b'{"predictions":[{"a":Infinity,"b":"null","c":[[],[]],"d":[[1.0,NaN]]},'
        b'{"a":0.1,"b":"","c":[[],[]],"d":[[2.0,3.0]]},{"a":NaN,"b":"null","c":[[],[]],"d":[[-Infinity,4.0]]}]}'
    )


@pytest.mark.parametrize("rows_of_many", [False, True])
def test_no_number_becomes_an_object_beside_one_that_is_not_finite(rows_of_many: bool) -> None:
    """A large answer with one NaN takes no Python object an element: its text is the array's."""
    array = np.zeros((1000, 100), "<f4")
    array[500, 50] = np.nan
    outputs = {"y": numbers("float", array)} | ({"z": numbers("float", array)} if rows_of_many else {})
    tracemalloc.start()
    body = encode(outputs, rows_of_many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert body.count(b"NaN") == len(outputs)
    assert peak < 5 * len(body)


def test_a_text_null_is_no_number() -> None:
    assert rows(y=texts((2,), b"null", b"NaN"), z=numbers("float", [1, 2])) == [
        {"y": "null", "z": 1.0},
        {"y": "NaN", "z": 2.0},
    ]
    assert rows(null=numbers("float", [1]), z=numbers("float", [2])) == [{"null": 1.0, "z": 2.0}]


def test_strings() -> None:
    elements = [b"", b'"\\/', b"\0\x01\x1f\x7f\n\r\t\b\f", "é€😀\u2028".encode()]
    assert rows(y=texts((4,), *elements)) == [element.decode() for element in elements]
    assert rows(y=texts((2, 2), *elements)) == [
        [elements[0].decode(), elements[1].decode()],
        [*map(bytes.decode, elements[2:])],
    ]


def test_strings_that_are_no_utf8() -> None:
    """The body stays JSON: what is no UTF-8 is replaced. Outputs named …_bytes carry every byte."""
    broken = [b"\xff", b"a\xc3", b"\xed\xa0\x80"]
    found = rows(y=texts((3,), *broken))
    assert found[:2] == ["\ufffd", "a\ufffd"]
    assert set(found[2]) == {"\ufffd"}
    assert rows(y_bytes=texts((3,), *broken)) == [{"b64": base64.b64encode(raw).decode()} for raw in broken]


def test_bytes_by_name() -> None:
    wanted = {"b64": "YQ=="}
    assert rows(img_bytes=texts((1,), b"a")) == [wanted]
    assert columns(img_bytes=texts((), b"a")) == wanted
    assert columns(img_bytes=texts((1, 1), b"a")) == [[wanted]]
    assert rows(_bytes=texts((1,), b"a"), y=numbers("float", [1])) == [{"_bytes": wanted, "y": 1.0}]
    assert rows(x_bytes=numbers("float", [1])) == [1.0]  # for strings only
    assert rows(bytes=texts((1,), b"a")) == ["a"]
    assert rows(x_Bytes=texts((1,), b"a")) == ["a"]


def test_views_of_a_lane() -> None:
    """Rows of a column, and memory that may only be read: written from where they are."""
    column = np.arange(24, dtype="<f4").reshape(6, 4)
    column.flags.writeable = False
    for array in (column, column[2:4], column[5:6], column[1:1]):
        tensor = Tensor(BY_NAME["float"], array.shape, array)
        assert rows(y=tensor) == columns(y=tensor) == array.tolist()
        assert rows(y=tensor, z=tensor) == [{"y": row, "z": row} for row in array.tolist()]


def test_large_arrays() -> None:
    array = np.random.default_rng(1).standard_normal((500, 1000)).astype("<f4")
    tensor = numbers("float", array)
    found = np.array(rows(y=tensor), dtype="<f4")
    assert found.tobytes() == array.tobytes()
    array[499, 999] = np.nan
    found = np.array(columns(y=tensor if tensor.data is array else numbers("float", array)), dtype="<f4")
    assert np.array_equal(found, array, equal_nan=True)


def as_written(tensor: Tensor, alias: str) -> Any:
    """What `json.loads` is to find."""
    if not isinstance(tensor.data, list):
        return tensor.data.tolist()
    if alias.endswith("_bytes"):
        flat: list[Any] = [{"b64": base64.b64encode(raw).decode()} for raw in tensor.data]
    else:
        flat = [raw.decode("utf-8", "replace") for raw in tensor.data]
    nested = np.empty(len(flat), dtype=object)
    nested[:] = flat
    return nested.reshape(tensor.shape).tolist()


def alike(found: Any, wanted: Any, dtype: str) -> bool:
    """Equal to the last bit of the dtype, which numbers have to be turned into: 0.1 is another double than float32's."""
    if dtype not in FLOATS:
        return bool(found == wanted)
    kind = BY_NAME[dtype].numpy
    one, other = np.array(found, dtype=kind), np.array(wanted, dtype=kind)
    if one.shape != other.shape and one.size:
        return False
    signs = np.array_equal(np.signbit(one[~np.isnan(one)]), np.signbit(other[~np.isnan(other)]))
    return signs and np.array_equal(one, other, equal_nan=True)


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...]) -> Tensor:
    dtype = draw(st.sampled_from([*WRITABLE, "string"]))
    if dtype == "string":
        count = math.prod(shape)
        return texts(shape, *draw(st.lists(st.binary(max_size=4), min_size=count, max_size=count)))
    array: Array = draw(npst.arrays(BY_NAME[dtype].numpy, shape))
    return Tensor(BY_NAME[dtype], array.shape, array)


shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
aliases = st.lists(st.sampled_from(["a", "b_bytes", "ü", '"', "null"]), min_size=1, max_size=3, unique=True)


@settings(deadline=None, max_examples=200)
@given(aliases, st.integers(0, 3), st.lists(shapes, min_size=3, max_size=3), st.data())
def test_answers_come_back(names: Sequence[str], batch: int, inner: list[tuple[int, ...]], data: st.DataObject) -> None:
    some = [data.draw(tensors((batch, *shape))) for _, shape in zip(names, inner, strict=False)]
    outputs = dict(zip(names, some, strict=True))
    by_column = json.loads(encode(outputs, False))["outputs"]
    by_row = json.loads(encode(outputs, True))["predictions"]
    if len(names) == 1:
        by_column, by_row = {names[0]: by_column}, [{names[0]: row} for row in by_row]
    assert len(by_row) == batch
    for name, tensor in outputs.items():
        wanted = as_written(tensor, name)
        assert alike(by_column[name], wanted, tensor.dtype.name)
        assert alike([row[name] for row in by_row], wanted, tensor.dtype.name)
        assert all(list(row) == list(names) for row in by_row)


@settings(deadline=None)
@given(tensors(()))
def test_scalars_come_back(tensor: Tensor) -> None:
    assert alike(columns(y=tensor), as_written(tensor, "y"), tensor.dtype.name)

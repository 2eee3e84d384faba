"""Packed tensors to arrays and back, whatever they hold, against a plain model of lists."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ringserve.tensor import BY_NAME, DTYPES, STRING
from shm.packed import PackedTensor, pack_strings, unpack_strings
from workers.packed_arrays import packed, stored, unpacked

NUMERIC = sorted(dtype.number for dtype in DTYPES.values() if dtype.numpy)
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.data(), st.sampled_from(NUMERIC), shapes)
def test_numbers_come_back_bit_by_bit(data: st.DataObject, number: int, shape: tuple[int, ...]) -> None:
    dtype = DTYPES[number]
    size = prod(shape) * np.dtype(dtype.numpy).itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    if dtype.name == "bool":
        raw = bytes(byte & 1 for byte in raw)
    array = unpacked(PackedTensor(number, shape, raw))
    assert (array.shape, array.dtype, array.flags.writeable) == (shape, np.dtype(dtype.numpy), True)
    again = packed(dtype, stored(dtype, array))
    assert (again.dtype, again.shape, bytes(again.data)) == (number, shape, raw)


@given(st.data(), shapes)
def test_strings_come_back(data: st.DataObject, shape: tuple[int, ...]) -> None:
    count = prod(shape)
    texts = data.draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
    array = unpacked(PackedTensor(STRING.number, shape, pack_strings(texts)))
    assert array.shape == shape
    assert array.reshape(-1).tolist() == texts
    again = packed(STRING, stored(STRING, array))
    assert again.shape == shape
    assert unpack_strings(again.data, count) == texts


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (PackedTensor(1, (3,), b"1234"), "reshape"),
        (PackedTensor(1, (1,), b"123"), "buffer size"),
        (PackedTensor(1, (0, 1 << 62, 1 << 62), b""), "too big"),
        (PackedTensor(1, (1,) * 65, b"1234"), "maximum supported dimension"),
        (PackedTensor(7, (3,), b""), "shorter than its table"),
        (PackedTensor(7, (1 << 40,), b""), "shorter than its table"),
        (PackedTensor(7, (0, 1 << 62, 1 << 62), b""), "too big"),
        (PackedTensor(20, (), b""), "resource"),
        (PackedTensor(99, (1,), b"1234"), "type_99"),
    ],
)
def test_what_is_no_tensor(tensor: PackedTensor, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        unpacked(tensor)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("int64", np.arange(3, dtype=np.int8), [0, 1, 2]),
        ("int64", [1, 2], [1, 2]),
        ("int32", np.array([65535], dtype=np.uint16), [65535]),
        ("double", np.array([0.5], dtype=np.float16), [0.5]),
        ("float", np.array([0.5], dtype=">f4"), [0.5]),
        ("float", np.arange(6, dtype=np.float32).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        ("bool", [True], [True]),
        ("string", [b"a\0", "ü"], [b"a\0", "ü".encode()]),
        ("string", np.array(["ab", "c"]), [b"ab", b"c"]),
        ("string", np.array([b"ab"]), [b"ab"]),
        ("string", "text", b"text"),
        ("string", [], []),
    ],
)
def test_what_is_converted(dtype: str, value: Any, expected: Any) -> None:
    array = stored(BY_NAME[dtype], value)
    assert array.tolist() == expected
    assert array.flags.c_contiguous
    assert array.dtype == (object if dtype == "string" else np.dtype(BY_NAME[dtype].numpy))


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("float", np.zeros(1), "is an array of float64, expected float32"),
        ("float", [1], "is an array of int64, expected float32"),
        ("double", np.zeros(1, dtype=np.int32), "is an array of int32, expected float64"),
        ("int32", np.zeros(1, dtype=np.uint32), "is an array of uint32, expected int32"),
        ("int64", [True], "is an array of bool"),
        ("int64", [2**70], "is an array of object"),
        ("int64", [1, None], "is an array of object"),
        ("int64", None, "is an array of object"),
        ("int64", [[1], [1, 2]], "inhomogeneous"),
        ("string", [b"a", 5], "holds a int, expected bytes"),
        ("string", [None], "holds a NoneType"),
        ("string", np.zeros(1), "holds a float"),
        ("string", ["\ud800"], "surrogates"),
    ],
)
def test_what_is_not(dtype: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        stored(BY_NAME[dtype], value)

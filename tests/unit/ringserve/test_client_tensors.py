"""Plain values, arrays and tensors, one to the other."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ringserve.client.tensors import array_of, has_type, numbers_of, strings_of, tensor_of
from ringserve.errors import Code, ServingError
from ringserve.model_spec_writer import model_spec_field
from ringserve.predict_request_writer import predict_request
from ringserve.protos import message_module
from ringserve.tensor import BY_NAME, STRING
from ringserve.tensor_proto_reader import read_tensor

NUMBERS = ["float", "double", "half", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]
NUMBERS += ["complex64", "complex128"]


@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda name: npst.arrays(
            np.dtype(BY_NAME[name].numpy).newbyteorder(">"), npst.array_shapes(min_dims=0, min_side=0, max_side=4)
        )
    )
)
def test_arrays_come_back_through_protobufs_message(array: Any) -> None:
    """Whatever their byte order and layout."""
    for given_array in (array, array.T, array.astype(array.dtype.newbyteorder("="))):
        message = predict_request(model_spec_field("m"), [("x", *tensor_of(given_array))])
        sent = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest.FromString(message)
        found = read_tensor(sent.inputs["x"].SerializeToString())
        back = array_of(BY_NAME[_name(found.dtype)], found.shape, found.values)
        np.testing.assert_array_equal(back, given_array)
        assert back.dtype == array.dtype.newbyteorder("=")
        assert back.flags.writeable


def _name(number: int) -> str:
    return next(name for name, dtype in BY_NAME.items() if dtype.number == number)


def test_bfloat16_both_ways() -> None:
    values = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    dtype, shape, data = tensor_of(values)
    assert dtype.name == "bfloat16"
    assert isinstance(data, np.ndarray)
    assert data.tolist() == [0x3FC0, 0xC000]
    np.testing.assert_array_equal(array_of(dtype, shape, data), values)
    assert numbers_of([1.5, -2], dtype)[2].tolist() == [0x3FC0, 0xC000]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "shape", "strings"),
    [
        ("é", (), ["é".encode()]),
        (b"a\0", (), [b"a\0"]),
        (["a\0", b"\xff"], (2,), [b"a\0", b"\xff"]),
        ([["a"], ["b"]], (2, 1), [b"a", b"b"]),
        (np.array(["a", "bc"]), (2,), [b"a", b"bc"]),
        (np.array([[b"a", b"bc"]]), (1, 2), [b"a", b"bc"]),
        (np.array([b"a\0", "b", bytearray(b"c")], object), (3,), [b"a\0", b"b", b"c"]),
        (np.array(["a", "bc"], np.dtypes.StringDType()), (2,), [b"a", b"bc"]),
    ],
)
def test_strings(value: Any, shape: tuple[int, ...], strings: list[bytes]) -> None:
    found = tensor_of(value) if has_type(value) else strings_of(value)
    assert found == (STRING, shape, strings)
    assert array_of(STRING, shape, strings).shape == shape


def test_numbers_are_no_strings() -> None:
    assert strings_of([1, 2]) is None
    assert strings_of([]) is None


@pytest.mark.parametrize(
    ("value", "name", "found"),
    [
        ([1, 2.5], "float", [1.0, 2.5]),
        (1e300, "float", np.inf),
        ([1, -1], "int8", [1, -1]),
        ([True, False], "int32", [1, 0]),
        ([True, False], "bool", [True, False]),
        ([[], []], "int64", [[], []]),
        ([1, 2j], "complex64", [1, 2j]),
        ([255, 0], "uint8", [255, 0]),
        ([1.5], "half", [1.5]),
        ([7], "qint8", [7]),
    ],
)
def test_plain_numbers(value: Any, name: str, found: Any) -> None:
    dtype, shape, data = numbers_of(value, BY_NAME[name])
    assert isinstance(data, np.ndarray)
    assert data.tolist() == found
    assert data.dtype == np.dtype(BY_NAME[name].numpy)
    assert (dtype, tuple(shape)) == (BY_NAME[name], np.shape(found))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ([1.5], "int32"),
        ([128], "int8"),
        ([-1], "uint64"),
        ([1 << 63], "int64"),
        ([1 << 64], "int64"),
        ([1], "bool"),
        ([1j], "float"),
        ([1j], "bfloat16"),
        ([1], "string"),
        ([1], "resource"),
        ([[1], [2, 3]], "float"),
        ([None], "complex64"),
    ],
)
def test_plain_numbers_that_do_not_fit(value: Any, name: str) -> None:
    with pytest.raises(ServingError) as caught:
        numbers_of(value, BY_NAME[name])
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("value", [["a", 1], [["a"], ["b", "c"]], ["a", ["b"]], "\ud800"])
def test_strings_and_something_else(value: Any) -> None:
    with pytest.raises(ServingError) as caught:
        strings_of(value)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_more_dimensions_than_numpy_has() -> None:
    with pytest.raises(ServingError, match="65 dimensions") as caught:
        array_of(BY_NAME["float"], (1,) * 65, np.zeros(1, np.float32))
    assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("name", "values"), [("float", np.zeros(0, np.float32)), ("string", []), ("bfloat16", np.zeros(0, "<u2"))]
)
@pytest.mark.parametrize("shape", [(0, 1 << 40, 1 << 40), (1 << 62, 0)])
def test_empty_arrays_that_numpy_has_not(name: str, values: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ServingError, match=f"an array of the shape .*{1 << 40 if shape[0] == 0 else 1 << 62}") as caught:
        array_of(BY_NAME[name], shape, values)
    assert caught.value.code is Code.UNIMPLEMENTED

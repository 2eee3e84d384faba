"""What is written by hand against what the real messages read and write."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ringserve.errors import Code, ServingError
from ringserve.predict_response import Output, predict_response
from ringserve.protos import message_module
from ringserve.servable import ServableId
from ringserve.tensor import BY_NAME, DTYPES, STRING, DType
from ringserve.tensor_proto_reader import read_tensor
from ringserve.tensor_proto_writer import length_of, tensor_proto_parts, varint, varints

TensorProto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto
PredictResponse = message_module("tensorflow_serving.apis.predict_pb2").PredictResponse

NUMBERS = [dtype for dtype in DTYPES.values() if dtype.numpy]
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def written(dtype: DType, shape: tuple[int, ...], data: Any, content: bool = False) -> Any:
    parts = tensor_proto_parts(dtype, shape, data, content)
    encoded = b"".join(parts)
    assert length_of(parts) == len(encoded)
    return TensorProto.FromString(encoded)


def real(dtype: DType, shape: tuple[int, ...], **fields: Any) -> Any:
    made = TensorProto(dtype=dtype.number, **fields)
    made.tensor_shape.SetInParent()
    for dim in shape:
        made.tensor_shape.dim.add(size=dim)
    return made


def field_of(dtype: DType, array: Any) -> dict[str, Any]:
    """The field that the type's values belong in, filled the slow way."""
    flat = array.reshape(-1)
    if dtype.name.startswith("complex"):
        parts = [part for number in flat.tolist() for part in (number.real, number.imag)]
        return {"scomplex_val" if dtype.name == "complex64" else "dcomplex_val": parts}
    if dtype.name in ("half", "bfloat16"):
        return {"half_val": flat.view("<u2").tolist()}
    names = {"float": "float_val", "double": "double_val", "int64": "int64_val", "bool": "bool_val"}
    names |= {"uint32": "uint32_val", "uint64": "uint64_val"}
    return {names.get(dtype.name, "int_val"): flat.tolist()}


@given(st.data(), st.sampled_from(NUMBERS), SHAPES)
def test_numbers_in_the_field_of_their_type(data: st.DataObject, dtype: DType, shape: tuple[int, ...]) -> None:
    array = data.draw(npst.arrays(dtype.numpy, shape))
    proto = written(dtype, shape, array)
    assert proto.SerializeToString() == real(dtype, shape, **field_of(dtype, array)).SerializeToString()
    assert b"".join(tensor_proto_parts(dtype, shape, array)) == proto.SerializeToString(), "the usual order"
    decoded = read_tensor(proto.SerializeToString())
    assert (decoded.dtype, decoded.shape) == (dtype.number, shape)
    assert isinstance(decoded.values, np.ndarray)
    assert decoded.values.tobytes() == array.tobytes()


@given(st.data(), st.sampled_from(NUMBERS), SHAPES)
def test_numbers_in_tensor_content(data: st.DataObject, dtype: DType, shape: tuple[int, ...]) -> None:
    array = data.draw(npst.arrays(dtype.numpy, shape))
    proto = written(dtype, shape, array, content=True)
    assert proto.SerializeToString() == real(dtype, shape, tensor_content=array.tobytes()).SerializeToString()


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_strings(strings: list[bytes]) -> None:
    shape = (len(strings),)
    assert written(STRING, shape, strings) == real(STRING, shape, string_val=strings)
    proto = written(STRING, shape, strings, content=True)
    assert not proto.string_val
    assert read_tensor(proto.SerializeToString()).values == strings


@given(st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 300), max_size=50))
def test_varints_of_every_length(numbers: list[int]) -> None:
    assert b"".join(varints(np.array(numbers, np.uint64))) == b"".join(map(varint, numbers))
    assert list(TensorProto.FromString(b"".join(tensor_proto_parts(BY_NAME["uint64"], (len(numbers),),
                np.array(numbers, "<u8")))).uint64_val) == numbers  # fmt: skip


def test_varints_of_more_numbers_than_are_done_at_a_time() -> None:
    numbers = np.random.default_rng(0).integers(-(1 << 40), 1 << 40, 40_000) >> np.arange(40_000) % 41
    proto = written(BY_NAME["int64"], (40_000,), numbers)
    assert list(proto.int64_val) == numbers.tolist()


def test_many_numbers_are_not_copied() -> None:
    array = np.ones((300, 4), "<f4")
    assert any(
        np.shares_memory(np.frombuffer(part, np.uint8), array)
        for part in tensor_proto_parts(BY_NAME["float"], (300, 4), array)
    )


def test_views_of_every_layout() -> None:
    array = np.arange(24, dtype="<i4").reshape(2, 3, 4).transpose(2, 0, 1)
    assert list(written(BY_NAME["int32"], array.shape, array).int_val) == array.reshape(-1).tolist()


def test_large_dimensions() -> None:
    proto = written(BY_NAME["float"], (0, 1 << 62), np.empty(0, "<f4"))
    assert [dim.size for dim in proto.tensor_shape.dim] == [0, 1 << 62]


def test_types_without_a_size() -> None:
    with pytest.raises(ServingError, match="resource") as caught:
        tensor_proto_parts(BY_NAME["resource"], (), np.empty(0))
    assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("content", [False, True])
def test_a_response(content: bool) -> None:
    floats, names = np.arange(300, dtype="<f4").reshape(30, 10), [b"a", b"\xff\0", b""]
    outputs: list[Output] = [("y", BY_NAME["float"], (30, 10), floats), ("ü", STRING, (3,), names)]
    response = PredictResponse.FromString(predict_response(ServableId("môdel", 1 << 40), "sig", outputs, content))
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("môdel", 1 << 40, "sig")
    assert spec.WhichOneof("version_choice") == "version"
    assert set(response.outputs) == {"y", "ü"}
    assert bool(response.outputs["y"].float_val) is not content
    found = read_tensor(response.outputs["y"].SerializeToString())
    assert found.shape == (30, 10)
    assert isinstance(found.values, np.ndarray)
    assert found.values.tobytes() == floats.tobytes()
    assert read_tensor(response.outputs["ü"].SerializeToString()).values == names


def test_a_response_of_version_0_without_outputs() -> None:
    response = PredictResponse.FromString(predict_response(ServableId("m", 0), "s", []))
    assert response.model_spec.HasField("version")
    assert response.model_spec.version.value == 0
    assert not response.outputs


@given(st.integers(0, (1 << 64) - 1))
def test_one_varint(number: int) -> None:
    encoded = varint(number)
    assert len(encoded) == max(1, math.ceil(number.bit_length() / 7))
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded)) == number

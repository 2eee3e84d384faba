"""KServe V2's element types, and how tensors lie in its binary bodies and raw contents."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ringserve.client.tensors import Array, Tensor, array_of
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, STRING, DType

_NAMES: Final = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "half": "FP16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "bfloat16": "BF16",
}
_TYPES: Final = {v2: BY_NAME[name] for name, v2 in _NAMES.items()}
_LENGTH: Final = struct.Struct("<I")
_MOST_DIMS: Final = 64


def v2_name(dtype: DType) -> str:
    """Raises ServingError (UNIMPLEMENTED) for types that V2 does not have."""
    try:
        return _NAMES[dtype.name]
    except KeyError:
        raise ServingError(Code.UNIMPLEMENTED, f"KServe V2 has no {dtype.name}") from None


def v2_type(name: str) -> DType:
    """Raises ValueError for what is none."""
    if name not in _TYPES:
        raise ValueError(f"{name!r} is no type of KServe V2's")
    return _TYPES[name]


def raw_bytes(tensor: Tensor) -> bytes:
    """Its elements row by row, little-endian; strings with their lengths before them."""
    _, _, values = tensor
    if isinstance(values, list):
        return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))
    return values.tobytes()


def raw_array(name: str, shape: Sequence[int], data: bytes) -> Array:
    """`name`: of the type. Raises ValueError where the bytes do not fill the shape."""
    dtype = v2_type(name)
    count = elements(shape)
    if dtype is STRING:
        return array_of(dtype, shape, _strings(data, count))
    if len(data) != count * np.dtype(dtype.numpy).itemsize:
        raise ValueError(f"{len(data)} bytes are no {name} of the shape {list(shape)}")
    return array_of(dtype, shape, np.frombuffer(data, dtype.numpy))


def listed_array(name: str, shape: Sequence[int], data: Any) -> Array:
    """`data`: a list of the elements, nested or not. Raises ValueError and TypeError."""
    dtype = v2_type(name)
    if dtype is STRING:
        values = [value if isinstance(value, bytes) else value.encode() for value in np.asarray(data, object).ravel()]
        if len(values) != elements(shape):
            raise ValueError(f"{len(values)} strings do not fill the shape {list(shape)}")
        return array_of(dtype, shape, values)
    storage = "<f4" if dtype.name == "bfloat16" else dtype.numpy
    return np.asarray(data, dtype=storage).reshape(tuple(shape))


def elements(shape: Sequence[int]) -> int:
    """Raises ValueError for what is no shape."""
    if not all(type(size) is int and size >= 0 for size in shape) or len(shape) > _MOST_DIMS:
        raise ValueError(f"{shape!r:.200} is no shape")
    return math.prod(shape)


def _strings(data: bytes, count: int) -> list[bytes]:
    values = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("a string's length is cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > len(data) - at:
            raise ValueError("a string is cut off")
        values.append(data[at : at + length])
        at += length
    if len(values) != count:
        raise ValueError(f"{len(values)} strings instead of {count}")
    return values

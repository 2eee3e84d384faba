"""Packed tensors to numpy arrays and back, as servables of plug-ins see them: strings are object arrays of bytes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ringserve.signature import TensorSpec
from ringserve.tensor import STRING, DType, dtype_of
from shm.packed import PackedTensor, pack_strings, unpack_strings

Array = npt.NDArray[Any]

_KINDS = {"u": "i"}  # both are integers; what fits is told by the sizes


def unpacked(tensor: PackedTensor) -> Array:
    """A tensor as an array of its own memory. Raises ValueError when its bytes do not fit its type and shape."""
    dtype = dtype_of(tensor.dtype)
    if dtype.numpy:
        return np.frombuffer(tensor.data, dtype=dtype.numpy).reshape(tensor.shape).copy()
    if dtype != STRING:
        raise ValueError(f"a tensor of type {dtype.name} has no array")
    texts = unpack_strings(tensor.data, prod(tensor.shape))
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(tensor.shape)


def packed(dtype: DType, array: Array) -> PackedTensor:
    """An array that `stored` made for this type, as a packed message carries it."""
    if dtype == STRING:
        return PackedTensor(dtype.number, array.shape, pack_strings(array.reshape(-1).tolist()))
    return PackedTensor(dtype.number, array.shape, array.reshape(-1).view(np.uint8).data if array.size else b"")


def stored(dtype: DType, value: Any) -> Array:
    """A value as a contiguous array of exactly this type.

    Numbers may be of a smaller type of the same kind, strings may be `str`. Raises ValueError for all else.
    """
    return _strings(value) if dtype == STRING else _numbers(dtype, value)


def check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    """Raises ValueError when a tensor of this shape is not as declared."""
    if spec.shape is None:
        return
    if len(shape) != len(spec.shape) or any(want not in (-1, have) for want, have in zip(spec.shape, shape, strict=True)):
        raise ValueError(f"has the shape {list(shape)}, expected {list(spec.shape)}")


def _numbers(dtype: DType, value: Any) -> Array:
    array = np.asarray(value)
    target = np.dtype(dtype.numpy)
    kinds = [_KINDS.get(kind, kind) for kind in (array.dtype.kind, target.kind)]
    if kinds[0] != kinds[1] or not np.can_cast(array.dtype, target, "safe"):
        raise ValueError(f"is an array of {array.dtype}, expected {target}")
    return np.asarray(array, dtype=target, order="C")


def _strings(value: Any) -> Array:
    # A list not by way of numpy's own text types, which lose zeros at the end.
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
    texts = [_bytes(element) for element in array.astype(object).reshape(-1).tolist()]
    made = np.empty(len(texts), dtype=object)
    made[:] = texts
    return made.reshape(array.shape)


def _bytes(element: Any) -> bytes:
    if isinstance(element, bytes):
        return bytes(element)
    if isinstance(element, str):
        return element.encode()
    raise ValueError(f"holds a {type(element).__name__}, expected bytes")

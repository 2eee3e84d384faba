"""Tensors on their way through a front end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringserve.tensor import DType, dtype_of
from shm.packed import PackedTensor, pack_strings, unpack_strings

Array = npt.NDArray[Any]


class Tensor(NamedTuple):
    """`data` is an array of the dtype's storage (`DType.numpy`), or, for strings, the elements in row-major order."""

    dtype: DType
    shape: tuple[int, ...]
    data: Array | list[bytes]

    def packed(self) -> PackedTensor:
        """As a packed message carries it."""
        if isinstance(self.data, list):
            return PackedTensor(self.dtype.number, self.shape, pack_strings(self.data))
        array = np.ascontiguousarray(self.data)
        return PackedTensor(self.dtype.number, self.shape, array.reshape(-1).view(np.uint8).data if array.size else b"")


def unpacked(tensor: PackedTensor) -> Tensor:
    """A tensor of a packed answer; numbers stay views of the lane. Raises ValueError when its bytes don't fit its shape."""
    dtype = dtype_of(tensor.dtype)
    count = 1
    for dim in tensor.shape:
        count *= dim
    if not dtype.numpy:
        return Tensor(dtype, tensor.shape, unpack_strings(tensor.data, count))
    return Tensor(dtype, tensor.shape, np.frombuffer(tensor.data, dtype=dtype.numpy, count=count).reshape(tensor.shape))

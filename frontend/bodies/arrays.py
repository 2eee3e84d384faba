"""Tensors as views of bytes from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from frontend.bodies.body_options import Buffer
from frontend.endpoint import TooLargeError
from frontend.tensors import Array, Tensor
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, DType

MOST_DIMS: Final = 64  # numpy's limit
_MOST_ELEMENTS: Final = (1 << 63) - 1
_BOOL: Final = BY_NAME["bool"]
_END_BYTES: Final = 8  # what a string takes besides its text, on its way to a worker


def element_count(shape: Sequence[int]) -> int:
    """Raises ServingError (INVALID_ARGUMENT) for what is not a shape that numpy can have."""
    if len(shape) > MOST_DIMS:
        raise invalid(f"a tensor of {len(shape)} dimensions; expected at most {MOST_DIMS}")
    count = math.prod(shape)
    if count > _MOST_ELEMENTS or (shape and min(shape) < 0):
        raise invalid(f"{list(shape)} is not the shape of a tensor")
    return count


def shaped(flat: Array, shape: tuple[int, ...]) -> Array:
    """Raises ServingError (INVALID_ARGUMENT) where numpy can't: an empty array may still have too large dimensions."""
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError):
        raise invalid(f"{list(shape)} is not the shape of a tensor") from None


def tensor_of_bytes(dtype: DType, shape: tuple[int, ...], data: Buffer) -> Tensor:
    """Numbers, row by row and little-endian, as a view of their bytes. Raises ServingError (INVALID_ARGUMENT)."""
    count = element_count(shape)
    storage = np.dtype(dtype.numpy)
    if count * storage.itemsize != len(data):
        raise invalid(f"{len(data)} bytes of data; {dtype.name} of shape {list(shape)} takes {count * storage.itemsize}")
    if not count:
        return Tensor(dtype, shape, shaped(np.empty(0, storage), shape))
    array = shaped(np.frombuffer(data, storage), shape)
    if dtype is _BOOL:
        check_bools(array)
    return Tensor(dtype, shape, array)


def check_bools(array: Array) -> None:
    """Raises ServingError (INVALID_ARGUMENT) for a byte that is neither 0 nor 1: programs may do anything with it."""
    if array.size and int(array.view(np.uint8).max()) > 1:
        raise invalid("a byte of a bool tensor is neither 0 nor 1")


def limit_strings(count: int, nbytes: int, most_bytes: int) -> None:
    """Raises ServingError before `count` strings of together `nbytes` are made, if they are too many."""
    needed = count * _END_BYTES + nbytes
    if needed > most_bytes:
        raise too_large(f"{count} strings take {needed} bytes", most_bytes)


def too_large(what: str, most_bytes: int) -> TooLargeError:
    """`what`: "3 strings take 40 bytes"."""
    text = f"{what}, more than the {most_bytes} that --max_request_bytes allows"
    return TooLargeError(Code.RESOURCE_EXHAUSTED, text)


def invalid(text: str) -> ServingError:
    """INVALID_ARGUMENT."""
    return ServingError(Code.INVALID_ARGUMENT, text)

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
from ringserve.tensor import BY_NAME, DType, dtype_of
from ringserve.tensor_proto import MOST_ABSENT_STRINGS, STRING_BYTES, DecodedTensor

MOST_DIMS: Final = 64  # numpy's limit
_MOST_ELEMENTS: Final = (1 << 63) - 1
#: What takes no more than a few ms to make: more is better made in a thread.
QUICK_STRINGS: Final = 1 << 15
QUICK_BYTES: Final = 4 << 20
_BOOL: Final = BY_NAME["bool"]


def element_count(shape: Sequence[int]) -> int:
    """Raises ServingError (INVALID_ARGUMENT) for what is not a shape that numpy can have."""
    if len(shape) > MOST_DIMS:
        raise invalid(f"a tensor of {len(shape)} dimensions; expected at most {MOST_DIMS}")
    # As numpy counts, which leaves zeros out: no other dimensions may be too large because one is 0.
    if math.prod([dim for dim in shape if dim]) > _MOST_ELEMENTS or (shape and min(shape) < 0):
        raise invalid(f"{list(shape)} is not the shape of a tensor")
    return math.prod(shape)


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


def tensor_of(decoded: DecodedTensor) -> Tensor:
    """A decoded TensorProto. Raises ServingError (INVALID_ARGUMENT) for one that numpy can't have."""
    dtype, shape, values = decoded
    if len(shape) > MOST_DIMS:
        raise invalid(f"a tensor of {len(shape)} dimensions; expected at most {MOST_DIMS}")
    if len(shape) != 1 and not isinstance(values, list):
        values = shaped(values, shape)
    return Tensor(dtype_of(dtype), shape, values)


def check_bools(array: Array) -> None:
    """Raises ServingError (INVALID_ARGUMENT) for a byte that is neither 0 nor 1: programs may do anything with it."""
    if array.size and int(array.view(np.uint8).max()) > 1:
        raise invalid("a byte of a bool tensor is neither 0 nor 1")


def limit_strings(count: int, nbytes: int, most_bytes: int) -> None:
    """Raises ServingError before `count` strings of together `nbytes` are made, if they are too many."""
    needed = count * STRING_BYTES + nbytes
    if needed > most_bytes:
        raise too_large(f"{count} strings take {needed} bytes", most_bytes)


def limit_absent_strings(count: int) -> None:
    """Raises ServingError before `count` strings are made that take no bytes of the body, if they are too many."""
    if count > MOST_ABSENT_STRINGS:
        text = f"{count} strings that the body does not carry; expected at most {MOST_ABSENT_STRINGS} of them"
        raise TooLargeError(Code.RESOURCE_EXHAUSTED, text)


def too_large(what: str, most_bytes: int) -> TooLargeError:
    """`what`: "3 strings take 40 bytes"."""
    text = f"{what}, more than the {most_bytes} that --max_request_bytes allows"
    return TooLargeError(Code.RESOURCE_EXHAUSTED, text)


def invalid(text: str) -> ServingError:
    """INVALID_ARGUMENT."""
    return ServingError(Code.INVALID_ARGUMENT, text)

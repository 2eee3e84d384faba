"""Tensors as .npy data, both ways. Nothing is ever unpickled."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from frontend.bodies.arrays import (
    QUICK_BYTES,
    QUICK_STRINGS,
    check_bools,
    element_count,
    invalid,
    limit_absent_strings,
    limit_strings,
    shaped,
)
from frontend.bodies.body_options import Buffer
from frontend.bodies.element_types import BY_STORAGE
from frontend.bodies.npy_header import NpyHeader, header_bytes, read_header
from frontend.tensors import Array, Tensor
from ringserve.errors import Code, ServingError
from ringserve.signature import TensorSpec
from ringserve.tensor import BY_NAME, STRING, DType

_BFLOAT16: Final = BY_NAME["bfloat16"]
_OTHERS: Final = "application/x-msgpack, application/octet-stream and application/x-protobuf carry it"
_MOST_PADDED: Final = 256 << 20  # bytes: in an array all strings are as long as the longest
_CHARACTER_BYTES: Final = 4
_CHUNK: Final = 1 << 14  # texts that are made at a time: between them, other threads have their turn


class NpyArray(NamedTuple):
    """An array in a body: its type is known, its elements were not looked at."""

    dtype: DType
    header: NpyHeader
    elements: memoryview

    def tensor(self, most_bytes: int) -> Tensor:
        """Numbers in C order are a view of the data. Raises ServingError.

        Strings may be bytes ("S") or text ("U", which becomes UTF-8). NULs at their end are no part of them: that is how
        numpy stores them. `most_bytes`: of strings on their way to a worker.
        """
        dtype, header, elements = self
        if dtype is STRING:
            return Tensor(dtype, header.shape, _strings(header, elements, most_bytes))
        storage = np.dtype(dtype.numpy)
        if not len(elements):
            return Tensor(dtype, header.shape, shaped(np.empty(0, storage), header.shape))
        stored = storage.newbyteorder(">") if header.order == ">" else storage
        array = _ordered(np.frombuffer(elements, stored), header)
        if dtype.name == "bool":
            check_bools(array)
        return Tensor(dtype, header.shape, np.ascontiguousarray(array, storage) if array.ndim else array.astype(storage))

    @property
    def is_slow(self) -> bool:
        """Does `tensor` take more than a few ms?"""
        if self.dtype is STRING:
            return element_count(self.header.shape) > QUICK_STRINGS
        return len(self.elements) > QUICK_BYTES and (self.header.fortran or self.header.order == ">")


def find_npy(data: Buffer) -> NpyArray:
    """The array that the data is. Raises ServingError, also where there are not as many bytes as it takes."""
    header, begin = read_header(data)
    elements = memoryview(data)[begin:]
    letter, digits = header.kind[:1], header.kind[1:]
    if letter in ("S", "U") and digits.isascii() and digits.isdigit() and len(digits) < 10:
        dtype, width = STRING, int(digits) * (1 if letter == "S" else _CHARACTER_BYTES)
    elif header.kind in BY_STORAGE:
        dtype = BY_STORAGE[header.kind]
        width = int(dtype.numpy[2:])
    else:
        raise _unknown_type(header)
    _check_length(header, elements, element_count(header.shape) * width)
    return NpyArray(dtype, header, elements)


def _ordered(flat: Array, header: NpyHeader) -> Array:
    if header.fortran:
        return shaped(flat, header.shape[::-1]).T
    return shaped(flat, header.shape)


def _strings(header: NpyHeader, elements: memoryview, most_bytes: int) -> list[bytes]:
    count = element_count(header.shape)
    if not len(elements):
        limit_absent_strings(count)
    limit_strings(count, len(elements), most_bytes)
    if not len(elements):
        return [b""] * count
    order = ">" if header.order == ">" else "<"
    array = _ordered(np.frombuffer(elements, f"{order}{header.kind}"), header)
    if header.kind[0] == "S":
        return array.reshape(-1).tolist()  # in C order, whatever the order of the data
    try:
        if int(np.frombuffer(elements, f"{order}u4").max()) > sys.maxunicode:
            raise ValueError
        flat = array.reshape(-1)
        return [text.encode() for at in range(0, count, _CHUNK) for text in flat[at : at + _CHUNK].tolist()]
    except ValueError:
        raise invalid(".npy data has a text with a character that Unicode does not have") from None


def _check_length(header: NpyHeader, elements: memoryview, wanted: int) -> None:
    if len(elements) != wanted:
        text = f".npy data has {len(elements)} bytes of elements; {header.kind} of shape {list(header.shape)} takes {wanted}"
        raise invalid(text)


def _unknown_type(header: NpyHeader) -> ServingError:
    if header.kind == "V2":  # as which numpy stores what other packages call bfloat16
        return invalid(f".npy data can't be of bfloat16, which numpy does not have: {_OTHERS}")
    if header.kind[:1] == "O":
        return invalid(".npy data of Python objects is never read; expected numbers, bools or strings (S or U)")
    kinds = ", ".join(BY_STORAGE)
    return invalid(f".npy data of type {header.kind[:32]!r}; expected one of {kinds}, S or U")


def as_declared(array: NpyArray, spec: TensorSpec) -> NpyArray:
    """numpy has no quantised types: arrays of integers stand for them."""
    if array.dtype is not spec.dtype and spec.dtype.numpy == array.dtype.numpy and "q" in spec.dtype.name:
        return array._replace(dtype=spec.dtype)
    return array


def check_npy(dtype: DType) -> None:
    """Raises ServingError (INVALID_ARGUMENT) where numpy has no such type."""
    if dtype is _BFLOAT16:
        raise invalid(f"numpy has no bfloat16: {_OTHERS}")
    if not dtype.numpy and dtype is not STRING:
        raise invalid(f"numpy has no {dtype.name}")


def npy_parts(tensor: Tensor) -> tuple[bytes, Buffer]:
    """The header and the elements, where they lie. Raises ServingError."""
    check_npy(tensor.dtype)
    if isinstance(tensor.data, list):
        width, data = _padded(tensor.data)
        return header_bytes(f"|S{width}", tensor.shape), data
    array = np.ascontiguousarray(tensor.data)
    return header_bytes(tensor.dtype.numpy, tensor.shape), bytes_of(array)


def bytes_of(array: Array) -> Buffer:
    """The bytes of an array in C order, where they lie."""
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def _padded(strings: Sequence[bytes]) -> tuple[int, bytes]:
    """The strings, all as long as the longest, and that length."""
    width = max(1, max(map(len, strings), default=0))
    if width * len(strings) > _MOST_PADDED:
        text = f"{len(strings)} strings, each as long as the longest, take {width * len(strings)} bytes as an array, more "
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"{text}than {_MOST_PADDED}: ask for application/x-msgpack")
    if any(string.endswith(b"\0") for string in strings):
        raise invalid("an array of strings can't carry a NUL at a string's end: ask for application/x-msgpack")
    return width, b"".join([string.ljust(width, b"\0") for string in strings])

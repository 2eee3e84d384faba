"""Tensors to TensorProto messages on the wire, without a message object or a Python number for each element.

As upstream: every element has a value of its own in the type's field, and `tensor_content` is empty; or everything is in
`tensor_content`, where the server is told so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, DType

Array = npt.NDArray[Any]
Buffer = bytes | bytearray | memoryview

_DTYPE_TAG: Final = b"\x08"
_SHAPE_TAG: Final = b"\x12"
_CONTENT_TAG: Final = b"\x22"
_STRING_TAG: Final = b"\x42"
_DIM_TAG: Final = b"\x12"
_SIZE_TAG: Final = b"\x08"
_BITS: Final = 7  # of a number in each byte of its varint
_LOW_BITS: Final = np.uint64(0x7F)
_SMALL: Final = 1024  # bytes that are sooner copied than referred to
_MOST_KEPT: Final = 1024  # types and shapes whose bytes are remembered
_CHUNK: Final = 1 << 14  # numbers that become varints at a time: their temporary arrays stay in the processor's cache

# Of each type the tag of its field, packed; and whether its numbers are varints. Others lie as they do in memory.
_FIELDS: Final = {
    BY_NAME[name].number: (tag, varint)
    for names, tag, varint in (
        ("float", b"\x2a", False),
        ("double", b"\x32", False),
        ("int32 uint8 int16 int8 uint16 qint8 quint8 qint32 qint16 quint16", b"\x3a", True),
        ("complex64", b"\x4a", False),
        ("int64", b"\x52", True),
        ("bool", b"\x5a", False),  # 0 and 1 are varints as they are
        ("complex128", b"\x62", False),
        ("half bfloat16", b"\x6a", True),
        ("uint32", b"\x82\x01", True),
        ("uint64", b"\x8a\x01", True),
    )
    for name in names.split()
}


def tensor_proto_parts(dtype: DType, shape: Sequence[int], data: Array | list[bytes], content: bool = False) -> list[Buffer]:
    """The parts of a serialised message, to be joined; many numbers that need no conversion are where they were.

    `data`: an array of the type's storage, or strings; `content`: into `tensor_content`. Raises ServingError (UNIMPLEMENTED)
    for types whose elements have no fixed size, strings apart.
    """
    parts: list[Buffer] = [_head(dtype.number, tuple(shape))]
    if isinstance(data, list):
        if content and data:
            lengths = [varint(len(string)) for string in data]
            parts += _delimited(_CONTENT_TAG, [*lengths, *data])
        elif not content:
            for string in data:
                parts += (_STRING_TAG, varint(len(string)), string)
        return parts
    field = _FIELDS.get(dtype.number)
    if field is None:
        raise ServingError(Code.UNIMPLEMENTED, f"A message can't carry a tensor of {dtype.name}")
    if not data.size:
        return parts
    tag, is_varint = (_CONTENT_TAG, False) if content else field
    if is_varint:
        numbers = varints(_whole(np.ascontiguousarray(data).reshape(-1)))
    else:
        numbers = [data.tobytes() if data.nbytes < _SMALL else _bytes(np.ascontiguousarray(data).reshape(-1))]
    return [*parts, *_delimited(tag, numbers)]


def length_of(parts: Iterable[Buffer]) -> int:
    """In bytes, when joined."""
    return sum(map(len, parts))


def varint(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    if number < 0x80:
        return _SHORT[number]
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT: Final = [bytes((number,)) for number in range(0x80)]


def varints(numbers: Array) -> list[Buffer]:
    """Whole numbers one behind the other; negative ones take ten bytes, as 64-bit ones do."""
    return [_varint_chunk(numbers[at : at + _CHUNK]) for at in range(0, len(numbers), _CHUNK)]


def _varint_chunk(numbers: Array) -> bytes:
    left = numbers.astype(np.int64 if numbers.dtype.kind == "i" else np.uint64).view(np.uint64)
    longest = -(-int(left.max()).bit_length() // _BITS)
    if longest <= 1:
        return left.astype(np.uint8).tobytes()
    lengths = np.ones(len(left), np.uint8)
    for place in range(1, longest):
        lengths += left >= np.uint64(1 << _BITS * place)
    ends = np.cumsum(lengths, dtype=np.intp)
    encoded = np.empty(int(ends[-1]), np.uint8)
    at = ends - lengths
    while len(left):  # the first bytes of all numbers, then the second ones of those that have one, and so on
        more = left > _LOW_BITS
        encoded[at] = (left & _LOW_BITS).astype(np.uint8) | (more.view(np.uint8) << np.uint8(_BITS))
        left = left[more] >> np.uint64(_BITS)
        at = at[more] + 1
    return encoded.tobytes()


def _whole(flat: Array) -> Array:
    """half's numbers as their bit patterns."""
    return flat.view(np.uint16) if flat.dtype.kind == "f" else flat


def _bytes(flat: Array) -> Buffer:
    return flat.view(np.uint8).data


def _delimited(tag: bytes, parts: list[Buffer]) -> list[Buffer]:
    return [tag, varint(length_of(parts)), *parts]


@lru_cache(_MOST_KEPT)
def _head(dtype: int, shape: tuple[int, ...]) -> bytes:
    dims = b"".join([_dim(size) for size in shape])
    return b"".join((_DTYPE_TAG, varint(dtype), _SHAPE_TAG, varint(len(dims)), dims))


def _dim(size: int) -> bytes:
    if not size:
        return _DIM_TAG + b"\x00"
    encoded = varint(size)
    return b"".join((_DIM_TAG, varint(len(encoded) + 1), _SIZE_TAG, encoded))

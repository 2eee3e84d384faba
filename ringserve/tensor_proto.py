"""What TensorProto messages stand for, by the rules of TensorFlow's own `Tensor::FromProto`.

Those are: `tensor_content`, where it is not empty, must be exactly as long as the shape asks for. Otherwise the field of
the type counts: values that are missing are copies of the last one, or zeros where there is none; surplus ones are
ignored. A tensor without elements may carry anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError
from ringserve.protobuf_wire import Buffer
from ringserve.tensor import BY_NAME, DTYPES, STRING

Array = npt.NDArray[Any]

#: Bytes of a tensor whose message is shorter than its elements, where the caller has no limit of its own.
DEFAULT_MOST_BYTES: Final = 256 * 1024 * 1024

#: What a string takes besides its text, before it is in a worker: it is an object of its own, with a place in a list.
STRING_BYTES: Final = 64
#: Strings of a tensor that its message does not carry: copies of the last one, or empty ones.
MOST_ABSENT_STRINGS: Final = 1 << 20

_MOST_DIMS: Final = 254
_MOST_ELEMENTS: Final = (1 << 63) - 1
_VARINT_BYTES: Final = 5  # of the 32-bit lengths of strings in `tensor_content`
_BOOL: Final = BY_NAME["bool"].number
_QUICK_STRINGS: Final = 1 << 15
_QUICK_BYTES: Final = 4 << 20

#: For each type the number of the message's field with its values; a string has a field for each.
VALUE_FIELDS: Final = {
    BY_NAME[name].number: field
    for names, field in (
        ("float", 5), ("double", 6), ("int32 uint8 int16 int8 uint16 qint8 quint8 qint32 qint16 quint16", 7), ("string", 8),
        ("complex64", 9), ("int64", 10), ("bool", 11), ("complex128", 12), ("half bfloat16", 13), ("uint32", 16),
        ("uint64", 17),
    )
    for name in names.split()
}  # fmt: skip
#: The fields whose values lie in the message as they do in memory, packed or not; and the bytes of each value. Those of the
#: other fields are varints: of int_val and half_val, the bits that an element has no room for are cut off.
FIXED_FIELDS: Final = {5: 4, 6: 8, 9: 4, 12: 8}


class DecodedTensor(NamedTuple):
    """`dtype`: TensorFlow's number; `values`: all elements in row-major order, without the shape.

    Numbers are a one-dimensional array of `ringserve.tensor`'s storage type, read-only where it is a view of the message's
    bytes (numpy has no shapes of more than 64 dimensions, TensorFlow has: hence flat). Strings are a list.
    """

    dtype: int
    shape: tuple[int, ...]
    values: Array | list[bytes]


class TensorHead(NamedTuple):
    """A tensor's type and shape. `storage`: of strings it means nothing; `field`: with the values."""

    dtype: int
    shape: tuple[int, ...]
    elements: int
    storage: np.dtype[Any]
    field: int

    @classmethod
    def of(cls, dtype: int, shape: tuple[int, ...]) -> TensorHead:
        """Raises ServingError (INVALID_ARGUMENT) where there is no such tensor."""
        known = DTYPES.get(dtype)
        if known is None or dtype not in VALUE_FIELDS:
            raise _invalid(f"a tensor can't be of type {dtype}")
        return cls(dtype, shape, _element_count(shape), np.dtype(known.numpy or "V"), VALUE_FIELDS[dtype])

    @property
    def is_large(self) -> bool:
        """Does it take more than a few ms to make the elements, whatever of them is in the message?"""
        if self.dtype == STRING.number:
            return self.elements > _QUICK_STRINGS
        return self.elements * self.storage.itemsize > _QUICK_BYTES


def _element_count(shape: Sequence[int]) -> int:
    """As TensorFlow counts: from the left, and no intermediate product may be beyond 63 bits."""
    if len(shape) > _MOST_DIMS:
        raise _invalid(f"{len(shape)} dimensions, more than {_MOST_DIMS}")
    count = 1
    for dim in shape:
        count *= dim
        if dim < 0 or count > _MOST_ELEMENTS:
            raise _invalid(f"{list(shape)} is not the shape of a tensor")
    return count


def numbers_of_content(head: TensorHead, message: Buffer, start: int, stop: int) -> Array:
    """`tensor_content`, which lies between two offsets of the message and is not empty, as a view of it.

    Raises ServingError (INVALID_ARGUMENT).
    """
    if not head.elements:
        return np.empty(0, head.storage)
    if stop - start != head.elements * head.storage.itemsize:
        raise _invalid(f"tensor_content has {stop - start} bytes, not {head.elements * head.storage.itemsize}")
    values = np.frombuffer(message, head.storage, head.elements, start)
    if head.dtype == _BOOL and int(values.view(np.uint8).max()) > 1:
        raise _invalid("tensor_content has a byte that is no bool")
    return values


def completed(head: TensorHead, values: Array, most_bytes: int) -> Array:
    """As many elements as the shape asks for, where the message has these values.

    Raises ServingError (RESOURCE_EXHAUSTED) where those that are missing make it more than `most_bytes`.
    """
    count = head.elements
    if len(values) >= count:
        return values if len(values) == count else values[:count]
    _limit(count * head.storage.itemsize, most_bytes)
    repeated = np.full(count, values[-1], head.storage) if len(values) else np.zeros(count, head.storage)
    repeated[: len(values)] = values
    return repeated


def string_room(head: TensorHead, most_bytes: int) -> int:
    """How many strings of a message to keep for `completed_strings`: of no more it says that they are too many."""
    return min(head.elements, most_bytes // STRING_BYTES + 1)


def completed_strings(head: TensorHead, strings: list[bytes], present: int, most_bytes: int) -> list[bytes]:
    """As `completed`. `present`: how many the message has; `strings`: the first `string_room` of them, kept and changed."""
    count = head.elements
    missing = max(count - present, 0)
    if missing > MOST_ABSENT_STRINGS:
        text = f"{missing} strings that the message does not carry; expected at most {MOST_ABSENT_STRINGS} of them"
        raise ServingError(Code.RESOURCE_EXHAUSTED, text)
    _limit(count * STRING_BYTES, most_bytes)  # otherwise all that are present, and count, are here
    if missing:
        last = strings[-1] if strings else b""
        _limit(sum(map(len, strings)) + count * STRING_BYTES + missing * len(last), most_bytes)
        strings += [last] * missing
    return strings


def strings_of_content(head: TensorHead, content: bytes, most_bytes: int) -> list[bytes]:
    """`tensor_content`, which is not empty: all lengths, as varints, and then all texts. Raises ServingError."""
    count = head.elements
    if not count:
        return []
    if count > len(content):
        raise _invalid(f"tensor_content has {len(content)} bytes, too few for {count} strings")
    _limit(count * STRING_BYTES + len(content), most_bytes)
    lengths, begin = _lengths(content, count)
    ends = np.cumsum(lengths, dtype=np.int64) + begin
    if ends[-1] != len(content):
        raise _invalid(f"tensor_content has {len(content)} bytes, not {ends[-1]}")
    return [content[at:end] for at, end in pairwise((begin, *ends.tolist()))]


def _lengths(content: bytes, count: int) -> tuple[Array, int]:
    """The numbers that the content begins with, of at most 32 bits each, and where the last one ends."""
    table = np.frombuffer(content, np.uint8, min(len(content), count * _VARINT_BYTES))
    ends = np.flatnonzero(table < 0x80)[:count] + 1
    sizes = np.diff(ends, prepend=0)
    if len(ends) < count or int(sizes.max()) > _VARINT_BYTES:
        raise _invalid("tensor_content has a string's length without an end")
    starts = ends - sizes
    lengths = np.zeros(count, np.int64)
    for place in range(int(sizes.max())):
        has = sizes > place
        lengths[has] |= (table[starts[has] + place] & 0x7F).astype(np.int64) << 7 * place
    return lengths & 0xFFFFFFFF, int(ends[-1])


def _limit(nbytes: int, most_bytes: int) -> None:
    if nbytes > most_bytes:
        text = f"A tensor's values stand for {nbytes} bytes, more than the limit of {most_bytes}"
        raise ServingError(Code.RESOURCE_EXHAUSTED, text)


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)

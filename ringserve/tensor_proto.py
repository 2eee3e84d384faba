"""TensorProto messages to plain values, by the rules of TensorFlow's own `Tensor::FromProto`.

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
from ringserve.tensor import BY_NAME, DTYPES, STRING, DType

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
_CHUNK: Final = 1 << 14  # strings that are taken from a message at a time: between, other threads have their turn
_QUICK_STRINGS: Final = 1 << 15
_QUICK_BYTES: Final = 4 << 20

# For each type the message's field, the numpy type of the field's values, and what to cast them to before they are taken
# for the type's storage: int_val's numbers wrap to narrow integers, half_val's are bit patterns.
_FIELDS: Final = {
    BY_NAME[name].number: (field, read_as, cast_to)
    for names, field, read_as, cast_to in (
        ("float", "float_val", "<f4", ""),
        ("double", "double_val", "<f8", ""),
        ("int32 qint32", "int_val", "<i4", ""),
        ("uint8 quint8", "int_val", "<i4", "|u1"),
        ("int8 qint8", "int_val", "<i4", "|i1"),
        ("uint16 quint16", "int_val", "<i4", "<u2"),
        ("int16 qint16", "int_val", "<i4", "<i2"),
        ("half bfloat16", "half_val", "<i4", "<u2"),
        ("complex64", "scomplex_val", "<f4", ""),
        ("complex128", "dcomplex_val", "<f8", ""),
        ("int64", "int64_val", "<i8", ""),
        ("uint32", "uint32_val", "<u4", ""),
        ("uint64", "uint64_val", "<u8", ""),
        ("bool", "bool_val", "|b1", ""),
    )
    for name in names.split()
}


class DecodedTensor(NamedTuple):
    """`dtype`: TensorFlow's number; `values`: all elements in row-major order, without the shape.

    Numbers are a one-dimensional array of `ringserve.tensor`'s storage type, read-only where it is a view of the message's
    bytes (numpy has no shapes of more than 64 dimensions, TensorFlow has: hence flat). Strings are a list.
    """

    dtype: int
    shape: tuple[int, ...]
    values: Array | list[bytes]


def decode(proto: Any, most_bytes: int = DEFAULT_MOST_BYTES) -> DecodedTensor:
    """The tensor in a TensorProto.

    Raises ServingError: INVALID_ARGUMENT where TensorFlow could not parse it either, RESOURCE_EXHAUSTED where a short
    message stands for a tensor of more than `most_bytes`.
    """
    dtype = DTYPES.get(proto.dtype)
    if dtype is None or not (dtype.numpy or dtype is STRING):
        raise _invalid(f"a tensor can't be of type {proto.dtype}")
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    count = _element_count(shape)
    if dtype is STRING:
        return DecodedTensor(dtype.number, shape, _strings(proto, count, most_bytes))
    return DecodedTensor(dtype.number, shape, _numbers(proto, dtype, count, most_bytes))


def is_slow(proto: Any) -> bool:
    """Does `decode` take more than a few ms for this message, whatever of the tensor is in it?"""
    dtype = DTYPES.get(proto.dtype)
    if dtype is None or not (dtype.numpy or dtype is STRING):
        return False
    try:
        count = _element_count([dim.size for dim in proto.tensor_shape.dim])
    except ServingError:
        return False
    return count > _QUICK_STRINGS if dtype is STRING else count * int(dtype.numpy[2:]) > _QUICK_BYTES


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


def _numbers(proto: Any, dtype: DType, count: int, most_bytes: int) -> Array:
    storage = np.dtype(dtype.numpy)
    if not count:
        return np.empty(0, storage)
    content: bytes = proto.tensor_content  # asked for once: each time is a copy
    if content:
        if len(content) != count * storage.itemsize:
            raise _invalid(f"tensor_content has {len(content)} bytes, not {count * storage.itemsize}")
        values = np.frombuffer(content, storage)
        if dtype.number == _BOOL and bool((values.view(np.uint8) > 1).any()):
            raise _invalid("tensor_content has a byte that is no bool")
        return values
    values = _field(proto, dtype.number, storage)
    if len(values) >= count:
        return values[:count]
    _limit(count * storage.itemsize, most_bytes)
    repeated = np.full(count, values[-1], storage) if len(values) else np.zeros(count, storage)
    repeated[: len(values)] = values
    return repeated


def _field(proto: Any, number: int, storage: np.dtype[Any]) -> Array:
    """The values of the type's own field."""
    name, read_as, cast_to = _FIELDS[number]
    values = np.array(getattr(proto, name), dtype=read_as)
    if cast_to:
        values = values.astype(cast_to)
    if storage.kind == "c":
        values = values[: len(values) // 2 * 2]  # a real part without its imaginary one does not count
    return values.view(storage)


def _strings(proto: Any, count: int, most_bytes: int) -> list[bytes]:
    if not count:
        return []
    content: bytes = proto.tensor_content
    if content:
        return _strings_of_content(content, count, most_bytes)
    field = proto.string_val
    missing = count - min(count, len(field))
    if missing > MOST_ABSENT_STRINGS:
        text = f"{missing} strings that the message does not carry; expected at most {MOST_ABSENT_STRINGS} of them"
        raise ServingError(Code.RESOURCE_EXHAUSTED, text)
    last = field[-1] if missing and len(field) else b""
    _limit(count * STRING_BYTES + missing * len(last), most_bytes)
    strings: list[bytes] = []
    for at in range(0, count - missing, _CHUNK):
        strings += field[at : min(at + _CHUNK, count)]
    if missing:
        _limit(sum(map(len, strings)) + count * STRING_BYTES + missing * len(last), most_bytes)
        strings += [last] * missing
    return strings


def _strings_of_content(content: bytes, count: int, most_bytes: int) -> list[bytes]:
    """All lengths, as varints, and then all texts."""
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

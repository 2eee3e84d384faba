"""The bytes of tf.Example messages, written by hand.

For features of one value, which most are, that takes half the time of building protobuf's objects; and names may be any
bytes, as upstream takes them. ::

    message Example  { Features features = 1; }
    message Features { map<string, Feature> feature = 1; }   // an entry: string key = 1; Feature value = 2
    message Feature  { oneof kind { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; } }
    // each list: repeated value = 1; numbers are packed
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

_FIELD_1: Final = b"\x0a"  # tags of fields with a length
_FIELD_2: Final = b"\x12"
_FIELD_3: Final = b"\x1a"
_FLOAT: Final = struct.Struct("<f")
_ONE_FLOAT: Final = b"\x12\x06\x0a\x04"  # a feature of one float, up to the float
_ONE_FLOAT_BYTES: Final = len(_ONE_FLOAT) + _FLOAT.size
_64_BITS: Final = (1 << 64) - 1
_FEW: Final = 8  # integers that are written as fast one by one
_AT_ONCE: Final = 4096  # integers: each takes some 200 bytes meanwhile
_SHIFTS: Final = np.arange(0, 64, 7, dtype="<u8")
_SHORT: Final = [bytes((value,)) for value in range(0x80)]
_MOST_SHORT: Final = 0x7D  # bytes of content, with which all lengths around it have one byte


def _heads(kind: bytes) -> list[bytes]:
    """What precedes a list's one value, by the value's bytes; packed numbers are one value."""
    return [kind + _SHORT[length + 2] + _FIELD_1 + _SHORT[length] for length in range(_MOST_SHORT + 1)]


_BYTES_HEADS, _FLOAT_HEADS, _INTEGER_HEADS = _heads(_FIELD_1), _heads(_FIELD_2), _heads(_FIELD_3)

#: A feature without a kind, as of an empty list.
NOTHING: Final = b""


class Name(NamedTuple):
    """What precedes a named feature's bytes in an Example."""

    key: bytes  # an entry's, up to the feature's length
    one_float: bytes  # an entry of one float, up to the float


def made_name(name: bytes) -> Name:
    """Worth remembering where names come again."""
    key = _FIELD_1 + _counted(name) + _FIELD_2
    length = len(key) + 1 + _ONE_FLOAT_BYTES
    return Name(key, _FIELD_1 + varint(length) + key + varint(_ONE_FLOAT_BYTES) + _ONE_FLOAT)


def example(pieces: Sequence[bytes]) -> bytes:
    """An Example out of its entries. Of several with one name the last counts."""
    features = b"".join(pieces)
    return _FIELD_1 + varint(len(features)) + features if features else b""


def entry(name: Name, feature: bytes) -> bytes:
    """A named feature."""
    length = varint(len(feature))
    return b"".join((_FIELD_1, varint(len(name.key) + len(length) + len(feature)), name.key, length, feature))


def one_float(value: float) -> bytes:
    """What follows `Name.one_float`; a number beyond a float's range becomes infinite."""
    try:
        return _FLOAT.pack(value)
    except OverflowError:
        return _FLOAT.pack(math.copysign(math.inf, value))


def floats(values: Sequence[float]) -> bytes:
    """A feature of floats; those beyond a float's range become infinite."""
    try:
        packed = struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        with np.errstate(over="ignore"):
            packed = np.array(values, dtype="<f8").astype("<f4").tobytes()
    if len(packed) <= _MOST_SHORT:
        return _FLOAT_HEADS[len(packed)] + packed
    return _FIELD_2 + _counted(_FIELD_1 + _counted(packed))


def one_text(value: bytes) -> bytes:
    """A feature of one byte string."""
    return _BYTES_HEADS[len(value)] + value if len(value) <= _MOST_SHORT else texts((value,))


def one_integer(value: int) -> bytes:
    """A feature of one integer of 64 bits."""
    written = varint(value)
    return _INTEGER_HEADS[len(written)] + written


def integers(values: Sequence[int]) -> bytes:
    """A feature of integers. Raises OverflowError where one has more than 64 bits and a sign."""
    if len(values) < _FEW:
        if min(values) < -(1 << 63) or max(values) >= 1 << 63:
            raise OverflowError
        packed = b"".join([_SHORT[value] if 0 <= value < 0x80 else varint(value) for value in values])
    else:
        array = np.array(values, dtype="<i8").view("<u8")
        packed = b"".join([_varints(array[at : at + _AT_ONCE]) for at in range(0, len(array), _AT_ONCE)])
    if len(packed) <= _MOST_SHORT:
        return _INTEGER_HEADS[len(packed)] + packed
    return _FIELD_3 + _counted(_FIELD_1 + _counted(packed))


def texts(values: Sequence[bytes]) -> bytes:
    """A feature of byte strings."""
    return _FIELD_1 + _counted(b"".join([_FIELD_1 + _counted(value) for value in values]))


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as their 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _SHORT[value]
    value &= _64_BITS
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _varints(values: npt.NDArray[np.uint64]) -> bytes:
    """All of them, a column of digits at a time."""
    if values.max() < 0x80:
        return values.astype(np.uint8).tobytes()
    digits = values[:, None] >> _SHIFTS
    follow = digits[:, 1:] != 0  # does a digit other than zero come behind this one?
    written = (digits & 0x7F).astype(np.uint8)
    written[:, :-1] |= follow.view(np.uint8) << 7
    kept = np.ones(written.shape, dtype=np.bool_)
    kept[:, 1:] = follow
    return written[kept].tobytes()


def _counted(content: bytes) -> bytes:
    return varint(len(content)) + content

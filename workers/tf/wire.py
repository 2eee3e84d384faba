"""Walks a serialised protobuf message without parsing it: whatever lies between is neither copied nor looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ringserve.errors import Code, ServingError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}


class Field(NamedTuple):
    """A field of a message: where it begins, where its value does, and where both end."""

    number: int
    start: int
    value: int
    end: int


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of the message's top level, in their order. Raises ServingError (DATA_LOSS) for a kind nobody writes."""
    at, length = 0, len(message)
    while at < length:
        start = at
        tag, at = _varint(message, at)
        kind = tag & 7
        value = at
        if kind == _BYTES:
            size, value = _varint(message, at)
            at = value + size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
        else:
            raise ServingError(Code.DATA_LOSS, f"MetaGraphDef has a field of unknown kind {kind}")
        yield Field(tag >> 3, start, value, at)


def values(message: memoryview, number: int) -> Iterator[memoryview]:
    """What the fields of this number hold: bytes, text and messages; views, not copies."""
    for field in fields(message):
        if field.number == number:
            yield message[field.value : field.end]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 0x80:  # most are this short
        return byte, at + 1
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

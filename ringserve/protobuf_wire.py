"""Fields of serialised protobuf messages, where they lie: nothing is copied, and no length is believed.

What is refused is what protobuf's own parser (upb) refuses, so that a message means here what it means there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

Buffer = bytes | bytearray | memoryview

#: Where something lies in a message: from, up to.
Span = tuple[int, int]

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_GROUP: Final = 3
_GROUP_END: Final = 4

#: Messages and groups inside each other, the outermost not counted.
MOST_NESTED: Final = 100

_MOST_TAG: Final = (1 << 32) - 1
_WORD: Final = (1 << 64) - 1
_SHORT_BYTES: Final = 5  # of a tag or a length
_LONG_BYTES: Final = 10  # of a number


class WireError(ValueError):
    """These bytes are no message of the expected type. The text is for the one who sent them."""


def fields(message: Buffer, start: int, stop: int, depth: int = MOST_NESTED) -> Iterator[tuple[int, int, int, int]]:
    """Each field between two offsets: its number, its wire type, and where its value lies.

    Of a varint the third is not where but what it is: 64 bits, without a sign. Groups, which no message of ours has, are
    skipped. `depth`: how many groups may be inside each other. Raises WireError.
    """
    at = start
    while at < stop:
        tag = message[at]
        at += 1
        if tag >= 0x80:
            tag, at = _long(message, at - 1, stop, _SHORT_BYTES)
        wire = tag & 7
        if tag < 8 or tag > _MOST_TAG:
            raise WireError(f"a field's number is wrong, before byte {at}")
        if wire == BYTES:
            begin, end = span(message, at, stop)
            yield tag >> 3, BYTES, begin, end
            at = end
        elif wire == VARINT:
            value, at = varint(message, at, stop)
            yield tag >> 3, VARINT, value, at
        elif wire in (FIXED32, FIXED64):
            begin, at = at, at + (4 if wire == FIXED32 else 8)
            if at > stop:
                raise _cut_off(stop)
            yield tag >> 3, wire, begin, at
        elif wire == _GROUP:
            at = _group_end(message, at, stop, tag >> 3, depth)
        else:
            raise WireError(f"a field's type is wrong, before byte {at}")


def varint(message: Buffer, at: int, stop: int) -> tuple[int, int]:
    """The number at an offset, as 64 bits without a sign, and where it ends. Raises WireError."""
    if at < stop and message[at] < 0x80:
        return message[at], at + 1
    value, at = _long(message, at, stop, _LONG_BYTES)
    return value & _WORD, at


def span(message: Buffer, at: int, stop: int) -> Span:
    """Where the bytes lie whose length is at an offset. Raises WireError where there are fewer of them."""
    if at < stop and message[at] < 0x80:
        begin, size = at + 1, message[at]
    else:
        size, begin = _long(message, at, stop, _SHORT_BYTES)
    if size > stop - begin:
        raise _cut_off(stop)
    return begin, begin + size


def signed(value: int, bits: int = 64) -> int:
    """A varint's value as a number of so many bits; what does not fit is cut off."""
    half = 1 << bits - 1
    return ((value + half) & (1 << bits) - 1) - half


def text(message: Buffer, start: int, stop: int) -> str:
    """A string field. Raises WireError for what is no UTF-8."""
    try:
        return str(message[start:stop], "utf-8")
    except UnicodeDecodeError:
        raise WireError(f"the text at byte {start} is no UTF-8") from None


def _long(message: Buffer, at: int, stop: int, most: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(at, min(at + most, stop)):
        byte = message[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    if at + most <= stop:
        raise WireError(f"the number at byte {at} has no end")
    raise _cut_off(stop)


def _group_end(message: Buffer, at: int, stop: int, number: int, depth: int) -> int:
    """Where the group ends that was just begun. As upb, this lets fields in it have the number 0."""
    inside = [number]
    while inside:
        if len(inside) > depth:
            raise WireError("too many groups inside each other")
        tag, at = _long(message, at, stop, _SHORT_BYTES)
        wire = tag & 7
        if tag > _MOST_TAG:
            raise WireError(f"a field's number is wrong, before byte {at}")
        if wire == BYTES:
            at = span(message, at, stop)[1]
        elif wire == VARINT:
            at = varint(message, at, stop)[1]
        elif wire in (FIXED32, FIXED64):
            at += 4 if wire == FIXED32 else 8
        elif wire == _GROUP:
            inside.append(tag >> 3)
        elif wire != _GROUP_END or inside.pop() != tag >> 3:
            raise WireError(f"a group does not end as it began, before byte {at}")
    if at > stop:
        raise _cut_off(stop)
    return at


def _cut_off(stop: int) -> WireError:
    return WireError(f"something ends at byte {stop} that should go on")

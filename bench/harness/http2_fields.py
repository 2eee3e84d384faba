"""HPACK (RFC 7541) as far as a gRPC client needs it that has told its server to keep no table.

Of an answer no more is wanted than two numbers, so texts in Huffman's code are not decoded: they are compared with what is
looked for in that code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

#: A name and a value.
Field = tuple[bytes, bytes]

_POST, _HTTP = b"\x83", b"\x86"  # :method and :scheme, which have numbers
_STATIC: Final = 61  # fields with numbers, before those of the table
_STATUSES: Final = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}  # :status, by its fields' numbers
_STATUS_NAMES: Final = range(8, 15)
_MOST_BITS: Final = 28  # of a number: longer ones mean nothing here

# Of Huffman's code (appendix B) the letters that are looked for: their bits and how many.
_CODE: Final = {
    **{letter: (number, 5) for number, letter in enumerate("012aceiost")},
    **{letter: (number, 6) for number, letter in enumerate(" %-./3456789=A_bdfghlmnpru", 0x14)},
}


class BadFieldsError(Exception):
    """No HPACK, or a table in spite of all."""


def literal_fields(path: bytes, fields: Iterable[Field]) -> bytes:
    """A request's fields, which the server is to keep in no table."""
    return _POST + _HTTP + b"".join(b"\x00" + _text(name) + _text(value) for name, value in [(b":path", path), *fields])


def kept_fields(path: bytes, fields: Iterable[Field]) -> tuple[bytes, bytes]:
    """The same, for a connection's first request, which the server is to keep, and for the later ones, which refer to it."""
    named = [(b":path", path), *fields]
    first = _POST + _HTTP + b"".join(b"\x40" + _text(name) + _text(value) for name, value in named)
    later = _POST + _HTTP + bytes(0x80 | (_STATIC + 1 + place) for place in reversed(range(len(named))))
    return first, later


@cache
def huffman(text: str) -> bytes:
    """Of letters that `_CODE` has."""
    bits = "".join(f"{number:0{length}b}" for number, length in (_CODE[letter] for letter in text))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def statuses(block: bytes) -> tuple[int | None, int | None]:
    """Of an answer's fields :status and grpc-status, where they are there. Raises BadFieldsError."""
    http = grpc = None
    for name, is_coded, value, value_is_coded in _fields(block):
        if name == b":status":
            http = _number(value, value_is_coded)
        elif name == (huffman("grpc-status") if is_coded else b"grpc-status"):
            grpc = _number(value, value_is_coded)
    return http, grpc


def _number(value: bytes, is_coded: bool) -> int:
    if is_coded:
        return _coded_numbers().get(value, -1)
    return int(value) if value.isdigit() and len(value) <= 3 else -1


@cache
def _coded_numbers() -> dict[bytes, int]:
    return {huffman(str(number)): number for number in range(600)}


def _fields(block: bytes) -> Iterator[tuple[bytes, bool, bytes, bool]]:
    """Names and values, and whether each is in Huffman's code."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            number, at = _integer(block, at, 7)
            if not 0 < number <= _STATIC:
                raise BadFieldsError("a field of a table that is empty")
            if number in _STATUSES:
                yield b":status", False, b"%d" % _STATUSES[number], False
            continue
        if first & 0xE0 == 0x20:  # the size of the table, which is 0
            _, at = _integer(block, at, 5)
            continue
        number, at = _integer(block, at, 6 if first & 0x40 else 4)
        name, is_coded = b"", False
        if number > _STATIC:
            raise BadFieldsError("a name of a table that is empty")
        if number == 0:
            name, is_coded, at = _string(block, at)
        elif number in _STATUS_NAMES:
            name = b":status"
        value, value_is_coded, at = _string(block, at)
        yield name, is_coded, value, value_is_coded


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number that begins in the last bits of the byte there, and where it ends."""
    if at >= len(block):
        raise BadFieldsError("cut off")
    limit = (1 << bits) - 1
    number = block[at] & limit
    at += 1
    shift = 0
    if number < limit:
        return number, at
    while True:
        if at >= len(block) or shift > _MOST_BITS:
            raise BadFieldsError("a number without an end")
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, at


def _string(block: bytes, at: int) -> tuple[bytes, bool, int]:
    if at >= len(block):
        raise BadFieldsError("cut off")
    is_coded = bool(block[at] & 0x80)
    length, at = _integer(block, at, 7)
    if length > len(block) - at:
        raise BadFieldsError("a text is cut off")
    return block[at : at + length], is_coded, at + length


def _text(text: bytes) -> bytes:
    if len(text) < 0x7F:
        return bytes((len(text),)) + text
    rest, length = len(text) - 0x7F, b"\x7f"
    while rest >= 0x80:
        length += bytes((rest & 0x7F | 0x80,))
        rest >>= 7
    return length + bytes((rest,)) + text

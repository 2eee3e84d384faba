"""Messages as the wire format allows them, though no client writes them so; for tests."""

from __future__ import annotations

import random
import struct
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ringserve.tensor_proto_writer import varint

_FIXED = {FieldDescriptor.TYPE_FLOAT: 4, FieldDescriptor.TYPE_DOUBLE: 8}
_LENGTHS = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE}
_TEXTS = (b"", b"a", b"x", b"serving_default", "ü".encode(), b"\0", b"\xff", b"\xed\xa0\x80")
_SIZES = (0, 0, 1, 1, 2, 3, 4, 5, 1 << 40, 1 << 62, (1 << 64) - 1)
_NUMBERS = (0, 1, 2, 3, 7, 9, 10, 127, 128, 300, 65535, (1 << 31) - 1, 1 << 31, (1 << 32) + 5, (1 << 64) - 1)


def odd_message(source: random.Random, descriptor: Descriptor, nested: int = 0) -> bytes:
    """Fields of this message in any order, number and form, and some that it does not have."""
    many = (0, 1, 1, 2, 3, 4) if nested else (1, 2, 3, 4, 5)
    return b"".join([_field(source, descriptor, nested) for _ in range(source.choice(many))])


def mutated(source: random.Random, message: bytes) -> bytes:
    """The message with something wrong in it, most likely."""
    if not message:
        return bytes([source.randrange(256)])
    at = source.randrange(len(message))
    what = source.randrange(5)
    if what == 0:
        return message[:at]
    if what == 1:
        return message[:at] + message[at + 1 :]
    if what == 2:
        return message[:at] + bytes([source.randrange(256)]) + message[at:]
    if what == 3:
        return message[:at] + bytes([message[at] ^ 1 << source.randrange(8)]) + message[at + 1 :]
    return message[:at] + bytes([source.choice((0, 1, 2, 0x0A, 0x12, 0x7F, 0x80, 0xFF))]) + message[at + 1 :]


def padded(source: random.Random, number: int, most: int = 10) -> bytes:
    """A varint, sometimes of more bytes than it needs."""
    encoded = bytearray(varint(number))
    while len(encoded) < most and source.random() < 0.05:
        encoded[-1] |= 0x80
        encoded.append(0)
    return bytes(encoded)


def _field(source: random.Random, descriptor: Descriptor, nested: int) -> bytes:
    if source.random() < 0.08 or not descriptor.fields:
        return _unknown(source, source.choice((1, 2, 3, 4, 20, 1000, (1 << 29) - 1)), nested)
    field = source.choice(descriptor.fields)
    if source.random() < 0.04:
        return _unknown(source, field.number, nested)
    return _known(source, field, nested)


def _known(source: random.Random, field: Any, nested: int) -> bytes:
    if field.type in _LENGTHS:
        return _delimited(source, field.number, _content(source, field, nested))
    values = [_value(source, field) for _ in range(source.choice((0, 1, 1, 2, 3, 70)))]
    if field.is_repeated and source.random() < 0.7:
        return _delimited(source, field.number, b"".join(values))
    wire = {4: 5, 8: 1}.get(_FIXED.get(field.type, 0), 0)
    return b"".join([padded(source, field.number << 3 | wire, 5) + value for value in values[:3]])


def _content(source: random.Random, field: Any, nested: int) -> bytes:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return odd_message(source, field.message_type, nested + 1) if nested < 7 else b""
    if field.type == FieldDescriptor.TYPE_STRING:
        return source.choice(_TEXTS[:-2] if source.random() < 0.97 else _TEXTS)
    return source.choice((b"", b"\x01", b"\x01\x00", bytes(4), bytes(8), b"\x02\x01abc", source.randbytes(12)))


def _value(source: random.Random, field: Any) -> bytes:
    if field.type in _FIXED:
        return struct.pack("<f" if _FIXED[field.type] == 4 else "<d", source.uniform(-9, 9))
    if field.enum_type is not None:
        return padded(source, source.choice((*range(24), 1, 3, 7, 9, 101, (1 << 32) + 1, (1 << 64) - 1)))
    return padded(source, source.choice(_SIZES if field.name == "size" else _NUMBERS))


def _unknown(source: random.Random, number: int, nested: int) -> bytes:
    wire = source.choice((0, 1, 2, 3, 5))
    tag = padded(source, number << 3 | wire, 5)
    if wire == 0:
        return tag + padded(source, source.choice(_NUMBERS))
    if wire == 2:
        return _delimited(source, number, source.randbytes(source.randrange(4)))
    if wire == 3:
        inside = b"".join([_unknown(source, source.randrange(30), nested + 1) for _ in range(source.randrange(3))])
        return tag + (inside if nested < 9 else b"") + padded(source, number << 3 | 4, 5)
    return tag + source.randbytes(8 if wire == 1 else 4)


def _delimited(source: random.Random, number: int, content: bytes) -> bytes:
    return padded(source, number << 3 | 2, 5) + padded(source, len(content), 5) + content

"""Tensors of serialised TensorProto messages, as views of them.

Official clients write the type, the shape, and then one field: `tensor_content`, packed numbers, or strings. Those are read
where they lie. Whatever else the wire format allows is read too, after it was checked, in more time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.errors import ServingError
from ringserve.message_layout import SHAPE, TENSOR, check
from ringserve.packed_varints import narrowed, unpack
from ringserve.protobuf_wire import (
    BYTES,
    FIXED32,
    FIXED64,
    MOST_NESTED,
    VARINT,
    Buffer,
    Span,
    WireError,
    fields,
    signed,
    span,
)
from ringserve.tensor_proto import (
    DEFAULT_MOST_BYTES,
    FIXED_FIELDS,
    DecodedTensor,
    TensorHead,
    completed,
    completed_strings,
    numbers_of_content,
    string_room,
    strings_of_content,
)

Array = npt.NDArray[Any]

_DTYPE: Final = 1
_SHAPE: Final = 2
_CONTENT: Final = 4
_STRING: Final = 8
_DTYPE_TAG: Final = _DTYPE << 3 | VARINT
_SHAPE_TAG: Final = _SHAPE << 3 | BYTES
_CONTENT_TAG: Final = _CONTENT << 3 | BYTES
_STRING_TAG: Final = _STRING << 3 | BYTES

_MOST_DIMS: Final = 255  # one more than a tensor may have: how many more does not matter
_MOST_HEAD_BYTES: Final = 128
_MOST_HEADS: Final = 1024
_QUICK_ODD: Final = 1 << 13  # bytes of fields that are looked at one by one
_QUICK_STRINGS: Final = 1 << 16  # bytes, of strings that may all be short
_QUICK_VARINTS: Final = 1 << 19  # bytes
_FEW_STRINGS: Final = 256

_heads: dict[bytes, TensorHead] = {}


def read_tensor(message: Buffer, most_bytes: int = DEFAULT_MOST_BYTES) -> DecodedTensor:
    """The tensor of a whole TensorProto message. Raises WireError, or ServingError as `UnreadTensor.decode` does."""
    return UnreadTensor(message, 0, len(message), MOST_NESTED).decode(most_bytes)


class UnreadTensor:
    """A TensorProto inside another message, of which at most the type and the shape were looked at."""

    __slots__ = ("_at", "_depth", "_head", "_message", "_start", "_stop")

    def __init__(self, message: Buffer, start: int, stop: int, depth: int) -> None:
        """`depth`: as `message_layout.check` has it."""
        self._message = message
        self._start = start
        self._stop = stop
        self._depth = depth
        self._head: TensorHead | None = None  # None: it is not written as clients do
        if stop - start < 2 or message[start] != _DTYPE_TAG:
            return
        end = start + 2
        if end + 2 <= stop and message[end] == _SHAPE_TAG:
            size = message[end + 1]
            end += 2 + size
            if size >= 0x80 or end > stop:
                return
        self._at = end  # behind the type and the shape
        key = bytes(message[start:end])
        self._head = _heads.get(key) or _new_head(key, depth - 1)

    @property
    def is_slow(self) -> bool:
        """Does `decode` take more than a few ms? Finding out doesn't."""
        head = self._head
        if head is None:
            return self._is_slow_if_odd()
        size = self._stop - self._at
        if head.field == _STRING:
            return head.is_large or (size > _QUICK_STRINGS and self._has_many_strings())
        if head.field in FIXED_FIELDS or (size and self._message[self._at] == _CONTENT_TAG):
            return head.is_large and (size < head.elements * head.storage.itemsize or head.storage.kind == "b")
        return head.is_large or size > _QUICK_VARINTS

    def _is_slow_if_odd(self) -> bool:
        if self._stop - self._start > _QUICK_ODD:
            return True
        try:
            return self._odd_head()[0].is_large
        except (WireError, ServingError):
            return False

    def _has_many_strings(self) -> bool:
        at = self._at
        for _ in range(_FEW_STRINGS):
            if at >= self._stop:
                return False
            try:
                at = span(self._message, at + 1, self._stop)[1]
            except WireError:
                return False
        return True

    def decode(self, most_bytes: int = DEFAULT_MOST_BYTES) -> DecodedTensor:
        """The elements. Raises WireError where this is no message.

        Raises ServingError: INVALID_ARGUMENT where TensorFlow could not parse it either, RESOURCE_EXHAUSTED where a short
        message stands for a tensor of more than `most_bytes`.
        """
        head = self._head
        if head is not None:
            values = self._strings(head, most_bytes) if head.field == _STRING else self._numbers(head, most_bytes)
            if values is not None:
                return DecodedTensor(head.dtype, head.shape, values)
        return self._odd(most_bytes)

    def _numbers(self, head: TensorHead, most_bytes: int) -> Array | None:
        """None: the elements are not written as clients do."""
        if self._at == self._stop:
            return completed(head, np.empty(0, head.storage), most_bytes)
        tag, begin = self._only_field()
        if tag == _CONTENT_TAG and begin < self._stop:
            return numbers_of_content(head, self._message, begin, self._stop)
        return self._packed(head, begin, most_bytes) if tag == head.field << 3 | BYTES else None

    def _only_field(self) -> tuple[int, int]:
        """The tag of the field that goes from the head to the end, and where its bytes begin; 0: there is none."""
        message, at, stop = self._message, self._at, self._stop
        if stop - at < 2 or message[at] & 7 != BYTES:
            return 0, 0
        tag, size, begin = message[at], message[at + 1], at + 2
        if tag >= 0x80:  # a field's number of two bytes
            if size >= 0x80:
                return 0, 0
            tag, size, begin = tag & 0x7F | size << 7, 0x80, at + 3
        if size >= 0x80:
            begin, end = span(message, begin - 1, stop)
        else:
            end = begin + size
        return (tag, begin) if end == stop else (0, 0)

    def _packed(self, head: TensorHead, begin: int, most_bytes: int) -> Array | None:
        width = FIXED_FIELDS.get(head.field)
        if width is None:
            return completed(head, unpack(self._message, begin, self._stop, head.storage), most_bytes)
        size = self._stop - begin
        if size % width:
            return None
        present = min(size // head.storage.itemsize, head.elements)  # without a real part that lacks its imaginary one
        return completed(head, np.frombuffer(self._message, head.storage, present, begin), most_bytes)

    def _strings(self, head: TensorHead, most_bytes: int) -> list[bytes] | None:
        """None: the elements are not written as clients do."""
        message, at, stop = self._message, self._at, self._stop
        if at < stop and message[at] == _CONTENT_TAG:
            begin, end = span(message, at + 1, stop)
            return strings_of_content(head, bytes(message[begin:end]), most_bytes) if begin < end == stop else None
        room = string_room(head, most_bytes)
        strings: list[bytes] = []
        present = 0
        while at < stop:
            if message[at] != _STRING_TAG:
                return None
            begin = at + 2
            if begin <= stop and message[at + 1] < 0x80:  # as `span` does, with no call for each of many strings
                at = begin + message[at + 1]
                if at > stop:
                    return None
            else:
                begin, at = span(message, at + 1, stop)
            present += 1
            if present <= room:
                strings.append(bytes(message[begin:at]))
        return completed_strings(head, strings, present, most_bytes)

    def _odd(self, most_bytes: int) -> DecodedTensor:
        check(self._message, self._start, self._stop, TENSOR, self._depth)
        head, content = self._odd_head()
        if content is not None:
            if head.field == _STRING:
                values: Array | list[bytes] = strings_of_content(
                    head, bytes(self._message[content[0] : content[1]]), most_bytes
                )
            else:
                values = numbers_of_content(head, self._message, *content)
        elif head.field == _STRING:
            room = string_room(head, most_bytes)
            strings: list[bytes] = []
            present = 0
            for number, wire, begin, end in self._fields():
                if number == _STRING and wire == BYTES:
                    present += 1
                    if present <= room:
                        strings.append(bytes(self._message[begin:end]))
            values = completed_strings(head, strings, present, most_bytes)
        else:
            values = completed(head, self._odd_numbers(head), most_bytes)
        return DecodedTensor(head.dtype, head.shape, values)

    def _odd_head(self) -> tuple[TensorHead, Span | None]:
        """And where `tensor_content` lies, if it isn't empty."""
        dtype = 0
        shape: list[int] = []
        content: Span | None = None
        for number, wire, value, end in self._fields():
            if number == _DTYPE and wire == VARINT:
                dtype = signed(value, 32)
            elif number == _SHAPE and wire == BYTES:
                shape += _dims(self._message, value, end, _MOST_DIMS - len(shape))
            elif number == _CONTENT and wire == BYTES:
                content = (value, end) if value < end else None
        return TensorHead.of(dtype, tuple(shape)), content

    def _odd_numbers(self, head: TensorHead) -> Array:
        """Those of all the fields there are, each with one number or several."""
        storage, message = head.storage, self._message
        width = FIXED_FIELDS.get(head.field)
        lone_wire = VARINT if width is None else FIXED32 if width == 4 else FIXED64
        found = bytearray()
        for number, wire, value, end in self._fields():
            if number != head.field:
                continue
            if wire == BYTES:
                found += message[value:end] if width else unpack(message, value, end, storage).view(np.uint8).data
            elif wire == lone_wire:
                found += message[value:end] if width else narrowed(np.array([value], np.uint64), storage).tobytes()
        return np.frombuffer(found, storage, len(found) // storage.itemsize)

    def _fields(self) -> Iterator[tuple[int, int, int, int]]:
        return fields(self._message, self._start, self._stop, self._depth)


def _new_head(key: bytes, depth: int) -> TensorHead | None:
    """None: for such a tensor there is a reason to be told."""
    try:
        check(key, 4, len(key), SHAPE, depth)
        head = TensorHead.of(key[1], tuple(_dims(key, 4, len(key), _MOST_DIMS)))
    except (WireError, ServingError):
        return None
    if len(key) <= _MOST_HEAD_BYTES:
        if len(_heads) >= _MOST_HEADS:
            _heads.clear()
        _heads[key] = head
    return head


def _dims(message: Buffer, start: int, stop: int, most: int) -> list[int]:
    """The dimensions of a TensorShapeProto that was checked, the first `most` of them."""
    dims: list[int] = []
    for number, wire, begin, end in fields(message, start, stop):
        if number == 2 and wire == BYTES and len(dims) < most:
            size = 0
            for inner, inner_wire, value, _ in fields(message, begin, end):
                if inner == 1 and inner_wire == VARINT:
                    size = signed(value)
            dims.append(size)
    return dims

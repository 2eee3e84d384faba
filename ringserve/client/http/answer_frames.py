"""Answers in MessagePack bodies, whose large arrays stay where they are."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Final

import msgpack

from ringserve.client.answers import Prediction
from ringserve.client.tensor_message import Buffer, damaged, error_of, prediction_of, read_answer

_LARGE: Final = 64 << 10  # bytes of an array that is not copied
_FIX_MAP, _MAP_16 = 0x80, 0xDE
_FIX_ARRAY, _ARRAY_16 = 0x90, 0xDC
_OF_FOUR: Final = _FIX_ARRAY | 4  # an output: name, type, shape, data
_FIX_TEXT: Final = 0xA0
_BYTE: Final = struct.Struct(">B")
_SHORT: Final = struct.Struct(">H")
_LONG: Final = struct.Struct(">I")
_TEXTS: Final = {0xD9: _BYTE, 0xDA: _SHORT, 0xDB: _LONG}
_BINS: Final = {0xC4: _BYTE, 0xC5: _SHORT, 0xC6: _LONG}
_NUMBERS: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip


def prediction(message: bytearray) -> Prediction:
    """Its large arrays are views of the message. Raises ServingError: INTERNAL for what is no answer, or the one it is."""
    head, frames = frames_of(message)
    answer = read_answer(head, frames)
    if isinstance(answer, list):
        raise damaged("it has several answers to one request")
    error = error_of(answer)
    if error is not None:
        raise error
    return prediction_of(answer, frames)


def frames_of(message: bytearray) -> tuple[Buffer, list[Buffer]]:
    """The message as it would be with frames: large arrays apart, and their indices where they were.

    The msgpack package would copy them. What it has to look at itself is left in the message; and so is all of one that is
    not as it should be, about which it has better words.
    """
    if len(message) < _LARGE:
        return message, []
    splitter = _Splitter(message)
    with suppress(struct.error, IndexError, _UnknownError):  # what was cut out until then was where it should be
        splitter.answer()
    return splitter.head(), splitter.frames


class _UnknownError(Exception):
    """A value that is left to the package."""


class _Splitter:
    def __init__(self, message: bytearray) -> None:
        self.frames: list[Buffer] = []
        self._view = memoryview(message)
        self._at = 0
        self._taken = 0  # up to where the message has gone into `_pieces`, or a frame
        self._pieces: list[Buffer] = []

    def head(self) -> Buffer:
        return b"".join((*self._pieces, self._view[self._taken :]))

    def answer(self) -> None:
        """Raises IndexError, struct.error or _UnknownError where it goes on otherwise than expected."""
        for _ in range(self._count(_FIX_MAP, _MAP_16)):
            if self._text() != b"outputs":
                self._scalar()
                continue
            for _ in range(self._count(_FIX_ARRAY, _ARRAY_16)):
                self._output()

    def _output(self) -> None:
        if self._view[self._at] != _OF_FOUR:
            raise _UnknownError
        self._at += 1
        self._text()
        self._text()
        for _ in range(self._count(_FIX_ARRAY, _ARRAY_16)):
            self._scalar()
        first = self._view[self._at]
        if first not in _BINS:
            raise _UnknownError
        size, start = self._length(_BINS[first])
        if size > len(self._view) - start:
            raise _UnknownError
        if size >= _LARGE:
            self._pieces += (self._view[self._taken : self._at], msgpack.packb(len(self.frames)))
            self.frames.append(self._view[start : start + size])
            self._taken = start + size
        self._at = start + size

    def _count(self, fixed: int, long: int) -> int:
        """Of a map's or an array's elements."""
        first = self._view[self._at]
        if first & 0xF0 == fixed:
            self._at += 1
            return first & 0x0F
        if first != long:
            raise _UnknownError
        size, self._at = self._length(_SHORT)
        return size

    def _text(self) -> bytes:
        first = self._view[self._at]
        if first & 0xE0 == _FIX_TEXT:
            size, start = first & 0x1F, self._at + 1
        elif first in _TEXTS:
            size, start = self._length(_TEXTS[first])
        else:
            raise _UnknownError
        self._at = start + size
        return bytes(self._view[start : self._at])

    def _scalar(self) -> None:
        first = self._view[self._at]
        if first < 0x80 or first >= 0xE0:
            self._at += 1
        elif first in _NUMBERS:
            self._at += 1 + _NUMBERS[first]
        else:
            self._text()

    def _length(self, form: struct.Struct) -> tuple[int, int]:
        """Of what is at this place, behind its first byte, and where that begins."""
        return form.unpack_from(self._view, self._at + 1)[0], self._at + 1 + form.size

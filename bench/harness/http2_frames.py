"""HTTP/2's frames (RFC 9113), and gRPC's messages in them."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
TABLE_SIZE, ENABLE_PUSH, MOST_STREAMS, WINDOW, FRAME_SIZE = 1, 2, 3, 4, 5  # settings


#: Of a frame and of a window, before either side has said otherwise.
FIRST_FRAME: Final = 16384
FIRST_WINDOW: Final = 65535

FRAME: Final = struct.Struct(">HBBBI")  # a length of 24 bits, kind, flags, stream
PAIR: Final = struct.Struct(">HI")  # a setting
NUMBER: Final = struct.Struct(">I")
_MESSAGE: Final = struct.Struct(">BI")  # how gRPC frames one: is it compressed, its length


class BadConnectionError(Exception):
    """What the server sent is no HTTP/2, or breaks its rules."""


class Template(NamedTuple):
    """A request, made once: what precedes a stream's number in its frames, and the rest."""

    message: bytes  # framed as gRPC does
    data_head: bytes  # of its only DATA frame; b"": it needs several

    @classmethod
    def of(cls, message: bytes) -> Template:
        framed = _MESSAGE.pack(0, len(message)) + message
        fits = len(framed) <= FIRST_FRAME
        return cls(framed, frame_head(len(framed), DATA, END_STREAM) if fits else b"")


def frame_head(length: int, kind: int, flags: int) -> bytes:
    """A frame's, without the stream's number."""
    return length.to_bytes(3, "big") + bytes((kind, flags))


def number_of(payload: bytes) -> int:
    if len(payload) < 4:
        raise BadConnectionError("a number that is cut off")
    return int(NUMBER.unpack_from(payload)[0])


def unpadded(payload: bytes, flags: int, before: int = 0) -> bytes:
    """`before`: bytes that are of no interest, before what is wanted."""
    padding = 0
    if flags & PADDED:
        if not payload:
            raise BadConnectionError("a padding that is cut off")
        padding, before = payload[0], before + 1
    if before + padding > len(payload):
        raise BadConnectionError("a padding that is cut off")
    return payload[before : len(payload) - padding]

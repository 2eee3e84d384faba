"""HTTP/2 by hand: frames as RFC 9113 has them, and headers without HPACK's table or Huffman codes; right or wrong ones."""

from __future__ import annotations

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
_POST, _HTTP = b"\x83", b"\x86"  # :method and :scheme, which have numbers


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", number, value) for number, value in pairs))


def header(name: bytes, value: bytes) -> bytes:
    """A literal that no table keeps."""
    return b"\x00" + _string(name) + _string(value)


def call_headers(method: bytes, *more: bytes) -> bytes:
    """Of a gRPC call."""
    own = (header(b":path", method), header(b":authority", b"localhost"), header(b"te", b"trailers"))
    return b"".join((_POST, _HTTP, *own, header(b"content-type", b"application/grpc"), *more))


def headers(stream: int, block: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, block)


def data(stream: int, message: bytes, flags: int = END_STREAM) -> bytes:
    """A message as gRPC frames it."""
    return frame(DATA, flags, stream, b"\x00" + struct.pack(">I", len(message)) + message)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, length = len(text) - 127, b"\x7f"
    while rest >= 0x80:
        length += bytes((rest & 0x7F | 0x80,))
        rest >>= 7
    return length + bytes((rest,)) + text

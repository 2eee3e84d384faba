"""HTTP/1.1 answers out of the pieces in which they come: with a length, in chunks, or until the connection ends."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_VERSIONS: Final = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_FRAMING: Final = re.compile(rb"\r\n(content-length|transfer-encoding|connection):([^\r\n]*)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_MOST_HEAD: Final = 1 << 16  # bytes of a head, and of what stands between the chunks
_MOST_BODY: Final = 1 << 30
_MOST_DIGITS: Final = 15  # of a chunk's size


class BadAnswerError(Exception):
    """Not HTTP, or more than was asked for. The connection is of no use any more."""


class HttpHead(NamedTuple):
    """`length` of the body; None: in chunks, or until the end. `closes`: the server ends the connection behind the body.
    `text`: all of it, without the empty line.
    """

    status: int
    length: int | None
    chunked: bool
    closes: bool
    text: bytes

    def field(self, name: bytes) -> bytes:
        """The value of a header, by its name in small letters; b"" where there is none."""
        for line in self.text.split(b"\r\n")[1:]:
            found, _, value = line.partition(b":")
            if found.strip().lower() == name:
                return value.strip()
        return b""


class HttpAnswer(NamedTuple):
    head: HttpHead
    body: bytes


def read_head(text: bytes) -> HttpHead:
    """Looks at no more than says where the answer ends. Raises BadAnswerError."""
    status = text[9:12]
    version = text[:9]
    if version not in _VERSIONS or len(status) != 3 or not status.isdigit() or text[12:13] not in (b"", b" ", b"\r"):
        raise BadAnswerError(f"no HTTP/1.1: {text[:100]!r}")
    code = int(status)
    length = b""
    chunked = False
    closes = version == b"HTTP/1.0 "
    for name, value in _FRAMING.findall(text):
        first = name[:2].lower()
        if first == b"tr":
            if value.strip().lower() != b"chunked":
                raise BadAnswerError(f"Transfer-Encoding: {value[:100]!r}")
            chunked = True
        elif len(name) == len(b"connection"):
            closes = (closes or b"close" in value.lower()) and b"keep-alive" not in value.lower()
        elif length and length != value.strip():
            raise BadAnswerError(f"two lengths: {length!r}, {value[:100]!r}")
        else:
            length = value.strip()
    if code < 200 or code in (204, 304):
        return HttpHead(code, 0, False, closes, text)
    if chunked:
        return HttpHead(code, None, True, closes, text)
    if not length:
        return HttpHead(code, None, False, True, text)
    if not length.isdigit() or len(length) > _MOST_DIGITS or int(length) > _MOST_BODY:
        raise BadAnswerError(f"Content-Length: {length[:100]!r}")
    return HttpHead(code, int(length), False, closes, text)


class HttpReader:
    """The answers of one connection, one at a time: whoever reads has asked one question and waits for its answer."""

    __slots__ = ("_buffer", "_chunks", "_head")

    def __init__(self) -> None:
        self._head: HttpHead | None = None
        self._buffer = bytearray()  # of a head that is not whole, or of a body
        self._chunks: _Chunks | None = None

    def feed(self, piece: bytes) -> HttpAnswer | None:
        """What has come next: the answer, when it is whole. Raises BadAnswerError, also for bytes behind the answer."""
        head = self._head
        if head is not None:
            return self._feed_body(head, piece)
        if self._buffer:
            piece = bytes(self._buffer) + piece
            self._buffer.clear()
        end = piece.find(_END)
        if end < 0:
            if len(piece) > _MOST_HEAD:
                raise BadAnswerError("a head without an end")
            self._buffer += piece
            return None
        head = read_head(piece[:end])
        body = piece[end + 4 :]
        if head.length == len(body) and head.status >= 200:
            return HttpAnswer(head, body)
        if head.status < 200:  # another head follows
            return self.feed(body)
        self._head = head
        self._chunks = _Chunks() if head.chunked else None
        return self._feed_body(head, body)

    def end(self) -> HttpAnswer | None:
        """The connection has ended: the answer whose body ends with it, if there is one."""
        head = self._head
        if head is None or head.chunked or head.length is not None:
            return None
        return self._whole(head)

    def _feed_body(self, head: HttpHead, piece: bytes) -> HttpAnswer | None:
        if self._chunks is not None:
            done = self._chunks.feed(piece, self._buffer)
        else:
            self._buffer += piece
            if head.length is not None and len(self._buffer) > head.length:
                raise BadAnswerError("more than one answer")
            done = len(self._buffer) == head.length
        if len(self._buffer) > _MOST_BODY:
            raise BadAnswerError("a body without an end")
        return self._whole(head) if done else None

    def _whole(self, head: HttpHead) -> HttpAnswer:
        answer = HttpAnswer(head, bytes(self._buffer))
        self._head = self._chunks = None
        self._buffer = bytearray()
        return answer


class _Chunks:
    """A chunked body: lines with sizes, as many bytes, an empty line; trailers behind the one of size 0."""

    __slots__ = ("_left", "_line", "_lines_left", "_state")

    def __init__(self) -> None:
        self._state = self._size
        self._line = b""  # that is not whole
        self._left = 0
        self._lines_left = _MOST_HEAD  # bytes of lines altogether that stand beside the data

    def feed(self, piece: bytes, body: bytearray) -> bool:
        """Adds data to the body. Was that the end of it? Raises BadAnswerError."""
        at = 0
        while at < len(piece):
            if self._left:
                data = piece[at : at + self._left]
                body += data
                at += len(data)
                self._left -= len(data)
                continue
            end = piece.find(b"\n", at)
            line = self._line + piece[at : len(piece) if end < 0 else end + 1]
            if len(line) > _MOST_HEAD:
                raise BadAnswerError("a chunk's line without an end")
            if end < 0:
                self._line = line
                return False
            self._line = b""
            at = end + 1
            if not line.endswith(b"\r\n"):
                raise BadAnswerError(f"no end of a line: {line[-100:]!r}")
            if self._state(line[:-2]):
                if at < len(piece):
                    raise BadAnswerError("more than one answer")
                return True
        return False

    def _size(self, line: bytes) -> bool:
        digits = line.partition(b";")[0].strip(b" \t")
        if not digits or len(digits) > _MOST_DIGITS or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadAnswerError(f"no size of a chunk: {line[:100]!r}")
        self._left = int(digits, 16)
        if self._left > _MOST_BODY:
            raise BadAnswerError(f"a chunk of {self._left} bytes")
        self._state = self._gap if self._left else self._trailer
        return False

    def _gap(self, line: bytes) -> bool:
        if line:
            raise BadAnswerError(f"a chunk is longer than it says: {line[:100]!r}")
        self._state = self._size
        return False

    def _trailer(self, line: bytes) -> bool:
        self._lines_left -= len(line) + 2
        if self._lines_left < 0:
            raise BadAnswerError("trailers without an end")
        return not line

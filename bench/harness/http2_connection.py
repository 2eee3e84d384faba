"""HTTP/2 (RFC 9113) on the side of a gRPC client: bytes of a connection in, ended calls out. It knows of no socket.

grpcio takes more time for a call than the servers measured here; and threads of its own, which share the interpreter lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from bench.harness.http2_fields import BadFieldsError, Field, kept_fields, literal_fields, statuses
from bench.harness.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FIRST_FRAME,
    FIRST_WINDOW,
    FRAME,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    MOST_STREAMS,
    NUMBER,
    PADDED,
    PAIR,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    TABLE_SIZE,
    WINDOW,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    BadConnectionError,
    Template,
    frame_head,
    number_of,
    unpadded,
)

#: Of HTTP/2: the server has not looked at the call.
REFUSED: Final = 7

_CANCEL: Final = 8
_MOST_WINDOW: Final = (1 << 31) - 1
_MOST_FRAME: Final = 1 << 20  # bytes of a frame that the server may send
_MOST_MESSAGE: Final = 1 << 30
_MOST_BLOCK: Final = 1 << 16
_MOST_KEPT: Final = 256  # blocks of fields whose status is remembered
_MOST_STREAM: Final = (1 << 31) - 1


class Ended(NamedTuple):
    """`status`: gRPC's; None: the call has none, but for the `reason` that HTTP/2 gives. `message`: as gRPC frames it."""

    key: int
    status: int | None
    reason: int
    message: bytes


class _Call:
    __slots__ = ("key", "pieces", "size", "template", "unsent", "window")

    def __init__(self, key: int, template: Template, window: int) -> None:
        self.key = key
        self.template = template
        self.pieces: list[bytes] = []  # of the answer
        self.size = 0
        self.window = window
        self.unsent: memoryview | None = None


class Http2Connection:
    """One client's. `outgoing` is to be sent, in pieces of any size; `feed` gets what has come."""

    def __init__(self, path: bytes, fields: Sequence[Field]) -> None:
        """`path` of the method, and the fields of every request."""
        self.outgoing = bytearray()
        self.is_going = False  # the server takes no further calls on this connection
        self._block, self._later_block = kept_fields(path, fields)  # of the next call, and of those after it
        self._literal_block = literal_fields(path, fields)
        self._next_stream = 1
        self._last = _MOST_STREAM  # that the server looks at
        self._calls: dict[int, _Call] = {}
        self._streams: dict[int, int] = {}  # by keys
        self._held: deque[tuple[int, Template]] = deque()  # calls beyond the streams that the server allows
        self._large: deque[int] = deque()  # streams with more to send than the windows had room for
        self._window = self._stream_window = FIRST_WINDOW
        self._most_frame = FIRST_FRAME
        self._most_streams = _MOST_WINDOW
        self._unread = b""
        self._taken = 0  # bytes of DATA that the connection's window was not told of
        self._open_block: tuple[int, int, bytearray] | None = None  # fields that go on: stream, flags, so far
        self._known: dict[bytes, tuple[int | None, int | None]] = {}
        ours = {TABLE_SIZE: 0, ENABLE_PUSH: 0, WINDOW: _MOST_WINDOW, FRAME_SIZE: _MOST_FRAME}
        self.outgoing += PREFACE
        self._send(SETTINGS, 0, 0, b"".join(PAIR.pack(*pair) for pair in ours.items()))
        self._send(WINDOW_UPDATE, 0, 0, NUMBER.pack(_MOST_WINDOW - FIRST_WINDOW))

    @property
    def keys(self) -> list[int]:
        """Of calls that have not ended."""
        return [*self._streams, *(key for key, _ in self._held)]

    def call(self, key: int, template: Template) -> None:
        """`key`: what names it; no call under way has the same."""
        if len(self._calls) >= self._most_streams:
            self._held.append((key, template))
            return
        stream = self._next_stream
        self._next_stream += 2
        if self._next_stream > _MOST_STREAM - 2:
            self.is_going = True
        call = self._calls[stream] = _Call(key, template, self._stream_window)
        self._streams[key] = stream
        block, self._block = self._block, self._later_block
        number = NUMBER.pack(stream)
        size = len(template.message)
        if template.data_head and size <= self._window and size <= call.window:
            self._window -= size
            head = frame_head(len(block), HEADERS, END_HEADERS)
            self.outgoing += b"".join((head, number, block, template.data_head, number, template.message))
            return
        self._send(HEADERS, END_HEADERS, stream, block)
        call.unsent = memoryview(template.message)
        self._large.append(stream)
        self._send_large()

    def cancel(self, key: int) -> None:
        """Without effect where there is no such call."""
        stream = self._streams.pop(key, None)
        if stream is None:
            self._held = deque(each for each in self._held if each[0] != key)
            return
        del self._calls[stream]
        self._send(RST_STREAM, 0, stream, NUMBER.pack(_CANCEL))
        self._start_held()

    def feed(self, piece: bytes) -> list[Ended]:
        """Raises BadConnectionError."""
        found: list[Ended] = []
        data = self._unread + piece if self._unread else piece
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, stream = FRAME.unpack_from(data, at)
            length = high << 8 | low
            if length > _MOST_FRAME:
                raise BadConnectionError(f"a frame of {length} bytes")
            if end - at < 9 + length:
                break
            begin, at = at + 9, at + 9 + length
            if self._open_block is not None and kind != CONTINUATION:
                raise BadConnectionError("fields that do not go on")
            ended = self._frame(kind, flags, stream & _MOST_STREAM, data[begin:at])
            if ended is not None:
                found.append(ended)
        self._unread = data[at:]
        if self.is_going:
            found += self._refused()
        return found

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> Ended | None:
        if kind == DATA:
            return self._data(flags, stream, payload)
        if kind == HEADERS:
            block = unpadded(payload, flags, 5 if flags & WITH_PRIORITY else 0)
            if flags & END_HEADERS:
                return self._fields(stream, flags, block)
            self._open_block = stream, flags, bytearray(block)
        elif kind == CONTINUATION:
            return self._continued(flags, stream, payload)
        elif kind == SETTINGS:
            if not flags & ACK:
                self._settings(payload)
        elif kind == WINDOW_UPDATE:
            self._more_window(stream, number_of(payload))
        elif kind == PING:
            if not flags & ACK:
                self._send(PING, ACK, 0, payload[:8].ljust(8, b"\0"))
        elif kind == RST_STREAM:
            return self._end(stream, None, number_of(payload))
        elif kind == GOAWAY:
            self.is_going = True
            self._last = number_of(payload) & _MOST_STREAM
        elif kind == PUSH_PROMISE:
            raise BadConnectionError("a push, which was not allowed")
        return None  # others mean nothing

    def _data(self, flags: int, stream: int, payload: bytes) -> Ended | None:
        self._taken += len(payload)
        if self._taken > _MOST_WINDOW >> 1:
            self._send(WINDOW_UPDATE, 0, 0, NUMBER.pack(self._taken))
            self._taken = 0
        call = self._calls.get(stream)
        if call is None:  # cancelled
            return None
        content = unpadded(payload, flags) if flags & PADDED else payload
        call.pieces.append(content)
        call.size += len(content)
        if call.size > _MOST_MESSAGE:
            raise BadConnectionError("a message without an end")
        return self._end(stream, None, 0) if flags & END_STREAM else None

    def _continued(self, flags: int, stream: int, payload: bytes) -> Ended | None:
        if self._open_block is None or self._open_block[0] != stream:
            raise BadConnectionError("fields that go on without a beginning")
        _, first_flags, block = self._open_block
        block += payload
        if len(block) > _MOST_BLOCK:
            raise BadConnectionError("fields without an end")
        if not flags & END_HEADERS:
            return None
        self._open_block = None
        return self._fields(stream, first_flags, bytes(block))

    def _fields(self, stream: int, flags: int, block: bytes) -> Ended | None:
        """Those at a call's end have its status; of those before no more than HTTP's is of interest."""
        if not flags & END_STREAM:
            return None
        found = self._known.get(block)
        if found is None:
            try:
                found = statuses(block)
            except BadFieldsError as error:
                raise BadConnectionError(str(error)) from error
            if len(self._known) < _MOST_KEPT and len(block) < 1024:
                self._known[block] = found
        return self._end(stream, found[1], 0)

    def _end(self, stream: int, status: int | None, reason: int) -> Ended | None:
        call = self._calls.pop(stream, None)
        if call is None:
            return None
        del self._streams[call.key]
        if call.unsent:  # the server did not want all of it
            self._send(RST_STREAM, 0, stream, NUMBER.pack(_CANCEL))
        self._start_held()
        pieces = call.pieces
        return Ended(call.key, status, reason, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _start_held(self) -> None:
        while self._held and len(self._calls) < self._most_streams and not self.is_going:
            self.call(*self._held.popleft())

    def _settings(self, payload: bytes) -> None:
        if len(payload) % PAIR.size:
            raise BadConnectionError("settings that are cut off")
        for number, value in PAIR.iter_unpack(payload):
            if number == TABLE_SIZE and value < 4096:
                self._block, self._later_block = b"\x20" + self._literal_block, self._literal_block  # once: no table
            elif number == MOST_STREAMS:
                self._most_streams = value
            elif number == WINDOW:
                if value > _MOST_WINDOW:
                    raise BadConnectionError(f"a window of {value} bytes")
                for call in self._calls.values():
                    call.window += value - self._stream_window
                self._stream_window = value
            elif number == FRAME_SIZE and FIRST_FRAME <= value < 1 << 24:
                self._most_frame = value
        self._send(SETTINGS, ACK, 0)
        self._send_large()
        self._start_held()

    def _more_window(self, stream: int, more: int) -> None:
        if not stream:
            self._window += more
        elif (call := self._calls.get(stream)) is not None:
            call.window += more
        self._send_large()

    def _send_large(self) -> None:
        """As much as the windows have room for."""
        for _ in range(len(self._large)):
            stream = self._large.popleft()
            call = self._calls.get(stream)
            if call is None or call.unsent is None:
                continue
            while call.unsent and (room := min(self._window, call.window, self._most_frame)) > 0:
                part, call.unsent = call.unsent[:room], call.unsent[room:]
                self._window -= len(part)
                call.window -= len(part)
                self._send(DATA, 0 if call.unsent else END_STREAM, stream, part)
            if call.unsent:
                self._large.append(stream)
            else:
                call.unsent = None

    def _refused(self) -> Iterator[Ended]:
        """Calls that the server has not looked at, and will not."""
        for stream in [stream for stream in self._calls if stream > self._last]:
            ended = self._end(stream, None, REFUSED)
            if ended is not None:
                yield ended
        while self._held:
            yield Ended(self._held.popleft()[0], None, REFUSED, b"")

    def _send(self, kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> None:
        self.outgoing += frame_head(len(payload), kind, flags)
        self.outgoing += NUMBER.pack(stream)
        self.outgoing += payload

"""Control messages between the supervisor and its children: msgpack maps and file descriptors over a UNIX stream.

A message on the wire is u32 length, u32 descriptors, and the msgpack bytes; its file descriptors travel with its first
byte. Every message has a "type"; which there are stands in docs/design.md.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack

Message = dict[str, Any]

_logger = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<II")
_CHUNK: Final = 1 << 16
_MOST_FDS: Final = 253  # Linux's limit for one sendmsg
_MOST_BYTES: Final = 1 << 30


class Decoder:
    """Bytes and descriptors as they arrive, in any cut, to whole messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._fds: deque[int] = deque()

    def feed(self, data: bytes, fds: Sequence[int]) -> list[tuple[Message, list[int]]]:
        """The messages completed by this input. Raises ValueError for a length that can't be."""
        self._bytes += data
        self._fds.extend(fds)
        messages = []
        at = 0
        while len(self._bytes) - at >= _HEAD.size:
            length, count = _HEAD.unpack_from(self._bytes, at)
            if length > _MOST_BYTES or count > _MOST_FDS:
                raise ValueError(f"control message of {length} bytes and {count} descriptors")
            end = at + _HEAD.size + length
            if len(self._bytes) < end:
                break
            message = msgpack.unpackb(self._bytes[at + _HEAD.size : end], strict_map_key=False)
            messages.append((message, [self._fds.popleft() for _ in range(count)]))
            at = end
        del self._bytes[:at]
        return messages


def _encode(message: Message, fds: Sequence[int]) -> bytes:
    body: bytes = msgpack.packb(message)
    return _HEAD.pack(len(body), len(fds)) + body


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(_MOST_FDS * 4)
    data, control, _, _ = sock.recvmsg(_CHUNK, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) // fds.itemsize * fds.itemsize])
    return data, list(fds)


class Channel:
    """A child's end, used from threads: sending and receiving block."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._decoder = Decoder()
        self._sending = threading.Lock()
        # Not the socket's own timeout: that would be in force for a `send` in another thread too, and cut it short.
        self._arrival = select.poll()
        self._arrival.register(sock, select.POLLIN)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Raises OSError when the other end is gone."""
        data = _encode(message, fds)
        with self._sending:
            sent = socket.send_fds(self._socket, [data], list(fds)) if fds else 0
            self._socket.sendall(data[sent:])

    def receive(self, timeout: float | None = None) -> list[tuple[Message, list[int]]]:
        """The next messages, none after `timeout` seconds. Raises EOFError when the other end is gone."""
        if timeout is not None and not self._arrival.poll(timeout * 1000):
            return []
        try:
            data, fds = _receive(self._socket)
        except ConnectionError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return self._decoder.feed(data, fds)


class AsyncChannel:
    """An end on an event loop: sending queues what does not go out at once, and never blocks."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message, list[int]], None],
        on_close: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._decoder = Decoder()
        self._on_message = on_message
        self._on_close = on_close
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)
        self.closed = False

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Sent in order; dropped when the other end is gone, which `on_close` tells.

        The descriptors are duplicated: the caller may close its own at once.
        """
        if self.closed:
            return
        self._unsent.append((_encode(message, fds), [os.dup(fd) for fd in fds]))
        if len(self._unsent) == 1:
            self._writable()

    def _writable(self) -> None:
        try:
            while self._unsent:
                data, fds = self._unsent[0]
                sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
                for fd in fds:
                    os.close(fd)
                if sent == len(data):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = (data[sent:], [])
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._writable)
            return
        except OSError:
            self.close()
            return
        self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        try:
            data, fds = _receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self.close()
            return
        for message, received in self._decoder.feed(data, fds):
            try:
                self._on_message(message, received)
            except Exception:  # the messages behind it are as good as ever
                _logger.exception("a control message failed in a way it never should: %s", message.get("type"))

    def close(self) -> None:
        """Close and tell `on_close`, once."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        for _, fds in self._unsent:
            for fd in fds:
                os.close(fd)
        self._unsent.clear()
        self._socket.close()
        self._on_close()

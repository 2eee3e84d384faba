"""A local client's control connection: messages as in `ringserve.channel`, from a sender who is not trusted.

A message of the client is at most 64 KiB and has no descriptors; what it doesn't read is not added to.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgpack

from frontend.bodies.message_reader import read_message
from ringserve.channel import Message
from ringserve.errors import ServingError

_HEAD: Final = struct.Struct("<II")
_MOST_BYTES: Final = 64 << 10  # of a message
_CHUNK: Final = 64 << 10
_MOST_AT_ONCE: Final = 16  # messages before others have their turn
_MOST_UNSENT: Final = 64  # messages that the client has not taken; until it does, it is not listened to
_MOST_UNSENT_BYTES: Final = 1 << 20


class ControlSocket:
    """An end on the event loop."""

    def __init__(self, sock: socket.socket, receive: Callable[[Message], None], ended: Callable[[], None]) -> None:
        """`ended` is called once, when the client is gone or has sent what is no message, and by `close`."""
        sock.setblocking(False)
        self._socket = sock
        self._receive = receive
        self._ended = ended
        self._bytes = bytearray()
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        self._unsent_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._reads = False
        self._writes = False
        self._turn: asyncio.Handle | None = None
        self.closed = False
        self._go_on()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """In order, without waiting. The descriptors are closed when they are sent, or can't be."""
        if self.closed:
            _close(fds)
            return
        body = msgpack.packb(message, unicode_errors="surrogateescape")
        data = _HEAD.pack(len(body), len(fds)) + body
        self._unsent.append((memoryview(data), list(fds)))
        self._unsent_bytes += len(data)
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                data, fds = self._unsent[0]
                sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
                _close(fds)
                self._unsent_bytes -= sent
                if sent == len(data):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = (data[sent:], [])
        except (BlockingIOError, InterruptedError):
            if not self._writes:
                self._writes = True
                self._loop.add_writer(self._socket.fileno(), self._writable)
        except OSError:  # gone; or the user has too many descriptors on their way
            self.close()

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._writes = False
        self._flush()
        if not self.closed and self._turn is None:
            self._go_on()

    def _readable(self) -> None:
        try:
            # Not recvmsg: without room for them, descriptors that a client sends are never this process's.
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._bytes += data
        self._go_on()

    def _go_on(self) -> None:
        """Take the messages that are there, some at a time; read more when there is none, and the client reads too."""
        self._turn = None
        for _ in range(_MOST_AT_ONCE):
            if self.closed or self._is_full:
                break
            message = self._next()
            if message is None:
                break
            self._receive(message)
        else:
            self._turn = self._loop.call_soon(self._go_on)
        self._listen(self._turn is None and not self._is_full)

    @property
    def _is_full(self) -> bool:
        return len(self._unsent) >= _MOST_UNSENT or self._unsent_bytes >= _MOST_UNSENT_BYTES

    def _next(self) -> Message | None:
        """The next whole message; None: there is none, or none that is one, and the connection is closed."""
        if len(self._bytes) < _HEAD.size:
            return None
        length, count = _HEAD.unpack_from(self._bytes)
        if length > _MOST_BYTES or count:
            self.close()
            return None
        end = _HEAD.size + length
        if len(self._bytes) < end:
            return None
        body = bytes(self._bytes[_HEAD.size : end])
        del self._bytes[:end]
        try:
            message = read_message(body, _MOST_BYTES)
        except ServingError:
            message = None
        if not isinstance(message, dict):
            self.close()
            return None
        return message

    def _listen(self, wanted: bool) -> None:
        if wanted == self._reads or self.closed:
            return
        self._reads = wanted
        if wanted:
            self._loop.add_reader(self._socket.fileno(), self._readable)
        else:
            self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """What the client has not taken yet, it doesn't get."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        if self._turn is not None:
            self._turn.cancel()
        for _, fds in self._unsent:
            _close(fds)
        self._unsent.clear()
        self._socket.close()
        self._ended()


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)

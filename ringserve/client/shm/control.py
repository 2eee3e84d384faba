"""The connection to a server on the same machine, on which lanes are asked for: what is sent, and who waits for what."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgpack

from ringserve.channel import Channel, Message
from ringserve.client.shm.limit import Limit
from ringserve.client.tensor_message import error_of
from ringserve.errors import Code, ServingError

_PROTOCOL: Final = 1
_MOST_BYTES: Final = 64 << 10  # of a message, which is what the server takes
_SEND_SECONDS: Final = 5  # for which the server may leave its socket unread

#: Gets the answer's message and its descriptors, which it owns; or the error.
Told = Callable[[Message | ServingError, list[int]], None]


def connected(path: str) -> socket.socket:
    """Raises ServingError (UNAVAILABLE)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The kernel's own timeout, in force for `connect` and `send`, while the socket blocks as ever.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _SEND_SECONDS, 0))
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise unavailable(path, error.strerror or str(error)) from error
    return sock


def unavailable(path: str, why: str) -> ServingError:
    return ServingError(Code.UNAVAILABLE, f"The server at shm://{path} can't be reached: {why}")


class ShmControl:
    """Asks in any thread; answers are read in one, the watch's."""

    def __init__(self, path: str) -> None:
        """Connects. Raises ServingError (UNAVAILABLE)."""
        self._path = path
        self._socket = connected(path)
        self._channel = Channel(self._socket)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._asked: dict[int, tuple[Limit, Told]] = {}
        self._error: ServingError | None = None
        # Set by its user:
        self.on_message: Callable[[Message], object] = _nothing  # of what comes without being asked for
        self.on_lost: Callable[[ServingError], object] = _nothing  # nothing can be sent any more

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    def greet(self) -> None:
        """The first message. Raises ServingError."""
        self._send({"type": "hello", "v": _PROTOCOL, "pid": os.getpid()})

    def ask(self, message: Mapping[str, Any], limit: Limit, told: Told) -> None:
        """`told` gets what comes back, or why nothing does, in this thread or the watch's. Once."""
        call = next(self._numbers)
        with self._lock:
            error = self._error
            if error is None:
                self._asked[call] = limit, told
        if error is None:
            try:
                self._send({**message, "call": call})
            except ServingError as failure:
                error = failure
                with self._lock:
                    if self._asked.pop(call, None) is None:
                        return
        if error is not None:
            told(error, [])

    def close_lane(self, number: int) -> None:
        with suppress(ServingError):  # then the server drops all of them
            self._send({"type": "close", "lane": number})

    def _send(self, message: Message) -> None:
        """Raises ServingError: INVALID_ARGUMENT for what is too large, UNAVAILABLE."""
        if len(msgpack.packb(message)) > _MOST_BYTES:
            text = "The names, or the inputs, are too much for a message to the server's control socket"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        try:
            self._channel.send(message)
        except OSError as error:
            # Half a message may have been sent: nothing may follow it.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            lost = unavailable(self._path, error.strerror or str(error))
            self.on_lost(lost)
            raise lost from error

    def read(self) -> None:
        """What has come, which was polled for. By the watch. Raises ServingError when the connection has ended."""
        try:
            messages = self._channel.receive()
        except (EOFError, OSError):
            raise unavailable(self._path, "it went away") from None
        except ValueError as error:  # also what msgpack raises
            raise unavailable(self._path, f"its messages can't be read ({error})") from error
        for message, fds in messages:
            self._on_message(message, fds)

    def _on_message(self, message: Any, fds: list[int]) -> None:
        asked = None
        if not isinstance(message, dict):
            close_all(fds)
            raise unavailable(self._path, "its messages can't be read (one is no map)")
        with self._lock:
            call = message.get("call")
            if isinstance(call, int):
                asked = self._asked.pop(call, None)
        if asked is not None:
            told = asked[1]
            if message.get("type") == "error":
                close_all(fds)
                told(_error_of(message), [])
            else:
                told(message, fds)
        else:
            close_all(fds)
            self._on_unasked(message)

    def _on_unasked(self, message: Message) -> None:
        kind, lane = message.get("type"), message.get("lane")
        if kind == "error" and "call" not in message:
            raise _error_of(message)
        if kind == "lane" and type(lane) is int:  # for nobody who waits still
            self.close_lane(lane)
        else:
            self.on_message(message)

    def expire(self, now: int) -> int:
        """Fail what is late; returns when the next one will be, 0: none will."""
        with self._lock:
            late = [(call, limit, told) for call, (limit, told) in self._asked.items() if 0 < limit.deadline <= now]
            for call, _, _ in late:
                del self._asked[call]
            due = min([limit.deadline for limit, _ in self._asked.values() if limit.deadline], default=0)
        for _, limit, told in late:
            told(limit.late(), [])
        return due

    def end(self, error: ServingError) -> None:
        """Nothing can be asked any more."""
        with self._lock:
            self._error = error
            asked, self._asked = self._asked, {}
        for _, told in asked.values():
            told(error, [])

    def close(self) -> None:
        """The descriptor. Only the watch does it, or whoever knows that there is none."""
        self._socket.close()


def _error_of(message: Message) -> ServingError:
    return error_of(message) or ServingError(Code.UNKNOWN, "The server gave no reason")


def _nothing(_: object) -> None:
    """Nobody wants to know."""


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)

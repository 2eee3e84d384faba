"""A bell joins two processes that need not trust each other: a socket's two ends, each of which rings the other one."""

from __future__ import annotations

import socket
import struct
from typing import Final

_RING: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_TAKEN: Final = bytearray(1 << 16)  # more than the rings that a socket of the usual size holds; what they are is all one


_TIMEVAL: Final = struct.Struct("@ll")


class Bell:
    """One end of a UNIX stream socket. The other end's owner can neither make this one's block nor take its rings away, as
    it could with an eventfd, whose counter and flags belong to all who have it; and its end, of whatever cause, is heard.
    """

    __slots__ = ("_receive", "_send", "_socket", "_timeout")

    def __init__(self, fd: int) -> None:
        """Takes ownership of `fd`, which is a blocking one."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        self._send = self._socket.send
        self._receive = self._socket.recv_into
        self._timeout: float | None = None  # that the socket has

    @classmethod
    def pair(cls) -> tuple[Bell, Bell]:
        """Both ends; one of them is to be handed over."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(near.detach()), cls(far.detach())

    @property
    def fd(self) -> int:
        """To be polled for reading: readable when rung, or when the other side is gone; `clear` tells which. -1: closed."""
        return self._socket.fileno()

    def ring(self) -> None:
        """Wake the other side. Never blocks, and is nothing where the other side is gone."""
        try:  # not `suppress`, which costs half as much as the system call
            self._send(b"\0", _RING)
        except OSError:  # full: it was rung already, and not heard yet; or nobody is there
            return

    def clear(self) -> bool:
        """Take the rings off. False: the other side is gone, or has given the bell up. Never blocks."""
        try:
            return bool(self._receive(_TAKEN, 0, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until rung, at most `timeout` seconds, and take the rings off; says whether it was. When the other side is
        gone it always was, and `clear` tells.

        One system call, where the timeout is the same as the last time: polling first is 5 us slower.
        """
        flags = 0
        if timeout is not None and timeout <= 0:
            flags = socket.MSG_DONTWAIT
        elif timeout != self._timeout:
            seconds, microseconds = divmod(max(int((timeout or 0) * 1e6), timeout is not None), 1_000_000)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(seconds, microseconds))
            self._timeout = timeout
        try:
            self._receive(_TAKEN, 0, flags)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """The other side hears it, where no other process has this end."""
        self._socket.close()

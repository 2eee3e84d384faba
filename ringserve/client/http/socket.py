"""A socket on which everything ends by one time: a timeout of its own counts for each piece, and pieces can be many."""

from __future__ import annotations

import io
import socket
import struct
import time
from typing import Any, Final

Buffer = bytes | bytearray | memoryview

_BUFFER_BYTES: Final = 64 << 10
_INFO_BYTES: Final = 256
_ACKNOWLEDGED: Final = struct.Struct("=120xQ")  # tcpi_bytes_acked of Linux' struct tcp_info
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)


class TimedSocket:
    """What http.client uses of a socket, over a connected one, TLS or not. `ends`: on the monotonic clock, None: never."""

    def __init__(self, connected: Any) -> None:
        self.ends: float | None = None
        self._socket = connected
        self._at_end: int | None = None

    def settimeout(self, seconds: float | None) -> None:
        """Nothing: `ends` counts."""

    def sendall(self, data: Buffer) -> None:
        self.arm()
        self._socket.sendall(data)

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:
        """For reading bytes. The socket stays open for it until it is closed itself."""
        return io.BufferedReader(_Reader(self, self._socket.makefile("rb", buffering=0)), _BUFFER_BYTES)

    def arm(self) -> None:
        """Before each step. Raises TimeoutError where no time is left."""
        if self.ends is None:
            self._socket.settimeout(None)
            return
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    @property
    def acknowledged(self) -> int:
        """Bytes whose receipt the other side's system has confirmed, up to `close`; 0 where that can't be known."""
        return self._count() if self._at_end is None else self._at_end

    def fileno(self) -> int:
        number: int = self._socket.fileno()
        return number

    def shutdown(self, how: int) -> None:
        """Wakes whoever waits for this socket."""
        # Not the TLS socket's own: that also forgets its TLS state, under the hands of the thread that uses it.
        socket.socket.shutdown(self._socket, how)

    def close(self) -> None:
        if self._at_end is None:
            self._at_end = self._count()
        self._socket.close()

    def _count(self) -> int:
        if _TCP_INFO is None:
            return 0
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO_BYTES)
            return int(_ACKNOWLEDGED.unpack_from(info)[0])
        except (OSError, struct.error):  # it is closed, or the system has another tcp_info
            return 0


class _Reader(io.RawIOBase):
    def __init__(self, timed: TimedSocket, reader: Any) -> None:
        super().__init__()
        self._timed = timed
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.arm()
        count: int | None = self._reader.readinto(buffer)
        return count

    def close(self) -> None:
        self._reader.close()
        super().close()

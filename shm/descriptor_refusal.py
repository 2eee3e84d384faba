"""UNIX sockets to which nobody can send a file descriptor."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

_SO_PASSRIGHTS: Final = 83  # of Linux 6.16 and later


def refuse_descriptors(sock: socket.socket) -> None:
    """Whoever sends one to this end, or to a connection that this listening socket accepts, gets an error.

    For sockets whose other end is not trusted, before it is handed over. Descriptors that are not wanted are closed by the
    kernel in the thread that reads, or closes the socket; and to close one may take as long as its sender likes: a TCP
    socket that lingers waits for a peer that does not read. Kernels before 6.16 have no such setting.
    """
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)

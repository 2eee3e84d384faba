"""The admin socket's file: made for its owner alone, never taken from a server that lives, removed at the end."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from manager.locked_folder import locked
from ringserve.admin_socket import answers, check_path
from ringserve.errors import Code, ServingError

_OWNER_ONLY: Final = 0o600
_WAITING: Final = 16  # connections that are not accepted yet


class AdminListener:
    """A listening UNIX socket and the file it is known by."""

    def __init__(self, path: str, sock: socket.socket) -> None:
        self.path = path
        self.sock = sock
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove the file, unless it is another server's by now."""
        with suppress(OSError):
            if _identity(self.path) == self._identity:
                os.unlink(self.path)


async def listen(path: str) -> AdminListener:
    """Listen there, in the place of a server that has ended without removing its file.

    Raises ServingError: INVALID_ARGUMENT for a path that can't be, ALREADY_EXISTS when somebody answers there or it is no
    socket, FAILED_PRECONDITION when the file can't be made.
    """
    check_path(path)
    try:
        async with locked(Path(path).parent):  # between a bind and its listen, a socket looks like a dead one
            _clear(path)
            return AdminListener(path, _bound(path))
    except OSError as error:
        text = f"can't make the admin socket {path}: {error.strerror or error}"
        raise ServingError(Code.FAILED_PRECONDITION, text) from error


def _clear(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ServingError(Code.ALREADY_EXISTS, f"{path} is there and is not a socket")
    if answers(path):
        raise ServingError(Code.ALREADY_EXISTS, f"another server has its admin socket at {path}")
    os.unlink(path)


def _bound(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, _OWNER_ONLY)  # before it listens, so nobody else gets in between
        sock.listen(_WAITING)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _identity(path: str) -> tuple[int, int]:
    facts = os.lstat(path)
    return facts.st_dev, facts.st_ino

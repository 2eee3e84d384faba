"""A UNIX socket at a path of the user's choice, which front ends are handed before it listens."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from manager.grpc_address import check_socket_path
from manager.locked_folder import locked
from ringserve.errors import Code, ServingError
from shm.descriptor_refusal import refuse_descriptors

_WAITING: Final = 1024  # connections that are not accepted yet
#: For this user and root alone.
OWNER_ONLY: Final = 0o600


class UnixListener:
    """Front ends inherit `sock` before it has a name: only when the server opens does the file appear.

    So two servers with one path never take each other's file: while the first loads its models, there is none.
    """

    def __init__(self, path: str, mode: int | None = None) -> None:
        """`mode`: the file's permissions; None: as the umask leaves them. Raises ServingError where it could not be made."""
        check_socket_path(path)
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        refuse_descriptors(self.sock)
        self.sock.setblocking(False)  # front ends share it: another one may have accepted meanwhile
        self._mode = mode
        self._identity: tuple[int, int] | None = None

    async def listen(self) -> None:
        """Make the file, in the place of that of a server that was killed, and listen; no more than once.

        Raises ServingError (UNAVAILABLE) when somebody answers there, it is no socket, or it can't be made.
        """
        try:
            async with locked(Path(self.path).parent):  # between a bind and its listen, a socket looks like a dead one
                if self._identity is None:
                    self._bind()
        except OSError as error:
            raise ServingError(Code.UNAVAILABLE, f"Can't listen on {self.path}: {error.strerror or error}") from error

    def _bind(self) -> None:
        check_socket_path(self.path)
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(self.path).st_mode):
                os.unlink(self.path)
        self.sock.bind(self.path)
        self._identity = _identity(self.path)
        if self._mode is not None:
            os.chmod(self.path, self._mode)  # before it listens, so nobody else gets in between
        self.sock.listen(_WAITING)

    def close(self) -> None:
        """Remove the file, unless it is another server's by now. Front ends still have the socket."""
        self.sock.close()
        if self._identity is not None:
            with suppress(OSError):
                if _identity(self.path) == self._identity:
                    os.unlink(self.path)


def _identity(path: str) -> tuple[int, int]:
    facts = os.lstat(path)
    return facts.st_dev, facts.st_ino

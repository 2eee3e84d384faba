"""Where gRPC listens. Its library makes its own sockets, in each front end, and so can't be given the supervisor's.

With SO_REUSEPORT, which several front ends need, two servers of one user could share a port and never know; a UNIX socket
it takes from whoever listens there. So the supervisor looks first, before anything is loaded.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from manager.listener import bind
from ringserve.admin_socket import answers, check_path
from ringserve.errors import Code, ServingError


def reserve(port: int) -> socket.socket:
    """Keeps other servers away from the port until it is closed, and lets front ends listen there.

    It never listens itself, so no connection gets into it. Raises ServingError when the port can't be had.
    """
    (reservation,) = bind(port, 1)
    return reservation


def check_socket_path(path: str) -> None:
    """Can a UNIX socket be made there? The file of a server that was killed is no obstacle: gRPC replaces it.

    To be asked at the start, and again right before a front end listens: nothing holds the path between. Raises
    ServingError.
    """
    check_path(path)
    folder = Path(path).parent
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        _refuse(path, error.strerror or str(error))
    if mode is not None and not stat.S_ISSOCK(mode):
        _refuse(path, "It is there and is not a socket")
    if mode is not None and answers(path):
        _refuse(path, "Address already in use")
    if not folder.is_dir():
        _refuse(path, f"No such folder: {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        _refuse(path, f"Permission denied: {folder}")


def remove_socket(path: str) -> None:
    """At the end: gRPC removes the file, but a process that ends meanwhile, or is killed, leaves it there."""
    with suppress(OSError):
        if stat.S_ISSOCK(os.stat(path).st_mode) and not answers(path):
            os.unlink(path)


def _refuse(path: str, text: str) -> NoReturn:
    raise ServingError(Code.UNAVAILABLE, f"Can't listen on {path}: {text}") from None

"""The admin socket's place: where a server puts it, and where commands look for it."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path
from typing import Final

from ringserve.errors import Code, ServingError

#: The value of --admin_socket for a server without one.
OFF: Final = "none"

_LONGEST: Final = 107  # bytes that a sockaddr_un has for the path, without its closing NUL
_NAME: Final = re.compile(r"ringserve-[0-9]+\.sock")
_PRIVATE: Final = 0o700
_TEMPORARY: Final = "/tmp"  # not TMPDIR, which a server and its commands often have differently


def default_path(port: int) -> str:
    """For a server with this REST port, or with none (0); makes the folder. Raises ServingError if it can't be trusted."""
    return str(_own_folder() / f"ringserve-{port or os.getpid()}.sock")


def existing_paths(number: int | None = None) -> list[str]:
    """Sockets that this user's servers have made and not removed, or only the one with this port or process id."""
    found = []
    for folder in filter(_is_ours, folders()):
        names = sorted(entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name))
        found += [str(folder / name) for name in names if number is None or name == f"ringserve-{number}.sock"]
    return found


def folders() -> list[Path]:
    """Where this user's sockets may be: a service has no XDG_RUNTIME_DIR, the shell beside it has one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    fallback = Path(_TEMPORARY, f"ringserve-{os.geteuid()}")
    return [Path(runtime), fallback] if runtime.startswith("/") else [fallback]


def check_path(path: str) -> None:
    """Raises ServingError (INVALID_ARGUMENT) for a path that no UNIX socket can have."""
    length = len(os.fsencode(path))
    if length > _LONGEST:
        text = f"a UNIX socket's path has at most {_LONGEST} bytes, and {path} has {length}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    if not path or "\0" in path:
        raise ServingError(Code.INVALID_ARGUMENT, f"not a path for a UNIX socket: {path!r}")


def answers(path: str) -> bool:
    """Does anybody accept connections there? Also true for what can't be asked, and so must not be taken for dead."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a server too busy to accept is there nonetheless
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _own_folder() -> Path:
    for folder in folders()[:-1]:
        if _is_ours(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    folder = folders()[-1]
    try:
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
    except OSError as error:
        text = f"can't make the folder {folder} for the admin socket: {error.strerror}"
        raise ServingError(Code.FAILED_PRECONDITION, text) from error
    if not _is_ours(folder):  # in /tmp anybody may have been first
        text = f"{folder} is not a folder of this user's alone: admin sockets there can't be trusted"
        raise ServingError(Code.FAILED_PRECONDITION, text)
    return folder


def _is_ours(folder: Path) -> bool:
    """A real folder, this user's, and nobody else can put anything there."""
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022

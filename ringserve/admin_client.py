"""Admin client: what `ringserve models` asks of a running server, over its admin socket."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import Any, Final

from ringserve.admin_socket import answers, check_path, existing_paths, folders
from ringserve.errors import Code, ServingError

_MARGIN_SECONDS: Final = 5.0  # the server's own words for a wait that was too long are to come first
_CHUNK: Final = 1 << 16


class AdminClient:
    """One server, by the path of its admin socket. Each call opens a connection of its own.

    Every failure is a ServingError: the server's own for an error answer, UNAVAILABLE where nobody answers,
    PERMISSION_DENIED for another user's server, DEADLINE_EXCEEDED where no answer comes in time.
    """

    def __init__(self, path: str, timeout: float) -> None:
        """`timeout`: seconds for the server to do what it is asked."""
        check_path(path)
        self.path = path
        self.timeout = timeout

    def call(self, verb: str, **fields: Any) -> dict[str, Any]:
        """The result of a verb; fields that are None are left out."""
        given = {name: value for name, value in fields.items() if value is not None}
        request = json.dumps({"verb": verb, "timeout": self.timeout, **given}).encode() + b"\n"
        return _result(self._exchange(request), self.path)

    def _exchange(self, request: bytes) -> bytes:
        end = time.monotonic() + self.timeout + _MARGIN_SECONDS
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(self.timeout + _MARGIN_SECONDS)
            try:
                sock.connect(self.path)
                with suppress(BrokenPipeError, ConnectionResetError):  # refusing a request midway is an answer too
                    sock.sendall(request)
                return _read_line(sock, end)
            except TimeoutError as error:
                text = f"no answer from {self.path} within {self.timeout:g} s"
                raise ServingError(Code.DEADLINE_EXCEEDED, text) from error
            except OSError as error:
                raise _unreachable(self.path, error) from error


def find_server(number: int | None = None) -> str:
    """The socket of the only server that answers, or of the one with this REST port (without one: process id).

    Raises ServingError: UNAVAILABLE when there is none, FAILED_PRECONDITION when there are several.
    """
    found = [path for path in existing_paths(number) if answers(path)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = "".join(f"\n  {path}" for path in found)
        raise ServingError(Code.FAILED_PRECONDITION, f"several servers run: say which, with --socket or --port{listed}")
    which = "no server" if number is None else f"no server with port {number}"
    places = " or ".join(str(folder) for folder in folders())
    raise ServingError(Code.UNAVAILABLE, f"{which} has an admin socket in {places} (--socket names one elsewhere)")


def _read_line(sock: socket.socket, end: float) -> bytes:
    chunks: list[bytes] = []
    while not (chunks and chunks[-1].endswith(b"\n")):
        sock.settimeout(max(end - time.monotonic(), 0.001))
        chunk = sock.recv(_CHUNK)
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)


def _result(answer: bytes, path: str) -> dict[str, Any]:
    if not answer:
        raise ServingError(Code.UNAVAILABLE, f"the server at {path} has ended before it answered")
    try:
        fields = json.loads(answer)
        if "error" in fields:
            code, message = Code[fields["error"]["code"]], str(fields["error"]["message"])
        else:
            result: dict[str, Any] = {**fields["result"]}
            return result
    except (ValueError, LookupError, TypeError) as error:
        raise ServingError(Code.INTERNAL, f"what answers at {path} is not an admin socket") from error
    raise ServingError(code, message)


def _unreachable(path: str, error: OSError) -> ServingError:
    if isinstance(error, FileNotFoundError):
        return ServingError(Code.UNAVAILABLE, f"there is no admin socket {path}: is the server running?")
    if isinstance(error, ConnectionRefusedError):
        return ServingError(Code.UNAVAILABLE, f"nobody answers at {path}: its server has ended")
    if isinstance(error, PermissionError):
        return ServingError(Code.PERMISSION_DENIED, f"{path} belongs to another user's server")
    return ServingError(Code.UNAVAILABLE, f"cannot reach {path}: {error.strerror or error}")

"""A question over HTTP, and its answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from socket import SHUT_RDWR
from typing import Any, Final, NamedTuple

from ringserve.errors import Code, ServingError

Buffer = bytes | bytearray | memoryview

_CODE: Final = "X-Ringserve-Code"  # which our own server sends
#: Of the codes that share a status the one that is meant most often.
_CODES: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,  # of a proxy
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


class HttpQuestion(NamedTuple):
    """`path`: behind the address' prefix; `body`: its parts, where there is one."""

    verb: str
    path: str
    body: Sequence[Buffer] | None = None
    headers: Mapping[str, str] = {}


class HttpAnswer(NamedTuple):
    """`headers`: by names in any case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytearray

    def document(self) -> Any:
        """The JSON value that the body is, None for what is none; texts may be anything."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def error(self) -> ServingError | None:
        """What the server says instead of an answer; None: it is one."""
        if self.status == HTTPStatus.OK:
            return None
        document = self.document()
        text = document.get("error") if isinstance(document, dict) else None
        if not isinstance(text, str) or not text:  # it wasn't the model server that spoke
            text = f"HTTP {self.status} {self.reason}"
        named = Code.__members__.get(self.headers.get(_CODE, ""))
        return ServingError(named or _CODES.get(self.status, Code.UNKNOWN), text)

    def checked(self) -> HttpAnswer:
        """Itself. Raises the ServingError that it is."""
        error = self.error()
        if error is not None:
            raise error
        return self


class HttpCall:
    """What others may do with a call that some thread waits for: end it."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._lock = threading.Lock()
        self._connection: Any = None

    def uses(self, connection: Any) -> None:
        """From now on, or none any more. A connection is another call's once this one has let it go."""
        with self._lock:
            self._connection = connection

    def cancel(self) -> None:
        """Whoever waits is woken, and sees the connection lost. One that is just being made is given up when it is there."""
        with self._lock:
            self.is_cancelled = True
            opened = None if self._connection is None else self._connection.sock
            if opened is not None:
                with suppress(OSError):  # the other side has ended it already
                    opened.shutdown(SHUT_RDWR)

"""Connections to one server that are kept and used again, by any number of threads; one call at a time on each."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from ringserve.client.deadline import Deadline
from ringserve.client.failures import cancelled, closed, interrupted, late
from ringserve.client.http.address import HttpAddress
from ringserve.client.http.exchange import HttpAnswer, HttpCall, HttpQuestion
from ringserve.client.http.socket import TimedSocket
from ringserve.errors import Code, ServingError

_MOST_IDLE: Final = 64
_PIECE: Final = 1 << 20  # bytes of an answer that are asked for at a time
_FAILURES: Final = (OSError, HTTPException, HTTPError)  # OSError: TLS' errors and TimeoutError, too
_REFUSALS: Final = (BrokenPipeError, ConnectionResetError)
_LOSSES: Final = (ConnectionError, ssl.SSLEOFError)


class _LostError(Exception):
    """A connection that had been used before was lost, and the same question may be asked again."""


class HttpConnections:
    """`exchange` until `close`. Of one process."""

    def __init__(self, address: HttpAddress, context: ssl.SSLContext | None, server_name: str) -> None:
        """`context`: for https; `server_name`: in the server's certificate, "" for the address' host."""
        host, port, name = address.host, address.port, server_name or address.host

        def connection() -> HTTPConnection:
            if context is None:
                return HTTPConnection(host, port)
            return HTTPSConnection(host, port, ssl_context=context, server_hostname=name)

        self._address = address
        self._made: Callable[[], HTTPConnection] = connection
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._busy: set[HttpCall] = set()
        self._closed = False

    def exchange(self, question: HttpQuestion, deadline: Deadline, call: HttpCall) -> HttpAnswer:
        """Waits for the answer, whatever its status. Raises ServingError where there is none."""
        with self._lock:
            if self._closed:
                raise closed()
            self._busy.add(call)
        try:
            while True:  # each time around there is an idle connection less
                try:
                    return self._attempt(question, deadline, call)
                except _LostError:
                    pass
        finally:
            with self._lock:
                self._busy.discard(call)

    def close(self) -> None:
        """Whoever waits for an answer gets `failures.interrupted`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for connection in idle:
            connection.close()
        for call in busy:
            call.cancel()

    def _attempt(self, question: HttpQuestion, deadline: Deadline, call: HttpCall) -> HttpAnswer:
        connection = self._take() or self._made()
        used: Any = connection.sock  # a TimedSocket, which for http.client is as good as a socket
        before = 0 if used is None else used.acknowledged
        call.uses(connection)
        opened = answered = kept = False
        try:
            _open(connection, deadline, call)
            opened = True
            whole = _send(connection, self._address.prefix, question)
            response = connection.getresponse()
            answered = True
            answer = HttpAnswer(response.status, response.reason or "", response.headers, _body(response))
            kept = whole
        except _FAILURES as error:
            call.uses(None)
            connection.close()
            lost = used is not None and not answered and isinstance(error, _LOSSES)
            if lost and not call.is_cancelled and _may_be_asked_again(question, used, before):
                raise _LostError from None
            raise self._failure(error, deadline, call, opened) from None
        finally:
            call.uses(None)
            self._release(connection, kept)  # where a signal's handler has raised something, too
        return answer

    def _take(self) -> HTTPConnection | None:
        """The one that was used last, and that the server hasn't closed meanwhile."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_connected:
                return connection
            connection.close()

    def _release(self, connection: HTTPConnection, kept: bool) -> None:
        if kept and connection.sock is not None:  # None: the server wanted it closed
            with self._lock:
                if not self._closed and len(self._idle) < _MOST_IDLE:
                    self._idle.append(connection)
                    return
        connection.close()

    def _failure(self, error: Exception, deadline: Deadline, call: HttpCall, opened: bool) -> ServingError:
        if self._closed:
            return interrupted()
        if call.is_cancelled:
            return cancelled()
        cause = _cause(error)
        if isinstance(cause, TimeoutError) and cause.errno is None:  # with a number it is the system's, not ours
            return late(deadline.seconds)
        what = "lost the connection to" if opened else "cannot reach"
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        return ServingError(Code.UNAVAILABLE, f"{what} {self._address.url}: {reason}")


def _open(connection: HTTPConnection, deadline: Deadline, call: HttpCall) -> None:
    left = deadline.left()
    if left == 0:
        raise TimeoutError
    if connection.sock is None:
        connection.timeout = left
        connection.connect()
        made: Any = TimedSocket(connection.sock)
        connection.sock = made
        left = deadline.left()
    timed: Any = connection.sock
    timed.ends = None if left is None else time.monotonic() + left
    if call.is_cancelled:  # while there was nothing to wake it by
        raise ConnectionAbortedError


def _send(connection: HTTPConnection, prefix: str, question: HttpQuestion) -> bool:
    """Was all of it taken? Refusing a body midway is an answer too, after which the connection can't be used again."""
    headers: dict[str, str] = {"User-Agent": "ringserve", **question.headers}
    body: Any = question.body
    if body is not None:
        headers["Content-Length"] = str(sum(map(len, body)))
    path = prefix + question.path
    try:
        connection.request(question.verb, path, body, headers, preload_content=False, decode_content=False)
    except _REFUSALS:
        return False
    return True


def _body(response: HTTPResponse) -> bytearray:
    """Grows with what is there: no length is believed."""
    body = bytearray()
    while piece := response.read(_PIECE):
        body += piece
    return body


def _may_be_asked_again(question: HttpQuestion, used: TimedSocket, before: int) -> bool:
    """Of a question on which a kept connection was lost, before anything of an answer had come.

    A server closes connections on which nothing happens, and it may do so just when the next question is on its way. GET may
    be repeated whatever became of it (RFC 9110, 9.2.2); POST only where it is known not to have been carried out, or to be
    safe. That an inference changes nothing doesn't make it safe: the connection may be lost because this very request has
    brought the server down, and it would bring down the next one. But where the other side's system has not acknowledged a
    single byte, no program there can have seen any of it.
    """
    return question.verb == "GET" or 0 < used.acknowledged == before


def _cause(error: BaseException) -> BaseException:
    """What the system or http.client said, behind what urllib3 says."""
    while isinstance(error, HTTPError):
        inner = error.__cause__ or next((one for one in error.args if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error

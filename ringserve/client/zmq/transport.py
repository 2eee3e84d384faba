"""MessagePack messages over ZeroMQ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from ringserve.client.call_future import call_started
from ringserve.client.deadline import Deadline
from ringserve.client.failures import closed, interrupted, late
from ringserve.client.operation_answers import answer_of
from ringserve.client.operations import Operation, Predict
from ringserve.client.per_process import PerProcess
from ringserve.client.tensor_message import Answer, Buffer, read_answer
from ringserve.client.transport import nothing
from ringserve.client.zmq.address import ZmqAddress
from ringserve.client.zmq.connection import Connection
from ringserve.client.zmq.keys import CurveKeys, CurveTexts
from ringserve.client.zmq.messages import QUESTIONS, request_parts
from ringserve.client.zmq.pool import ConnectionPool
from ringserve.client.zmq.request_templates import RequestTemplates
from ringserve.client.zmq.submitter import Call, Submitter, identifiers
from ringserve.errors import Code, ServingError

T = TypeVar("T")

_SLICE: Final = 0.1  # seconds after which a waiting thread sees that the client was closed


class ZmqTransport:
    """A thread that waits for an answer receives it itself, over a connection that it has for itself meanwhile; what is
    started without waiting goes over another one, which a thread serves.
    """

    def __init__(self, url: str, keys: CurveKeys | None = None) -> None:
        """Raises ValueError for a URL of another form and for what is no key, OSError where a file of keys can't be read."""
        address, texts = ZmqAddress.of(url), None if keys is None else keys.read()
        self._identifier = identifiers()
        self._templates = RequestTemplates()
        self._is_closed = False
        self._process = PerProcess(lambda: _Process(address, texts), _Process.close)

    def call(self, operation: Operation[T], timeout: float | None) -> T:
        deadline = Deadline(timeout)
        identifier = self._identifier()
        parts = self._parts(operation, identifier, timeout)
        _check_time(timeout)
        process = self._made()
        for is_last in (not isinstance(operation, QUESTIONS), True):
            connection = process.pool.take()
            if connection is None:
                return call_started(self, operation, deadline.left())  # another thread's work
            try:
                answer, frames = _exchanged(process.pool, connection, parts, identifier, deadline)
            except BaseException as error:
                if not isinstance(error, ServingError):  # of a signal's handler, perhaps in the middle of a message
                    connection.failure = interrupted()
                    raise
                was_lost = error is connection.failure and error.code is Code.UNAVAILABLE and connection.is_up
                if is_last or not was_lost:
                    raise
                continue
            finally:
                process.pool.give(connection)
            return answer_of(operation, answer, frames)
        raise AssertionError

    def start(
        self, operation: Operation[T], timeout: float | None, done: Callable[[T | ServingError], None]
    ) -> Callable[[], object]:
        process = self._made()
        try:
            identifier = self._identifier()
            parts = self._parts(operation, identifier, timeout)
            _check_time(timeout)
        except ServingError as error:
            done(error)
            return nothing
        # The caller may change its arrays as soon as this returns.
        own: list[Buffer] = [part if isinstance(part, bytes) else bytes(part) for part in parts]
        return process.submitter().submit(Call(identifier, own, operation, timeout, done))

    def close(self) -> None:
        self._is_closed = True
        process = self._process.made()
        if process is not None:
            process.close()

    def __del__(self) -> None:
        process = self._process.made() if hasattr(self, "_process") else None
        if process is not None:
            process.abandon()

    def _made(self) -> _Process:
        if self._is_closed:
            raise closed()
        return self._process.get()

    def _parts(self, operation: Operation[Any], identifier: bytes, timeout: float | None) -> list[Buffer]:
        """Raises ServingError."""
        if type(operation) is Predict:
            message = self._templates.message(operation, identifier, timeout)
            if message is not None:
                return [message]
        return request_parts(operation, identifier, timeout)


class _Process:
    """What a process makes for itself."""

    def __init__(self, address: ZmqAddress, keys: CurveTexts | None) -> None:
        self.pool = ConnectionPool(address, keys)
        self._lock = threading.Lock()
        self._submitter: Submitter | None = None

    def submitter(self) -> Submitter:
        """Raises ServingError (FAILED_PRECONDITION) when closed."""
        known = self._submitter
        if known is None:
            with self._lock:
                if self.pool.is_closed:
                    raise closed()
                known = self._submitter = self._submitter or Submitter(self.pool)
        return known

    def close(self) -> None:
        with self._lock:
            self.pool.close()
            submitter = self._submitter
        if submitter is not None:
            submitter.close()

    def abandon(self) -> None:
        """As `close`, when no caller is left; in any thread, at any moment: it takes no lock that could be taken."""
        if self._submitter is None:
            self.pool.close()
        else:
            self._submitter.abandon()


def _exchanged(
    pool: ConnectionPool, connection: Connection, parts: Sequence[Buffer], identifier: bytes, deadline: Deadline
) -> tuple[Answer, Sequence[Buffer]]:
    """The answer, and its frames. Raises ServingError."""
    if not connection.is_up and not connection.wait_until_up(deadline.left()):
        raise late(deadline.seconds)
    if not connection.send(parts) and not connection.wait_until_sent(parts, deadline.left()):
        raise late(deadline.seconds)
    while True:
        left = deadline.left()
        message = connection.receive(_SLICE if left is None else min(left, _SLICE))
        if message is not None:
            answer = _found(connection, message[0], identifier)
            if answer is not None:
                return answer, message[1]
        elif pool.is_closed:
            raise interrupted()
        elif left == 0:
            raise late(deadline.seconds)


def _found(connection: Connection, header: Buffer, identifier: bytes) -> Answer | None:
    """None: the answer of another call, that no longer waited."""
    try:
        answers = read_answer(header)
    except ServingError as error:
        connection.failure = error  # whatever comes next can't be trusted either
        raise
    for answer in answers if isinstance(answers, list) else (answers,):
        # Without one, the server could not read the request.
        if answer.get("id") in (identifier, None):
            return answer
    return None


def _check_time(timeout: float | None) -> None:
    if timeout is not None and timeout <= 0:
        raise late(timeout)

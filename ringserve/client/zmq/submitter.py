"""A thread that makes calls for others: it joins their requests, and hands over the answers.

What is submitted while it is busy goes out together in the next message. So requests are joined as far as there is something
to do, and none waits for another to come.
"""

from __future__ import annotations

import itertools
import logging
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import zmq

from ringserve.client.failures import again, cancelled, closed, interrupted, late, unforeseen
from ringserve.client.operation_answers import answer_of
from ringserve.client.operations import Operation, Predict
from ringserve.client.tensor_message import Buffer, damaged, read_answer
from ringserve.client.zmq.alike_answers import AlikeAnswers, alike_answers
from ringserve.client.zmq.connection import Connection, Message
from ringserve.client.zmq.messages import MOST_JOINED, joined
from ringserve.client.zmq.pool import ConnectionPool
from ringserve.errors import Code, ServingError

_MOST_JOINED: Final = min(1024, MOST_JOINED)  # requests
_JOINED_BYTES: Final = 128 << 10
_MOST_TAKEN: Final = 64  # messages that are taken before requests have their turn
_LONGEST_WAIT: Final = 3600.0  # seconds
_JOIN_SECONDS: Final = 10.0

_logger = logging.getLogger(__name__)


class Call:
    """Whoever takes it out of the calls that are open tells its outcome."""

    __slots__ = ("deadline", "done", "identifier", "is_sent", "operation", "parts", "timeout")

    def __init__(
        self,
        identifier: bytes,
        parts: list[Buffer],
        operation: Operation[Any],
        timeout: float | None,
        done: Callable[[Any], None],
    ) -> None:
        """`done` must not wait. `parts` must not change any more."""
        self.identifier = identifier
        self.parts = parts
        self.operation = operation
        self.timeout = timeout
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        self.done = done
        self.is_sent = False


class Submitter:
    """Its thread lives until it is closed."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: Connection | None = None
        self._open: dict[bytes, Call] = {}
        self._queue: deque[Call] = deque()
        self._unsent: deque[Call] = deque()
        self._packed: tuple[list[Call], list[Buffer]] | None = None
        self._next_look = math.inf
        self._lock = threading.Lock()
        self._is_asleep = False
        self._is_closed = False
        self._bell, self._rung = socket.socketpair()
        self._bell.setblocking(False)
        self._rung.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="ringserve-zmq", daemon=True)
        self._thread.start()

    def submit(self, call: Call) -> Callable[[], None]:
        """Returns what cancels it. Raises ServingError when the submitter is closed."""
        with self._lock:
            if self._is_closed:
                raise closed()
            self._open[call.identifier] = call
            self._queue.append(call)
            wakes, self._is_asleep = self._is_asleep, False
        if wakes:
            self._wake()

        def cancel() -> None:
            self._settle(call, cancelled())

        return cancel

    def close(self) -> None:
        """Returns when all calls are over, except in their own callbacks. Again: does nothing."""
        with self._lock:
            self._is_closed = True
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_SECONDS)

    def abandon(self) -> None:
        """As `close`, without waiting, and without a lock; the thread closes the pool, too."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # rung already, or there is nobody
            self._bell.send(b"\0")

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._step()
            except ServingError as error:
                self._lose(error)
            except Exception as error:  # whatever it is, somebody waits
                self._lose(ServingError(Code.INTERNAL, f"The client's thread has failed: {error!r}"))
        self._fail(list(self._open.copy().values()), interrupted())
        if self._connection is not None:
            self._pool.discard(self._connection)
        self._pool.close()
        self._bell.close()
        self._rung.close()

    def _step(self) -> None:
        with suppress(IndexError):
            while True:
                call = self._queue.popleft()
                self._unsent.append(call)
                self._next_look = min(self._next_look, call.deadline)
        connection = self._usable()
        is_stuck = connection is not None and not self._sent(connection)
        if connection is not None:
            for _ in range(_MOST_TAKEN):
                message = connection.take()
                if message is None:
                    break
                self._settle_all(message)
            if connection.failure is not None:  # after the answers that came before
                raise connection.failure
        if time.monotonic() >= self._next_look:
            self._fail_late()
        self._wait(connection, is_stuck)

    def _usable(self) -> Connection | None:
        """The connection, as soon as it is up, and for as long as there is a need. Raises ServingError."""
        if self._connection is None:
            while self._unsent and self._unsent[0].identifier not in self._open:
                self._unsent.popleft()
            if not self._unsent:
                return None
            self._connection = self._pool.connect()
        connection = self._connection
        connection.look()
        if connection.is_up:
            return connection
        if connection.failure is not None:
            raise connection.failure
        if time.monotonic() >= connection.gives_up:
            raise connection.too_slow()
        return None

    def _sent(self, connection: Connection) -> bool:
        """False: the connection takes no more for now."""
        while True:
            if self._packed is None:
                self._packed = self._next_message()
                if self._packed is None:
                    return True
            calls, parts = self._packed
            for call in calls:  # before an answer can come
                call.is_sent = True
            if not connection.send(parts):
                return False
            self._packed = None

    def _next_message(self) -> tuple[list[Call], list[Buffer]] | None:
        """As many calls as share a message; one with large arrays goes alone."""
        calls: list[Call] = []
        headers: list[Buffer] = []
        size = 0
        while self._unsent and len(calls) < _MOST_JOINED and size < _JOINED_BYTES:
            call = self._unsent[0]
            if calls and len(call.parts) > 1:
                break
            self._unsent.popleft()
            if call.identifier not in self._open:
                continue
            parts, call.parts = call.parts, []
            if len(parts) > 1:
                return [call], parts
            calls.append(call)
            headers.append(parts[0])
            size += len(parts[0])
        return (calls, [joined(headers)]) if calls else None

    def _settle_all(self, message: Message) -> None:
        header, frames = message
        alike = None if frames else alike_answers(header)
        if alike is not None and self._settle_alike(alike):
            return
        answers = read_answer(header)
        for answer in answers if isinstance(answers, list) else (answers,):
            identifier = answer.get("id")
            if identifier is None:  # the server could not read what was sent, whichever it was
                raise damaged(f"it is not said whose it is ({answer.get('error')!r:.200})")
            call = self._open.get(identifier) if isinstance(identifier, bytes) else None
            if call is None:  # late, or cancelled
                continue
            outcome: Any
            try:
                outcome = answer_of(call.operation, answer, frames)
            except ServingError as error:
                outcome = error
            except Exception as error:
                outcome = unforeseen(error)
            self._settle(call, outcome)

    def _settle_alike(self, alike: AlikeAnswers) -> bool:
        """False: they are to be looked at one by one."""
        calls = list(map(self._open.get, alike.identifiers))
        if not all([call is None or type(call.operation) is Predict for call in calls]):
            return False
        for call, prediction in zip(calls, alike.predictions, strict=True):
            if call is not None:
                self._settle(call, prediction)
        return True

    def _fail_late(self) -> None:
        now, self._next_look = time.monotonic(), math.inf
        for call in self._open.copy().values():
            if call.deadline <= now:
                self._settle(call, late(call.timeout))
            else:
                self._next_look = min(self._next_look, call.deadline)

    def _wait(self, connection: Connection | None, is_stuck: bool) -> None:
        """Until there is something to do."""
        with self._lock:
            self._is_asleep = not self._queue and not self._is_closed
            if not self._is_asleep:
                return
        ends = self._next_look
        rung = self._rung.fileno()
        poll: list[Any] = [(rung, zmq.POLLIN)]
        if self._connection is not None:
            poll.append((self._connection.monitor, zmq.POLLIN))
            if connection is None:
                ends = min(ends, self._connection.gives_up)
            else:
                poll.append((connection.socket, zmq.POLLIN | zmq.POLLOUT if is_stuck else zmq.POLLIN))
        left = min(max(ends - time.monotonic(), 0), _LONGEST_WAIT)
        ready = zmq.zmq_poll(poll, math.ceil(left * 1000))
        with self._lock:
            self._is_asleep = False
        if any(found == rung for found, _ in ready):
            with suppress(BlockingIOError):
                self._rung.recv(64)

    def _lose(self, error: ServingError) -> None:
        """The connection; with it what was sent, and all that waited for it to be up."""
        connection, self._connection = self._connection, None
        was_up = connection is not None and connection.is_up
        calls = [call for call in self._open.copy().values() if call.is_sent or not was_up]
        self._packed = None
        if not was_up:
            self._unsent.clear()  # they are all among those that fail
        if connection is not None:
            self._pool.discard(connection)
        self._fail(calls, error)

    def _fail(self, calls: list[Call], error: ServingError) -> None:
        for call in calls:
            self._settle(call, again(error))

    def _settle(self, call: Call, outcome: Any) -> None:
        if self._open.pop(call.identifier, None) is None:
            return  # somebody else has
        try:
            call.done(outcome)
        except Exception:
            _logger.exception("a callback has failed")


def identifiers() -> Callable[[], bytes]:
    """Each time another one, of 8 bytes, in any thread."""
    numbers = itertools.count(1)
    return lambda: next(numbers).to_bytes(8, "big")

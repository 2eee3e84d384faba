"""The requests of a stream: those that wait to be sent, and those that were sent and have no result.

What waits while a message is on its way goes out together in the next one. So requests are joined as far as the connection
is busy, and none waits for another to come.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Final

from ringserve.client import failures
from ringserve.client.answers import Prediction
from ringserve.client.grpc.streamed_messages import streamed_request
from ringserve.errors import Code, ServingError

_MESSAGE_BYTES: Final = 1 << 20  # of requests that share a message; a larger one goes alone
_MOST_WAITING_BYTES: Final = 64 << 20
_GRACE: Final = 0.25  # seconds that the server has to say itself that a request's time is over


class Request:
    """A request whose future is settled by one of several threads: by whoever takes `settled` from False to True."""

    __slots__ = ("deadline", "future", "message", "settled", "timeout")

    def __init__(self, message: bytes, timeout: float | None) -> None:
        self.message = message
        self.timeout = timeout
        self.deadline = math.inf if timeout is None else time.monotonic() + timeout
        self.future: Future[Prediction] = Future()
        self.settled = False

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # the caller has cancelled it
            self.future.set_exception(error)

    def is_over(self) -> None:
        self.fail(failures.late(self.timeout))


class RequestQueue:
    """Iterating it gives the messages to send; ends when it is closed and all were sent, or when it has failed.

    `most_outstanding`: requests without a result, beyond which `add` waits. Those threads that make room never wait.
    """

    def __init__(self, most_outstanding: int) -> None:
        self._most = most_outstanding
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # for the one who sends
        self._room = threading.Condition(self._lock)  # for those who add, and who wait for the end
        self._timer = threading.Condition(self._lock)  # for the one who watches deadlines
        self._next_look = math.inf
        self._waiting: deque[Request] = deque()
        self._waiting_bytes = 0
        self._sent: deque[Request] = deque()
        self._idle = False  # the one who sends has nothing to do
        self._closed = False
        self._error: ServingError | None = None

    def add(self, request: Request, may_wait: bool = True) -> None:
        """Raises ServingError: why the stream has ended, or DEADLINE_EXCEEDED where there is no room in time."""
        with self._lock:
            while may_wait and self._is_full() and not self._closed and self._error is None:
                left = request.deadline - time.monotonic()
                if left <= 0:
                    raise failures.no_room(self._most)
                self._room.wait(min(left, threading.TIMEOUT_MAX))
            if self._error is not None:
                raise self._error
            if self._closed:
                raise failures.stream_closed()
            self._waiting.append(request)
            self._waiting_bytes += len(request.message)
            if self._idle:
                self._idle = False
                self._work.notify()
            if request.deadline + _GRACE < self._next_look:
                self._timer.notify()

    def __iter__(self) -> RequestQueue:
        return self

    def __next__(self) -> bytes:
        """The requests that wait, as many as share a message; waits until there is one."""
        parts: list[bytes] = []
        with self._lock:
            while not parts:
                while not self._waiting:
                    if self._closed or self._error is not None:
                        raise StopIteration
                    self._idle = True
                    self._work.wait()
                self._take(parts)
        return b"".join(parts)

    def answered(self, count: int) -> list[Request | None]:
        """The next ones in order, for which there is a result; None for those that have been settled otherwise.

        Raises ServingError (INTERNAL) where fewer have been sent.
        """
        with self._lock:
            if count > len(self._sent):
                raise ServingError(Code.INTERNAL, "The server has sent more results than there were requests")
            taken: list[Request | None] = []
            for _ in range(count):
                request = self._sent.popleft()
                taken.append(None if request.settled else request)
                request.settled = True
            self._room.notify_all()
        return taken

    def watch(self) -> None:
        """Fails requests whose time is over, until the queue has failed: what a thread does all day."""
        while True:
            with self._lock:
                if self._error is not None:
                    return
                late = self._late()
                if not late:
                    left = self._next_look - time.monotonic()
                    self._timer.wait(min(max(left, 0), threading.TIMEOUT_MAX))
            for request in late:
                request.is_over()

    @property
    def failure(self) -> ServingError | None:
        """Why all failed."""
        return self._error

    def close(self) -> None:
        """No more requests. Those that were added are sent."""
        with self._lock:
            self._closed = True
            self._work.notify()
            self._room.notify_all()

    def wait_until_answered(self) -> None:
        """Returns when every request is settled."""
        with self._lock:
            while not all(request.settled for request in (*self._waiting, *self._sent)):
                self._room.wait()

    def fail(self, error: ServingError) -> None:
        """All that have no result, and all to come."""
        with self._lock:
            self._error = self._error or error
            left = [request for request in (*self._sent, *self._waiting) if not request.settled]
            for request in left:
                request.settled = True
            self._sent.clear()
            self._waiting.clear()
            self._work.notify()
            self._room.notify_all()
            self._timer.notify()
        for request in left:
            request.fail(error)

    def _is_full(self) -> bool:
        return len(self._waiting) + len(self._sent) >= self._most or self._waiting_bytes >= _MOST_WAITING_BYTES

    def _take(self, parts: list[bytes]) -> None:
        """From those that wait; the cancelled and the late are left out."""
        size = 0
        now = time.monotonic()
        while self._waiting and (not size or size + len(self._waiting[0].message) <= _MESSAGE_BYTES):
            request = self._waiting.popleft()
            self._waiting_bytes -= len(request.message)
            if request.settled:
                continue
            if not request.future.set_running_or_notify_cancel():
                request.settled = True
                continue
            self._sent.append(request)
            # One that is late is for the server to refuse, unless it is so late that the watch has done it.
            left = 0 if request.deadline == math.inf else max(1, math.ceil((request.deadline - now) * 1000))
            size += len(request.message)
            parts += streamed_request(request.message, left)
            request.message = b""
        if not parts:
            self._room.notify_all()

    def _late(self) -> list[Request]:
        """Settles them; and finds out when to look again."""
        now = time.monotonic()
        self._next_look = math.inf
        late = []
        for request in (*self._waiting, *self._sent):
            if request.settled:
                continue
            if request.deadline + _GRACE <= now:
                request.settled = True
                late.append(request)
            else:
                self._next_look = min(self._next_look, request.deadline + _GRACE)
        if late:
            self._room.notify_all()
        return late

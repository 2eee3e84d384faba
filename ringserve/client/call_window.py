"""A stream where the protocol has none: a call for each request, and a limit to how many there are at a time."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from ringserve.client import failures
from ringserve.client.answers import Prediction
from ringserve.client.call_future import CallFuture
from ringserve.client.deadline import Deadline
from ringserve.client.operations import Predict
from ringserve.client.transport import Transport
from ringserve.errors import ServingError


class CallWindow:
    """`timeout`: in seconds, of all of it."""

    def __init__(self, transport: Transport, most_outstanding: int, timeout: float | None) -> None:
        self._transport = transport
        self._most = most_outstanding
        self._deadline = Deadline(timeout)
        self._room = threading.Condition()
        self._outstanding: set[_Answer] = set()
        self._closed = False
        self._error: ServingError | None = None
        self._here = threading.local()  # `is_inside`: this thread is running callbacks

    def submit(self, operation: Predict, timeout: float | None) -> Future[Prediction]:
        deadline = Deadline(_shorter(timeout, self._deadline.left()))
        answer = _Answer(self._here)
        with self._room:
            if not self._is_inside():
                self._wait_for_room(deadline)
            self._check()
            self._outstanding.add(answer)
        answer.add_done_callback(self._forget)
        try:
            answer.start(self._transport, operation, deadline.left())
        except BaseException:  # whatever it is, `close` must not wait for it
            self._forget(answer)
            raise
        return answer

    def close(self) -> None:
        with self._room:
            self._closed = True
            self._room.notify_all()
            while self._outstanding and not self._is_inside():
                self._room.wait()

    def cancel(self) -> None:
        error = failures.stream_cancelled()
        with self._room:
            self._error = self._error or error
            left = list(self._outstanding)
            self._room.notify_all()
        for answer in left:
            answer.abandon(error)

    def _wait_for_room(self, deadline: Deadline) -> None:
        while len(self._outstanding) >= self._most and not self._closed and self._error is None:
            left = deadline.left()
            if left == 0:
                raise failures.no_room(self._most)
            self._room.wait(threading.TIMEOUT_MAX if left is None else left)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise failures.stream_closed()
        if self._deadline.left() == 0:
            raise failures.late(self._deadline.seconds)

    def _forget(self, answer: Future[Prediction]) -> None:
        with self._room:
            self._outstanding.discard(answer)
            self._room.notify_all()

    def _is_inside(self) -> bool:
        return getattr(self._here, "is_inside", False)


class _Answer(CallFuture[Prediction]):
    """Says to its stream which threads run its callbacks: they must not wait for what comes through themselves."""

    def __init__(self, here: threading.local) -> None:
        super().__init__()
        self._here = here

    def settle(self, outcome: Prediction | ServingError) -> None:
        before = getattr(self._here, "is_inside", False)
        self._here.is_inside = True
        try:
            super().settle(outcome)
        finally:
            self._here.is_inside = before


def _shorter(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)

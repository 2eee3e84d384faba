"""Shared memory: a lane of the client's own to a worker, where the server is on the same machine."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from ringserve.client.answers import Prediction
from ringserve.client.array_slot import ArraySlot
from ringserve.client.deadline import limit as checked_limit
from ringserve.client.failures import again, closed
from ringserve.client.operations import Operation, Predict, Which
from ringserve.client.per_process import PerProcess
from ringserve.client.shm.facts import ask
from ringserve.client.shm.lane import LaneOverError, ShmLane, worker_ended
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.opening import Opening
from ringserve.client.shm.requests import REQUESTS, Request, placed, refused
from ringserve.client.shm.route import Route
from ringserve.client.shm.session import ShmSession
from ringserve.client.shm.slot import ShmSlot
from ringserve.client.shm.started import MOST_TRIES, Started, StartedRequest
from ringserve.client.slot import Slot
from ringserve.client.socket_path import socket_path
from ringserve.client.transport import nothing
from ringserve.errors import Code, ServingError

T = TypeVar("T")


class ShmTransport:
    """A thread that waits for an answer listens to the lane itself, so that nothing stands between it and the worker; what
    is started without waiting is told by a thread of the client's own.
    """

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL of another form."""
        path = socket_path(url, "shm")
        self._process = PerProcess(lambda: _Sessions(path), _Sessions.close)
        self._is_closed = False
        weakref.finalize(self, _close, self._process).atexit = False

    def call(self, operation: Operation[T], timeout: float | None) -> T:
        if isinstance(operation, REQUESTS):
            return cast(T, self._request(operation, Limit.of(timeout)))
        limit = Limit.of(timeout)
        outcome = self._fact(operation, limit)
        if isinstance(outcome, ServingError) and outcome.code is Code.UNAVAILABLE and not self._is_closed:
            outcome = self._fact(operation, limit)  # the connection was perhaps to a server before this one
        if isinstance(outcome, ServingError):
            raise outcome
        return outcome

    def _request(self, operation: Request, limit: Limit) -> Any:
        session = self._session()
        route = session.route(operation.which, operation.signature, operation.key)
        may_open = True
        for _ in range(MOST_TRIES):
            base = route.usable_base or self._base(operation, route, limit)
            place = placed(operation, route, base, limit, None, may_open)
            if isinstance(place, Opening):
                may_open = False  # not again, whatever comes of it
                place.wait(limit)
                continue
            lane, work = place
            try:
                lane.submit(work)
            except LaneOverError:
                continue
            lane.wait(work)
            outcome = work.outcome
            if isinstance(outcome, ServingError):
                raise again(outcome)
            return outcome
        raise worker_ended()

    @staticmethod
    def _base(operation: Request, route: Route, limit: Limit) -> ShmLane:
        try:
            return _base(route, limit)
        except ServingError as error:
            raise refused(operation, error) from None

    def _fact(self, operation: Operation[T], limit: Limit) -> T | ServingError:
        """Raises ServingError where the server can't be reached, or there is no more time."""
        outcomes: SimpleQueue[T | ServingError] = SimpleQueue()
        ask(self._session(), operation, limit, outcomes.put)
        return outcomes.get()  # in time, one way or another

    def start(
        self, operation: Operation[T], timeout: float | None, done: Callable[[T | ServingError], None]
    ) -> Callable[[], object]:
        if self._is_closed:
            raise closed()
        try:
            limit = Limit.of(timeout)
            session = self._session()
        except ServingError as error:
            done(error)
            return nothing
        if isinstance(operation, REQUESTS):
            request = StartedRequest(operation, session, limit, done)
            request.go()
            return request.cancel
        started = Started(limit, done)
        ask(session, operation, limit, started.settle)
        return started.cancel

    def slot(self, which: Which, signature: str, rows: int, timeout: float | None) -> Slot:
        """Raises ServingError. `timeout`: of making it, and of its runs where they have no other."""
        if rows < 1:
            raise ServingError(Code.INVALID_ARGUMENT, f"a slot has one row or more, not {rows}")
        limit = Limit.of(timeout)
        route = self._session().route(which, signature, None)
        terms = (route.usable_base or _base(route, limit)).terms

        if terms.form is None or rows > terms.most_rows:

            def call(operation: Predict, seconds: float | None) -> Prediction:
                return self.call(operation, timeout if seconds is None else checked_limit(seconds))

            return ArraySlot(call, which, terms.signature, rows)
        lane, reservation = route.reserve(rows, limit)
        return ShmSlot(which, route, lane, reservation, self.call, timeout)

    def close(self) -> None:
        self._is_closed = True
        _close(self._process)

    def _session(self) -> ShmSession:
        """Raises ServingError."""
        if self._is_closed:  # also where it was closed before a fork
            raise closed()
        return self._process.get().session()


class _Sessions:
    """One at a time: another one when it has ended."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._current: ShmSession | None = None
        self._is_closed = False

    def session(self) -> ShmSession:
        """Raises ServingError."""
        current = self._current
        if current is not None and not current.ended:
            return current
        with self._lock:
            if self._is_closed:
                raise closed()
            if self._current is None or self._current.ended:
                self._current = ShmSession(self._path)
            return self._current

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._current is not None:
                self._current.close()


def _close(process: PerProcess[_Sessions]) -> None:
    process.get().close()


def _base(route: Route, limit: Limit) -> ShmLane:
    """The route's lane. Raises ServingError."""
    return route.open_base().result(limit)

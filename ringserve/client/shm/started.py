"""A call that was started: it finds its lane when there is one, and tells its outcome once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from ringserve.client.failures import cancelled
from ringserve.client.shm.lane import LaneOverError, ShmLane, worker_ended
from ringserve.client.shm.lane_works import full
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.opening import Opening
from ringserve.client.shm.requests import Request, owned, placed, refused
from ringserve.client.shm.session import ShmSession
from ringserve.client.shm.work import Work
from ringserve.errors import Code, ServingError

_logger = logging.getLogger(__name__)

#: Lanes that turn out to be over, one after the other, before a call gives up.
MOST_TRIES: Final = 10


class Started:
    """Of any operation. `settle` it with the outcome; `cancel` it."""

    __slots__ = ("_done", "_in_lane", "_is_over", "_lock", "limit")

    def __init__(self, limit: Limit, done: Callable[[Any], None]) -> None:
        self.limit = limit
        self._done = done
        self._lock = threading.Lock()
        self._is_over = False
        self._in_lane: tuple[ShmLane, Work] | None = None

    def settle(self, outcome: Any) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._in_lane = None
        try:
            self._done(outcome)
        except Exception:  # the caller's own: others are to be told all the same
            _logger.exception("what was to be told of an answer failed")

    def cancel(self) -> None:
        """Its outcome is that, unless it has another one."""
        in_lane = self._in_lane
        self.settle(cancelled())
        if in_lane is not None:
            lane, work = in_lane
            lane.give_up(work, cancelled())


class StartedRequest(Started):
    """One that a worker answers."""

    __slots__ = ("_is_delayed", "_may_open", "_operation", "_route", "_session", "_tries")

    def __init__(self, operation: Request, session: ShmSession, limit: Limit, done: Callable[[Any], None]) -> None:
        super().__init__(limit, done)
        self._operation = operation
        self._session = session
        self._route = session.route(operation.which, operation.signature, operation.key)
        self._tries = MOST_TRIES
        self._may_open = True
        self._is_delayed = False

    def go(self) -> None:
        """Into a lane, or wait for one. In the caller's thread first, and then in that of the watch."""
        try:
            opening = self._submit()
            if opening is not None:
                self._delay(opening)
        except ServingError as error:
            self.settle(error)
        except Exception as error:
            _logger.exception("a request failed in a way it never should")
            self.settle(ServingError(Code.INTERNAL, f"The client failed: {type(error).__name__}: {error}"))

    def _submit(self) -> Opening[ShmLane] | None:
        """What it has to wait for. Raises ServingError."""
        while self._tries and not self._is_over:
            self._tries -= 1
            base = self._route.usable_base
            if base is None:
                return self._route.open_base()
            place = placed(self._operation, self._route, base, self.limit, self.settle, self._may_open)
            if isinstance(place, Opening):
                self._may_open = False  # not again, whatever comes of it
                return place
            lane, work = place
            try:
                lane.submit(work)
            except LaneOverError:
                continue
            self._in_lane = place
            if self._is_over:  # cancelled meanwhile; or answered, which changes nothing
                self._in_lane = None
                lane.give_up(work, cancelled())
            return None
        raise worker_ended()

    def _delay(self, opening: Opening[ShmLane]) -> None:
        """Raises ServingError (UNAVAILABLE) where too many wait already."""
        if not self._is_delayed:
            self._is_delayed = True
            self._operation = owned(self._operation)
        if not self._session.delay(self):
            raise full()
        opening.then(lambda: self._opened(opening))

    def _opened(self, opening: Opening[ShmLane]) -> None:
        self._session.go_on(self)
        error = opening.error
        if error is not None and self._may_open:  # the base lane, without which there is none
            self.settle(refused(self._operation, error))
        else:
            self.go()

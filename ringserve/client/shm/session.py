"""A connection to the server, and all that hangs on it: when it ends, another one is made."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from ringserve.channel import Message
from ringserve.client.failures import interrupted
from ringserve.client.operations import Which
from ringserve.client.shm.control import ShmControl, Told, close_all, unavailable
from ringserve.client.shm.lane import ShmLane
from ringserve.client.shm.limit import NO_LIMIT, Limit
from ringserve.client.shm.opening import Opening
from ringserve.client.shm.route import Route
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.shm.watch import Watch
from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE
from shm.bell import Bell
from shm.lane import Lane

_MOST_LANES: Final = 60  # the server allows 64; those that it is about to hear the end of count there too
_MOST_ROUTES: Final = 1024
_MOST_DELAYED: Final = 4096
_NEVER: Final = 1 << 63


class Delayed(Protocol):
    """A call that was started and waits for its lane."""

    @property
    def limit(self) -> Limit: ...

    def settle(self, outcome: Any) -> object:
        """It is over; without effect if it was over before."""


class ShmSession:
    """Used by several threads; `ended` when it is of no more use."""

    def __init__(self, path: str) -> None:
        """Connects. Raises ServingError (UNAVAILABLE)."""
        self._path = path
        self._control = ShmControl(path)
        self._control.on_message = self._on_message
        self._control.on_lost = self._fail
        self._watch = Watch(self._control.fd, self._on_readable, self._expire, self._on_end)
        self._lock = threading.Lock()
        self._routes: dict[tuple[Which, str, str | None], Route] = {}
        self._lanes: dict[int, ShmLane] = {}
        self._opening = 0  # lanes
        self._delayed: set[Delayed] = set()
        self._error: ServingError | None = None  # why it has ended
        self.ended = False
        _sessions.add(self)
        self._watch.start()
        try:
            self._control.greet()
        except ServingError as error:
            self._fail(error)
            raise

    def route(self, which: Which, signature: str, key: str | None) -> Route:
        name = which, signature or DEFAULT_SIGNATURE, key
        found = self._routes.get(name)
        if found is None:
            with self._lock:
                found = self._routes.get(name)
                if found is None:
                    if len(self._routes) >= _MOST_ROUTES:
                        self._routes = {of: route for of, route in self._routes.items() if route.has_lanes}
                    found = self._routes[name] = Route(*name, self)
        return found

    def ask(self, question: Mapping[str, Any], limit: Limit, told: Told) -> None:
        """A question about models."""
        self._control.ask({"type": "ask", "question": question}, limit, told)
        self._watch.look_at(limit.deadline)

    def open(self, message: Mapping[str, Any], opening: Opening[ShmLane]) -> None:
        """See `Opener`."""
        with self._lock:
            count = len(self._lanes) + self._opening
            self._opening += 1
            idle = [lane for lane in self._lanes.values() if lane.idle and not lane.has_reservations]
        if count >= _MOST_LANES and idle:
            min(idle, key=_last_use).retire()
        self._control.ask(message, NO_LIMIT, lambda told, fds: self._on_opened(opening, told, fds))

    def delay(self, call: Delayed) -> bool:
        """It waits for a lane, and is to be told when its time is over. False: too many do already."""
        with self._lock:
            if len(self._delayed) >= _MOST_DELAYED:
                return False
            self._delayed.add(call)
        self._watch.look_at(call.limit.deadline)
        return True

    def go_on(self, call: Delayed) -> None:
        """It waits no more."""
        with self._lock:
            self._delayed.discard(call)

    def _expire(self, now: int) -> int:
        due = self._control.expire(now)
        with self._lock:
            timed = [call for call in self._delayed if call.limit.deadline]
        for call in timed:
            if call.limit.deadline <= now:
                self.go_on(call)
                call.settle(call.limit.late())
        return min([due or _NEVER, *[call.limit.deadline for call in timed if call.limit.deadline > now]]) % _NEVER

    def _on_opened(self, opening: Opening[ShmLane], told: Message | ServingError, fds: list[int]) -> None:
        result: ShmLane | ServingError
        if isinstance(told, ServingError):
            result = told
        else:
            try:
                result = self._made(told, fds)
            except ServingError as error:
                result = error
        with self._lock:
            self._opening -= 1
            if isinstance(result, ShmLane):
                self._lanes[result.terms.number] = result
        opening.end(result)

    def _made(self, message: Message, fds: list[int]) -> ShmLane:
        """Raises ServingError (INTERNAL), and gives the lane up."""
        number = message.get("lane")
        try:
            if message.get("type") != "lane" or len(fds) != 2:
                raise ServingError(Code.INTERNAL, "The server's answer can't be read: it is no lane")
            terms = LaneTerms.of(message)
            lane = Lane.attach(os.dup(fds[0]), terms.spec)
        except (ServingError, ValueError, OSError) as error:
            close_all(fds)
            if type(number) is int:
                self._control.close_lane(number)
            if isinstance(error, ServingError):
                raise
            raise ServingError(Code.INTERNAL, f"The server's lane can't be used: {error}") from error
        os.close(fds[0])
        return ShmLane(terms, lane, Bell(fds[1]), self._watch, self._on_drained)

    def _on_message(self, message: Message) -> None:
        """In the watch's thread."""
        kind, number = message.get("type"), message.get("lane")
        lane = self._lanes.get(number) if isinstance(number, int) else None
        if lane is None:
            return
        if kind == "retire":
            lane.retire()

    def _on_drained(self, lane: ShmLane) -> None:
        """Nothing is in it, nor will be."""
        with self._lock:
            known = self._lanes.pop(lane.terms.number, None)
        if known is not None:
            self._control.close_lane(lane.terms.number)

    def _on_readable(self) -> None:
        try:
            self._control.read()
        except ServingError as error:
            self._fail(error)

    def _fail(self, error: ServingError) -> None:
        """It has ended: the watch's thread does the rest."""
        self._error = self._error or error
        self.ended = True
        self._watch.stop()

    def _on_end(self) -> None:
        """The watch listens no more."""
        self.ended = True
        error = self._error or unavailable(self._path, "the client's own thread has failed")
        self._control.end(error)
        self._control.close()
        with self._lock:
            lanes, self._lanes = list(self._lanes.values()), {}
            delayed, self._delayed = self._delayed, set()
            self._routes = {}  # by which their lanes, and the memory of these, would live until the collector comes
        for lane in lanes:
            lane.fail(error)
        for call in delayed:
            call.settle(error)

    def close(self) -> None:
        """All that has no answer yet fails."""
        self._fail(interrupted())

    def forget(self) -> None:
        """In a child of a fork: everything is the parent's; its descriptors here would hide the parent's end."""
        self.ended = True
        with suppress(OSError):
            self._control.close()
            self._watch.forget()
        for lane in self._lanes.values():
            lane.forget()
        for route in self._routes.values():
            route.forget()


def _last_use(lane: ShmLane) -> int:
    return lane.used


_sessions: weakref.WeakSet[ShmSession] = weakref.WeakSet()


def _forget_all() -> None:
    for session in list(_sessions):
        session.forget()
    _sessions.clear()


os.register_at_fork(after_in_child=_forget_all)

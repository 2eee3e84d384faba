"""The thread that listens while no caller does: to the server, to lanes whose answers are to be told, and to the clock."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

_logger = logging.getLogger(__name__)

_NEVER: Final = 1 << 63
_BEAT_NS: Final = 1_000_000_000
_LONGEST: Final = 1e6  # seconds that a poll may wait
_GONE: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Watched(Protocol):
    """A lane, as the watch sees it."""

    @property
    def fd(self) -> int:
        """That is readable when there are answers."""

    def heard(self) -> None:
        """It is readable, and the watch is to listen to it."""

    def gone(self) -> None:
        """The other end is closed."""

    def expire(self, now: int) -> int:
        """Fail what is late; returns when the next one will be, in ns of CLOCK_MONOTONIC; 0: none will."""

    def beat(self, now: int) -> bool:
        """Once a second, while it says that there is something to look after."""

    def shut(self) -> None:
        """Nobody uses it any more: close the descriptor."""


class Watch:
    """One thread and one epoll. `listen` and `leave` may be called from any thread, and with any lock held.

    Descriptors are closed in the thread only: an event that was on its way never meets another lane under the same number.
    """

    def __init__(
        self, control: int, on_readable: Callable[[], None], expire: Callable[[int], int], on_end: Callable[[], None]
    ) -> None:
        """`control`: the descriptor of the connection, `on_readable`: something has come there, or it has ended;
        `expire`: of the connection, as a lane's; `on_end`: the thread listens no more, for whatever reason.
        """
        self._control = control
        self._on_readable = on_readable
        self._expire = expire
        self._on_end = on_end
        self._epoll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(control, select.EPOLLIN)
        self._epoll.register(self._waker, select.EPOLLIN)
        # The collector may come upon a client that nobody closed in this thread, whatever that has just locked: see `stop`.
        self._lock = threading.RLock()
        self._lanes: dict[int, Watched] = {}
        self._leaving: list[Watched] = []
        self._due = _NEVER
        self._beating = False
        self._stopping = False
        self.ended = False
        self._thread = threading.Thread(target=self._run, name="ringserve-shm", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, lane: Watched) -> None:
        """From now on its end is heard."""
        with self._lock:
            self._lanes[lane.fd] = lane
            self._epoll.register(lane.fd, select.EPOLLRDHUP)

    def listen(self, lane: Watched) -> None:
        """Its answers are the watch's business."""
        with suppress(OSError, ValueError):  # its other end is closed, or the watch has ended: it will be told
            self._epoll.modify(lane.fd, select.EPOLLRDHUP | select.EPOLLIN)

    def leave(self, lane: Watched) -> None:
        """Somebody else listens to its answers."""
        with suppress(OSError, ValueError):
            self._epoll.modify(lane.fd, select.EPOLLRDHUP)

    def bury(self, lane: Watched) -> None:
        """Nobody uses the lane any more."""
        with self._lock:
            if not self.ended:
                self._leaving.append(lane)
                self._wake()
                return
        lane.shut()

    def look_at(self, deadline: int) -> None:
        """Something becomes late then, in ns of CLOCK_MONOTONIC; 0: never."""
        if 0 < deadline < self._due:
            with self._lock:
                self._due = min(self._due, deadline)
                self._wake()

    def keep_beating(self) -> None:
        """Something has begun that wants looking after."""
        if not self._beating:
            with self._lock:
                self._beating = True
                self._wake()

    def stop(self) -> None:
        """The thread ends soon; what it looked after is for the caller to end."""
        with self._lock:
            self._stopping = True
            self._wake()

    def forget(self) -> None:
        """In a child of a fork, which has no such thread: close the descriptors, which the parent goes on using."""
        if self.ended:  # and they were closed: their numbers may be others' by now
            return
        os.close(self._waker)
        self._epoll.close()

    def _wake(self) -> None:
        if not self.ended:
            os.eventfd_write(self._waker, 1)

    def _run(self) -> None:
        next_beat = 0
        try:
            while not self._stopping:
                now = time.monotonic_ns()
                if self._beating and now >= next_beat:
                    next_beat = now + _BEAT_NS
                    self._beat(now)
                if now >= self._due:
                    self._look(now)
                until = min(self._due, next_beat if self._beating else _NEVER)
                timeout = None if until == _NEVER else min(max(until - now, 0) / 1e9, _LONGEST)
                for fd, mask in self._epoll.poll(timeout):
                    self._on_event(fd, mask)
                self._close_those_that_leave()
        except Exception:
            _logger.exception("the thread that watches lanes failed in a way it never should")
        finally:
            self._end()

    def _on_event(self, fd: int, mask: int) -> None:
        if fd == self._waker:
            os.eventfd_read(self._waker)
        elif fd == self._control:
            self._on_readable()
        elif (lane := self._lanes.get(fd)) is not None:
            if mask & _GONE:
                self._unwatch(fd)
                lane.gone()
            else:
                lane.heard()

    def _unwatch(self, fd: int) -> None:
        with self._lock:
            if self._lanes.pop(fd, None) is not None:
                self._epoll.unregister(fd)

    def _close_those_that_leave(self) -> None:
        if self._leaving:
            with self._lock:
                leaving, self._leaving = self._leaving, []
            for lane in leaving:
                self._unwatch(lane.fd)
                lane.shut()

    def _beat(self, now: int) -> None:
        self._beating = False  # who begins something meanwhile says so again
        with self._lock:
            lanes = list(self._lanes.values())
        if any([lane.beat(now) for lane in lanes]):
            self._beating = True

    def _look(self, now: int) -> None:
        with self._lock:
            self._due = _NEVER
            lanes = list(self._lanes.values())
        for expire in (self._expire, *[lane.expire for lane in lanes]):
            due = expire(now)
            if due:
                with self._lock:
                    self._due = min(self._due, due)

    def _end(self) -> None:
        with self._lock:
            self.ended = True
            leaving, self._leaving = self._leaving, []
            self._lanes = {}
            os.close(self._waker)
            self._epoll.close()
        for lane in leaving:
            lane.shut()
        self._on_end()

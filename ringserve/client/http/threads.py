"""Threads that wait for answers, so that callers needn't."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ringserve.client.deadline import Deadline
from ringserve.client.failures import cancelled, interrupted, late
from ringserve.errors import ServingError

_MOST_THREADS: Final = 64
_IDLE_SECONDS: Final = 10.0  # after which a thread without work ends


class Work:
    """`run` is called by a thread; or `fail`, where none was free in time, or it isn't to be done any more."""

    __slots__ = ("deadline", "ends", "fail", "run")

    def __init__(self, run: Callable[[], object], fail: Callable[[ServingError], object], deadline: Deadline) -> None:
        left = deadline.left()
        self.run = run
        self.fail = fail
        self.deadline = deadline
        self.ends = math.inf if left is None else time.monotonic() + left


class HttpThreads:
    """As many as there is work for, up to a limit. None of them keeps the process from ending."""

    def __init__(self, most: int = _MOST_THREADS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._something = threading.Condition(self._lock)  # to be done, for threads that have nothing to do
        self._expiry = threading.Condition(self._lock)  # earlier than was known, or nothing to wait for
        self._waiting: deque[Work] = deque()
        self._threads = 0
        self._free = 0
        self._watched = False
        self._closed = False

    def add(self, work: Work) -> None:
        """Doesn't wait."""
        with self._lock:
            if not self._closed:
                self._add(work)
                return
        work.fail(interrupted())

    def drop(self, work: Work) -> None:
        """Where no thread has taken it yet."""
        with self._lock:
            if work not in self._waiting:
                return
            self._waiting.remove(work)
        work.fail(cancelled())

    def close(self) -> None:
        """What no thread has taken yet fails, and so does what is added later."""
        with self._lock:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._something.notify_all()
            self._expiry.notify()
        for work in dropped:
            work.fail(interrupted())

    def _add(self, work: Work) -> None:
        self._waiting.append(work)
        if self._free >= len(self._waiting):
            self._something.notify()
        elif self._threads < self._most:
            self._threads += 1
            _start(self._work, "ringserve-http")
        elif work.ends != math.inf:
            if not self._watched:
                self._watched = True
                _start(self._watch, "ringserve-http-expiry")
            self._expiry.notify()

    def _work(self) -> None:
        try:
            while (work := self._next()) is not None:
                work.run()
                del work  # and all that the request holds
        finally:
            with self._lock:
                self._threads -= 1

    def _next(self) -> Work | None:
        """None: there was nothing for a while."""
        with self._lock:
            if not self._waiting and not self._closed:
                self._free += 1
                self._something.wait_for(lambda: self._waiting or self._closed, _IDLE_SECONDS)
                self._free -= 1
            return self._waiting.popleft() if self._waiting else None

    def _watch(self) -> None:
        """Until nothing waits any more that could expire."""
        while True:
            with self._lock:
                now = time.monotonic()
                expired = [work for work in self._waiting if work.ends <= now]
                for work in expired:
                    self._waiting.remove(work)
                if not expired:
                    first = min((work.ends for work in self._waiting), default=math.inf)
                    if first == math.inf:
                        self._watched = False
                        return
                    self._expiry.wait(min(first - now, threading.TIMEOUT_MAX))
            for work in expired:
                work.fail(late(work.deadline.seconds))


def _start(target: Callable[[], None], name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()

"""Counts what a driver sees, window by window."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from typing import Final

from bench.harness.outcome import Window
from bench.harness.plan import Plan
from bench.histogram import Histogram

_FLUSH: Final = 1024  # values put into a histogram at once: that takes 40 us, for which answers wait
_NEVER: Final = sys.maxsize


class Recorder:
    """One thread's. Before `begin`, and until the warm-up is over, nothing counts.

    What ends after the measured stretch still counts, except for the rate: a request that was slow, or is never answered,
    must not be left out for having been sent near the end. Times are nanoseconds.
    """

    def __init__(self, plan: Plan, emit: Callable[[Window], None]) -> None:
        """`emit` is given each window as soon as it is over, the last one by `finish`."""
        self._emit = emit
        self._length = int(plan.window * 1e9)
        self._warmup = int(plan.warmup * 1e9)
        self._measured = int(plan.seconds * 1e9)
        self._window = Window()
        self._latencies, self._sent, self._late, self._failed = array("q"), array("q"), array("q"), array("q")
        self.sent, self.late, self.failed = Histogram(), Histogram(), Histogram()
        self.turning = _NEVER  # when what counts next belongs somewhere else

    def begin(self, began: int) -> None:
        """The load starts at this time, the measuring after the warm-up."""
        self.measured_from = self.turning = began + self._warmup
        self.measured_until = self.measured_from + self._measured

    def answer(self, latency: int, since_sent: int) -> None:
        self._latencies.append(latency)
        self._sent.append(since_sent)

    def failure(self, kind: str, since_sent: int) -> None:
        self._failed.append(since_sent)
        errors = self._window.errors
        errors[kind] = errors.get(kind, 0) + 1

    def lateness(self, late: int) -> None:
        """A request found a slot, and went out so much later than it could have."""
        self._late.append(late)

    def turn(self, now: int) -> None:
        """To be called before what counts at this time, and now and then anyway."""
        while now >= self.turning:
            self._flush()
            if self.turning == self.measured_from:
                self._window = Window()
                self.sent, self.late, self.failed = Histogram(), Histogram(), Histogram()
            elif self.turning < self.measured_until:
                self._emit(self._window)
                self._window = Window()
            over = self.turning >= self.measured_until
            self.turning = _NEVER if over else min(self.turning + self._length, self.measured_until)
        if len(self._latencies) + len(self._failed) >= _FLUSH:
            self._flush()

    def finish(self, now: int) -> float:
        """Nothing more counts: the seconds that were measured, fewer than planned when it is early."""
        self.turn(now)
        self._flush()
        if now <= self.measured_from:
            return 0.0
        self._emit(self._window)
        return (min(now, self.measured_until) - self.measured_from) / 1e9

    def _flush(self) -> None:
        if self.turning != _NEVER:
            self._window.requests += len(self._latencies)
        self._window.latencies.record(self._latencies)
        self.sent.record(self._sent)
        self.late.record(self._late)
        self.failed.record(self._failed)
        for values in (self._latencies, self._sent, self._late, self._failed):
            del values[:]

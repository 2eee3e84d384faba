"""What a queue has learned of its batches: how long they run, how large they are best, whether to wait for more."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from workers.batch import Batch
from workers.cost_model import CostModel
from workers.limits import Closed, Limits
from workers.linger import Linger
from workers.probe import Report

_UNKNOWN_SECONDS: Final = 0.003  # what a run is taken for that was never timed
_SHORT_NS: Final = 500_000  # runs that take, and were to take, no longer are many: one in so many is learned from
_LEARN_SHORT: Final = 8
_LEARN_BATCHES: Final = 64  # between two looks at how large batches are best
_LONGEST_SECONDS: Final = 1.0  # that a batch may take, by what was learned
_LONGEST_RUNS: Final = 2  # or so many times its fixed part
_SHORT_SECONDS: Final = 0.005  # a batch that takes no longer is never too large
_FEWEST_ROWS: Final = 2  # else nothing more would be learned of larger batches
_MOST_FAILURES: Final = 8  # batches in succession whose outputs were no rows, until requests run one by one
_NO_ROWS: Final = "its outputs' first dimension was not the batch, again and again"


class BatchEconomy:
    """Of one queue, in the loop's thread. Times are ns of CLOCK_MONOTONIC."""

    def __init__(self, report: Report, limits: Limits) -> None:
        self.limits = limits
        self.reason = report.reason
        self.cost = CostModel(max((report.seconds or _UNKNOWN_SECONDS) - report.each, 0.0), report.each)
        self.spent = 0  # ns of runs: the measure by which queues share the worker
        self._most_rows = limits.most_rows  # that learning does not go beyond
        self._linger = Linger(self.cost, limits.linger)
        self._held = False  # was the batch that comes next held back?
        self._batches = 0
        self._is_slow = True  # as far as is known
        self._failures = 0
        self._is_closing = False
        self._was_joinable = limits.joinable
        self._relimit()

    @property
    def waits(self) -> bool:
        """May the next batch be held back?"""
        return self._linger.pays or self.limits.timeout > 0

    def hold(self, rows: int, oldest: int, now: int) -> int:
        """Until when a batch that isn't full is held back; 0: it is not. `oldest`: when its oldest request came."""
        timeout = self.limits.timeout
        until = oldest + timeout if timeout else self._linger.until(rows, oldest, now)
        if until > now:
            self._held = True
            return until
        return 0

    def close(self) -> None:
        """No batch is held back from now on: nothing comes any more."""
        self._is_closing = True
        self.limits = dataclasses.replace(self.limits, timeout=0, linger=0)
        self._linger = Linger(self.cost, 0)

    def closed(self) -> Closed:
        """Why a batch runs now that is not full."""
        if self._is_closing:
            return Closed.CLOSING
        if self.limits.timeout:
            return Closed.TIMEOUT
        return Closed.LINGER if self._held else Closed.IDLE

    def took(self, rows: int, now: int) -> None:
        """A batch begins."""
        self._held = False
        self._linger.took(rows, now)

    def ran(self, batch: Batch, begun: int, ended: int) -> None:
        """A batch was answered."""
        self.spent += ended - begun
        self._linger.ended(ended)
        self._batches += 1
        if (self._is_slow or ended - begun > _SHORT_NS or not self._batches % _LEARN_SHORT) and not batch.is_retried:
            self.cost.learn(max(batch.executed, 1), (ended - begun) * 1e-9)
            self._is_slow = self.cost.predict(1) * 1e9 > _SHORT_NS
        if not self._batches % _LEARN_BATCHES:
            self._relimit()
        if batch.has_rows:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= _MOST_FAILURES and self.limits.joins:
            self.reason = _NO_ROWS
            self.limits = dataclasses.replace(self.limits, most_rows=1, sizes=(), split=False, pad=False, joinable=False)

    def explain(self) -> dict[str, Any]:
        """What is known now, in the words of `workers.explanation`."""
        limits = self.limits
        return {
            "batched": limits.joins,
            "max_rows": limits.most_rows,
            "fixed_us": self.cost.fixed * 1e6,
            "row_us": self.cost.each * 1e6,
            **({} if limits.joinable == self._was_joinable else {"reason": self.reason}),
        }

    def _relimit(self) -> None:
        """Larger batches than those that are worth it only keep their first requests waiting."""
        limits, cost = self.limits, self.cost
        if limits.by_parameters or not limits.joins:
            return
        worthwhile = max(cost.worthwhile_rows(), cost.rows_within(_SHORT_SECONDS), _FEWEST_ROWS)
        longest = max(_LONGEST_SECONDS, _LONGEST_RUNS * cost.fixed)
        rows = max(1, min(self._most_rows, worthwhile, max(cost.rows_within(longest), _FEWEST_ROWS)))
        if rows != limits.most_rows:
            self.limits = dataclasses.replace(limits, most_rows=rows)

"""Whether a server has come to rest: its rate and its median are the same from window to window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.harness.outcome import Window

DRIFT: Final = 0.10  # share of the mean, along a whole run
_FEWEST: Final = 4  # windows, to tell a drift from noise
_SIGNIFICANT: Final = 3.0  # standard errors of a slope


@dataclass(frozen=True, slots=True)
class Settling:
    """A run that goes on until this many windows in a row agree, as perf_analyzer does it."""

    windows: int = 3
    tolerance: float = 0.10  # share of their mean, that none of them may be away from it

    def settled(self, windows: Sequence[Window]) -> bool:
        last = windows[-self.windows :]
        if len(last) < self.windows or not all(window.requests for window in last):
            return False
        return all(self._agree(values) for values in (_rates(last), _medians(last)))

    def _agree(self, values: Sequence[float]) -> bool:
        mean = sum(values) / len(values)
        return all(abs(value - mean) <= self.tolerance * mean for value in values)


def drifts(windows: Sequence[Window]) -> bool:
    """Whether rates or medians of windows of the same length go up or down beyond noise, by more than DRIFT in all.

    A growing median at a steady rate is how a queue grows in an open loop.
    """
    answered = [window for window in windows if window.latencies.total]
    return any(abs(change(values)) > DRIFT for values in (_rates(windows), _medians(answered)))


def change(values: Sequence[float]) -> float:
    """From the first to the last along a straight line, as a share of the mean; 0 where it may as well be noise."""
    count = len(values)
    mean = sum(values) / count if count else 0.0
    if count < _FEWEST or not mean:
        return 0.0
    times = np.arange(count) - (count - 1) / 2
    slope = float(times @ np.asarray(values)) / float(times @ times)
    residuals = np.asarray(values) - mean - slope * times
    error = float(np.sqrt((residuals @ residuals) / (count - 2) / (times @ times)))
    return slope * (count - 1) / mean if abs(slope) > _SIGNIFICANT * error else 0.0


def _rates(windows: Sequence[Window]) -> list[float]:
    return [float(window.requests) for window in windows]


def _medians(windows: Sequence[Window]) -> list[float]:
    return [window.latencies.percentile(50) for window in windows]

"""Axes: where on a plot a value lies, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_TICKS: Final = 5  # about so many
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; where it is logarithmic, both are above 0."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one; values beyond an end lie there."""
        low, high, value = (self._on(each) for each in (self.low, self.high, max(value, self.low)))
        return min((value - low) / (high - low), 1.0)

    def _on(self, value: float) -> float:
        return math.log10(value) if self.log else value


def linear_axis(title: str, values: Iterable[float]) -> Axis:
    """From 0 to the tick above the largest value."""
    largest = max((value for value in values if math.isfinite(value)), default=0.0) or 1.0
    step = _step(largest / _TICKS)
    count = math.ceil(largest / step - 1e-9)
    return Axis(title, 0.0, step * count, tuple((step * tick, plain(step * tick)) for tick in range(count + 1)))


def log_axis(title: str, values: Iterable[float]) -> Axis:
    """Between ticks of 1, 2, 5, 10, … or, over more than three powers of ten, of powers of ten."""
    found = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = min(found), max(found)
    steps = _STEPS[:3] if high / low <= 1000 else _STEPS[:1]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 2)
    marks = [step * 10.0**power for power in powers for step in steps]
    first = max(index for index, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
    last = min(index for index, mark in enumerate(marks) if mark >= high * (1 - 1e-9))
    kept = marks[first : max(last, first + 1) + 1]
    return Axis(title, kept[0], kept[-1], tuple((mark, plain(mark)) for mark in kept), log=True)


def fitting_axis(title: str, values: Sequence[float]) -> Axis:
    """Logarithmic where the largest value is more than twenty times the smallest, else linear."""
    found = [value for value in values if math.isfinite(value) and value > 0]
    return log_axis(title, found) if found and max(found) > 20 * min(found) else linear_axis(title, values)


def percentile_axis(total: int) -> Axis:
    """Of HdrHistogram's plots: log10(1 / (1 - p)), so that each nine has as much room; up to one request in `total`."""
    high = max(math.log10(max(total, 1)), 1.0)
    ticks = [(0.0, "0 %"), (math.log10(2), "50 %"), (1.0, "90 %")]
    ticks += [(float(nines), f"{100 - 10 ** (2 - nines):.{nines - 2}f} %") for nines in range(2, math.floor(high) + 1)]
    return Axis("percentile", 0.0, high, tuple(ticks))


def plain(value: float) -> str:
    """With no more digits than it has."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _step(least: float) -> float:
    """The first of …, 1, 2, 5, 10, … that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))

"""How long a batch runs: a fixed part and one for each row, learned from the runs themselves."""

from __future__ import annotations

from typing import Final

_KEPT: Final = 0.98  # of what was learned, with each run: some 50 runs count
_ENOUGH: Final = 8.0  # runs, of sizes that differ by so much (variance / mean squared), to tell one part from the other
_SPREAD: Final = 0.01
_LEAST_ROW_SHARE: Final = 1 / 1024  # of the fixed part, that a row takes: nothing runs for nothing
_LEAST_SECONDS: Final = 1e-12
_OUTLIER: Final = 3.0  # times what was expected
_OUTLIERS: Final = 4  # in succession
_WORTH: Final = 0.025  # of a batch's time, that its fixed part may be: larger batches save no more than that


class CostModel:
    """Time = fixed + each x rows, by least squares over the runs lately. Seconds.

    While all batches have about one size, both parts keep their proportion: one can't be told from the other then. A run
    counts for three times what was expected at most: an outlier, a run that the machine held up, must not stand for all.
    """

    __slots__ = ("_n", "_outliers", "_x", "_xx", "_xy", "_y", "each", "fixed")

    def __init__(self, fixed: float, each: float) -> None:
        """What is known before the first run."""
        self._n = self._x = self._xx = self._y = self._xy = 0.0
        self._outliers = 0
        self.fixed = max(fixed, 0.0)
        self.each = max(each, self.fixed * _LEAST_ROW_SHARE, _LEAST_SECONDS)

    def predict(self, rows: int) -> float:
        """Seconds that a batch of so many rows will run."""
        return self.fixed + self.each * rows

    def learn(self, rows: int, seconds: float) -> None:
        """A batch of so many rows ran for so long."""
        seconds = self._believed(seconds, self.predict(rows))
        self._n = self._n * _KEPT + 1.0
        self._x = self._x * _KEPT + rows
        self._xx = self._xx * _KEPT + rows * rows
        self._y = self._y * _KEPT + seconds
        self._xy = self._xy * _KEPT + rows * seconds
        mean_x, mean_y = self._x / self._n, self._y / self._n
        variance = self._xx / self._n - mean_x * mean_x
        if self._n < _ENOUGH or variance < _SPREAD * mean_x * mean_x:
            scale = mean_y / (self.fixed + self.each * mean_x)
            self.fixed *= scale
            self.each = max(self.each * scale, _LEAST_SECONDS)
        else:
            self._fit(mean_x, mean_y, (self._xy / self._n - mean_x * mean_y) / variance)

    def _believed(self, seconds: float, expected: float) -> float:
        """What counts of a run's time. Several outliers in succession are none: what was learned before is out of date."""
        if seconds <= _OUTLIER * expected:
            self._outliers = 0
            return seconds
        self._outliers += 1
        if self._outliers < _OUTLIERS:
            return _OUTLIER * expected
        self._outliers = 0
        self._n = self._x = self._xx = self._y = self._xy = 0.0
        self.fixed *= seconds / expected
        self.each *= seconds / expected
        return seconds

    def _fit(self, mean_x: float, mean_y: float, slope: float) -> None:
        """Neither part is negative."""
        fixed = mean_y - slope * mean_x
        if fixed < 0:
            self.fixed, self.each = 0.0, max(self._xy / self._xx, _LEAST_SECONDS)
            return
        each = max(slope, _LEAST_ROW_SHARE * mean_y / (1 + _LEAST_ROW_SHARE * mean_x), _LEAST_SECONDS)
        self.fixed, self.each = max(mean_y - each * mean_x, 0.0), each

    def worthwhile_rows(self) -> int:
        """From so many rows on a larger batch takes next to no less time a row."""
        return max(1, int(self.fixed * (1 / _WORTH - 1) / self.each))

    def rows_within(self, seconds: float) -> int:
        """How many rows a batch may have to run no longer than this."""
        return max(0, int((seconds - self.fixed) / self.each))

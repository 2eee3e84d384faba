"""How long a lane's rows take to run, as its batches have shown, and in which of several lanes a request is done first.

Workers need not be alike: devices differ, and so does what else they have to do. The lane with the fewest rows outstanding
may be the slow one.

A batch takes a time of its own, and more with each row. Where it is the former that counts, a lane with large batches has
cheap rows, for no merit of its worker's: a choice by what a row cost on average would leave others without work for it. So
what is learned is a line, from batches of various sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

_WEIGHT: Final = 1 / 8  # of a batch, among those before
_VARIED: Final = 0.1  # variance of the sizes, their mean being 1, from which on they tell more than a guess
_FLATTEST: Final = 1 / 16  # of the average per row is what each adds at least: a line through few points may be anything
_ALIKE: Final = 1.25  # times the shortest time: lanes in which a request would be done by then are as good as one another
_HALVED_NS: Final = 2_000_000_000  # what was learned counts half after this time
_MOST_HALVINGS: Final = 60
# A worker's word is not trusted: so long a batch took at least and at most, and so many rows it had.
_SHORTEST_NS: Final = 1_000
_LONGEST_NS: Final = 60_000_000_000
_MOST_ROWS: Final = 1 << 20


class LaneCost:
    """Moving averages over the lane's batches. Times are ns of CLOCK_MONOTONIC."""

    __slots__ = ("_common", "_ns", "_per_row", "_rows", "_spread", "known", "learned_at")

    def __init__(self) -> None:
        self.known = False
        self.learned_at = 0
        self._ns = self._rows = 0.0  # of a batch
        self._spread = self._common = 0.0  # variance of the rows, covariance of rows and ns
        self._per_row = 0.0  # what each row adds, in ns

    def learn(self, took: int, rows: int, now: int) -> None:
        """From a batch's run. What was learned long ago gives way to it."""
        if rows <= 0:  # it was not run
            return
        more_ns = min(max(took, _SHORTEST_NS), _LONGEST_NS) - self._ns
        more_rows = min(rows, _MOST_ROWS) - self._rows
        weight = max(_WEIGHT, 1 - 1 / (1 << self._halvings(now))) if self.known else 1.0
        self.known = True
        self.learned_at = now
        self._ns += weight * more_ns
        self._rows += weight * more_rows
        self._spread = (1 - weight) * (self._spread + weight * more_rows * more_rows)
        self._common = (1 - weight) * (self._common + weight * more_rows * more_ns)
        # Where sizes hardly vary, rows are guessed to be all that counts.
        average = self._ns / self._rows
        guess = _VARIED * self._rows * self._rows
        slope = (self._common + guess * average) / (self._spread + guess)
        self._per_row = min(max(slope, _FLATTEST * average), average)

    def of(self, rows: int) -> float:
        """How long so many rows take, in ns. Of one that is known."""
        return self._ns + self._per_row * (rows - self._rows)

    def hoped(self, expected: float, best: float, now: int) -> float:
        """What may be hoped for where so many ns are expected, in a lane that has nothing to do: less and less with time,
        until it is less than `best`, what is expected where it is least. So it gets a request at last, from which it is
        learned what has become of it.
        """
        limit = best / 2
        return limit + (expected - limit) / (1 << self._halvings(now))

    def _halvings(self, now: int) -> int:
        return min(max(now - self.learned_at, 0) // _HALVED_NS, _MOST_HALVINGS)


class CostlyLane(Protocol):
    """A lane to choose. `busy_since`: when it last got something to do, having had nothing, in ns of CLOCK_MONOTONIC."""

    outstanding_rows: int
    busy_since: int
    cost: LaneCost


L = TypeVar("L", bound=CostlyLane)


def quickest(lanes: Sequence[L], rows: int, now: int) -> L:
    """The lane in which a request of so many rows is expected to be done first, behind those that are outstanding; `now` in
    ns of CLOCK_MONOTONIC. Where it hardly matters, that with the fewest rows outstanding, of those one that is not known.

    A lane of which nothing is known is taken for the best of the others, and where none is, rows are all that counts. One
    that has not answered anything for long, though it should, will take as long again: perhaps its worker has ended.
    """
    known = [lane.cost for lane in lanes if lane.cost.known]
    if not known:
        return min(lanes, key=_outstanding)
    best = min([cost.of(rows) for cost in known])
    times = [_expected(lane, rows, now, known, best) for lane in lanes]
    alike = min(times) * _ALIKE
    keys = []
    for index, lane in enumerate(lanes):
        if times[index] <= alike:
            keys.append((lane.outstanding_rows, lane.cost.known, times[index], index))
    return lanes[min(keys)[-1]]


def _expected(lane: CostlyLane, rows: int, now: int, known: Sequence[LaneCost], best: float) -> float:
    """In ns. `known`: the lanes' costs of which something is; `best`: how long the rows take where that is the shortest."""
    cost, total = lane.cost, lane.outstanding_rows + rows
    expected = cost.of(total) if cost.known else min([other.of(total) for other in known])
    if lane.outstanding_rows:
        return max(expected, now - max(cost.learned_at, lane.busy_since))
    return cost.hoped(expected, best, now) if cost.known else expected


def _outstanding(lane: CostlyLane) -> int:
    return lane.outstanding_rows

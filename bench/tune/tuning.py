"""A search within a budget of time, after which the best are measured again."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bench.tune.front import Point, front, keeps, score
from bench.tune.setting import Setting

#: Measures a setting under each load. Raises TrialError.
Measure = Callable[[Setting], Sequence[Point]]
#: Gets a setting's points when they are kept: what was told is there after an interruption too.
Told = Callable[[Setting, Sequence[Point]], None]

_SEARCH_SHARE: Final = 0.6  # of the budget; the rest is for measuring the best again
_FINALISTS: Final = 4
_MOST_RUNS: Final = 3


class TrialError(RuntimeError):
    """A server with this setting could not be measured; the text says why, with its words."""


@dataclass(slots=True)
class Found:
    """What is known at the end, or when it was interrupted."""

    limit: float  # ms
    trials: dict[Setting, list[Sequence[Point]]] = field(default_factory=dict)  # each time that one was measured
    failures: dict[Setting, str] = field(default_factory=dict)
    again: dict[Setting, None] = field(default_factory=dict)  # all that were measured again, once each of them was
    finished: bool = False  # no other value of a single flag was better
    interrupted: bool = False

    @property
    def points(self) -> list[Point]:
        """Of all settings. Those measured again have the medians of that: the search has picked those that were lucky."""
        return [point for setting in self.trials for point in self._points(setting)]

    @property
    def front(self) -> list[Point]:
        """Of settings measured again, if all were that were to be."""
        return front([point for setting in self.again or self.trials for point in self._points(setting)], self.limit)

    @property
    def default(self) -> Point | None:
        """The defaults' point with the highest throughput within the limit, or else with the lowest p99."""
        points = self._points(Setting()) if Setting() in self.trials else []
        within = [point for point in points if keeps(point, self.limit)]
        if within:
            return max(within, key=lambda point: point.rate)
        return min(points, key=lambda point: (point.failed, point.p99), default=None)

    def _points(self, setting: Setting) -> list[Point]:
        times = self.trials[setting]
        times = times[1:] or times
        loads = dict.fromkeys(point.clients for points in times for point in points)
        return [_median([point for points in times for point in points if point.clients == load]) for load in loads]


class Tuning:
    """Asks a search for settings, and measures them for as long as the budget lasts."""

    def __init__(
        self, measure: Measure, told: Told, budget: float, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        """`budget`: seconds of the clock."""
        self._measure = measure
        self._told = told
        self._clock = clock
        self._say = say
        self._began = clock()
        self._budget = budget
        self._times: list[float] = []  # s; that each measurement took

    def run(self, search: Generator[Setting, float, Setting], limit: float) -> Found:
        """KeyboardInterrupt ends it; what was found is kept. Raises TrialError when the first setting can't be measured."""
        found = Found(limit)
        try:
            self._search(search, found)
            self._measure_again(found)
        except KeyboardInterrupt:
            found.interrupted = True
        return found

    def _search(self, search: Generator[Setting, float, Setting], found: Found) -> None:
        setting = next(search)
        while True:
            value = self._tried(setting, found)
            try:
                setting = search.send(value)
            except StopIteration:
                found.finished = True
                return
            if not self._time_for_one(_SEARCH_SHARE):
                return

    def _measure_again(self, found: Found) -> None:
        """The best, and the defaults to compare with, in turn: what changes on the machine meanwhile meets all alike."""
        best = list(dict.fromkeys(point.setting for point in found.front))[:_FINALISTS]
        finalists = dict.fromkeys([*best, *([Setting()] if Setting() in found.trials else [])])
        if self._time_for_one(1.0):
            self._say(
                f"the search has ended after {len(found.trials)} settings; the best {len(finalists)} are measured again"
            )
        for _ in range(_MOST_RUNS):
            for setting in finalists:
                if not self._time_for_one(1.0):
                    return
                self._tried(setting, found)
            found.again = finalists

    def _tried(self, setting: Setting, found: Found) -> float:
        """Its score; 0 where it can't be measured."""
        began = self._clock()
        try:
            points = self._measure(setting)
        except TrialError as error:
            if not found.trials:
                raise
            found.failures[setting] = str(error)
            self._say(f"failed: {error}")
            return 0.0
        finally:
            self._times.append(self._clock() - began)
        found.trials.setdefault(setting, []).append(points)
        self._told(setting, points)
        return score(points, found.limit)

    def _time_for_one(self, share: float) -> bool:
        return self._clock() - self._began + statistics.median(self._times) <= self._budget * share


def _median(points: Sequence[Point]) -> Point:
    """Of one setting and load."""
    rate, p50, p99, memory = (
        statistics.median(getattr(point, name) for point in points) for name in ("rate", "p50", "p99", "memory")
    )
    failed = sum(point.failed for point in points)
    return replace(points[0], rate=rate, p50=p50, p99=p99, memory=memory, failed=failed, runs=len(points))

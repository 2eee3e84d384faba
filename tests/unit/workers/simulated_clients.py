"""A worker, its queue and their clients in a time of their own: only what the queue has learned is real."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from queue_rig import FORM

from workers.batch import Batch
from workers.batch_economy import BatchEconomy
from workers.limits import Closed, Limits
from workers.probe import Report

_NS: Final = 1_000_000_000
_WARM_UP: Final = 0.2  # of the time, that does not count: nothing has been learned yet
_SPREAD: Final = 0.1  # of a run's time, that it may be longer or shorter


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    fixed: float
    each: float


@dataclass(frozen=True)
class Outcome:
    """Requests a second, and seconds that half of them, or all but one in a hundred, took at most."""

    rate: float
    median: float
    slowest: float
    rows: float  # of a batch, on average


class Simulation:
    """One queue, whose requests have a row each; one batch runs at a time."""

    def __init__(self, cost: Cost, linger: float, most_rows: int = 64, seed: int = 0) -> None:
        """`linger`: seconds that a batch is held back at most."""
        report = Report(FORM, True, "", True, cost.fixed + cost.each, most_rows, cost.each)
        self.economy = BatchEconomy(report, Limits(most_rows, linger=round(linger * _NS)))
        self.random = random.Random(seed)
        self._cost = cost
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = 0
        self._waiting: list[tuple[int, Callable[[int], None]]] = []  # when each came, and who is told of its answer
        self._busy = False
        self._wake = 0
        self._times: list[tuple[int, int]] = []  # of each answer: when, and how long after the request
        self._batches: list[int] = []

    def at(self, when: int, event: Callable[[int], None]) -> None:
        self._order += 1
        heappush(self._events, (when, self._order, event))

    def ask(self, now: int, answered: Callable[[int], None]) -> None:
        self._waiting.append((now, answered))
        self._look(now)

    def _look(self, now: int) -> None:
        """As a queue's turn, where only plain rows wait."""
        if self._busy or not self._waiting:
            return
        rows, economy = min(len(self._waiting), self.economy.limits.most_rows), self.economy
        if rows < economy.limits.most_rows and economy.waits:
            until = economy.hold(rows, self._waiting[0][0], now)
            if until > now:
                self._wake = until
                self.at(until, self._woken)
                return
        self._wake = 0
        self._begin(rows, now)

    def _woken(self, now: int) -> None:
        if now == self._wake:
            self._look(now)

    def _begin(self, rows: int, now: int) -> None:
        taken, self._waiting = self._waiting[:rows], self._waiting[rows:]
        self._busy = True
        self.economy.took(rows, now)
        seconds = (self._cost.fixed + self._cost.each * rows) * self.random.uniform(1 - _SPREAD, 1 + _SPREAD)
        batch = Batch(rows, rows, Closed.IDLE, taken[0][0])

        def end(ended: int) -> None:
            self._busy = False
            self.economy.ran(batch, now, ended)
            self._batches.append(rows)
            for came, answered in taken:
                self._times.append((ended, ended - came))
                answered(ended)
            self._look(ended)

        self.at(now + max(round(seconds * _NS), 1), end)

    def run(self, seconds: float) -> Outcome:
        until = round(seconds * _NS)
        while self._events and self._events[0][0] < until:
            now, _, event = heappop(self._events)
            event(now)
        took = sorted(time for when, time in self._times if when > _WARM_UP * until)
        rate = len(took) / (seconds * (1 - _WARM_UP))
        mean = sum(self._batches) / len(self._batches)
        return Outcome(rate, took[len(took) // 2] / _NS, took[len(took) * 99 // 100] / _NS, mean)


def closed_loop(simulation: Simulation, clients: int, away: float, spread: float) -> None:
    """So many clients, who ask again when they are answered: after `away` seconds, and up to `spread` more."""

    def ask(now: int) -> None:
        simulation.ask(now, answered)

    def answered(now: int) -> None:
        simulation.at(now + round((away + spread * simulation.random.random()) * _NS), ask)

    for _ in range(clients):
        answered(0)


def open_loop(simulation: Simulation, rate: float) -> None:
    """Requests that come whenever they come, so many a second."""

    def ask(now: int) -> None:
        simulation.ask(now, lambda _: None)
        simulation.at(now + round(simulation.random.expovariate(rate) * _NS), ask)

    simulation.at(0, ask)

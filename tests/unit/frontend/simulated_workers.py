"""Workers of known speeds behind front ends' lanes, under closed-loop load: simulated, in no time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from frontend.lane_cost import LaneCost, quickest

SECOND = 1_000_000_000


@dataclass(eq=False)
class SimulatedLane:
    """A `frontend.lane_cost.CostlyLane`; `waiting`: requests of a row each that its worker has not begun."""

    outstanding_rows: int = 0
    busy_since: int = 0
    cost: LaneCost = field(default_factory=LaneCost)
    waiting: int = 0


@dataclass(eq=False)
class SimulatedWorker:
    """A batch of n rows takes `base` + n * `per_row` ns, a tenth more or less, and has `most` rows at most."""

    base: float
    per_row: float
    most: int = 64
    busy: bool = False
    hangs: bool = False  # and takes nothing
    done: int = 0

    @property
    def rows_per_second(self) -> float:
        return SECOND * self.most / (self.base + self.per_row * self.most)


class Simulation:
    """Each of the clients of a front end asks again as soon as it has its answer."""

    def __init__(self, workers: Sequence[SimulatedWorker], clients: int, front_ends: int = 1, seed: int = 0) -> None:
        self.workers = workers
        self.lanes = [[SimulatedLane() for _ in workers] for _ in range(front_ends)]
        self.now = 0
        self._random = random.Random(seed)
        self._order = itertools.count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        for client in range(clients):
            self._ask_soon(client % front_ends)

    def run(self, seconds: float) -> list[int]:
        """For so long; returns how many requests each worker did in that time."""
        before = [worker.done for worker in self.workers]
        until = self.now + int(seconds * SECOND)
        while self._events[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        self.now = until
        return [worker.done - was for worker, was in zip(self.workers, before, strict=True)]

    def go_on(self, index: int) -> None:
        """The worker hangs no longer."""
        self.workers[index].hangs = False
        self._look(index)

    def _at(self, when: int, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    def _ask_soon(self, front_end: int) -> None:
        self._at(self.now + self._random.randrange(2_000), lambda: self._ask(front_end))

    def _ask(self, front_end: int) -> None:
        lanes = self.lanes[front_end]
        lane = quickest(lanes, 1, self.now)
        if not lane.outstanding_rows:
            lane.busy_since = self.now
        lane.outstanding_rows += 1
        lane.waiting += 1
        self._look(lanes.index(lane))

    def _look(self, index: int) -> None:
        """What waits is a batch, if the worker has nothing to do."""
        worker = self.workers[index]
        if worker.busy or worker.hangs:
            return
        taken: list[int] = []
        for lanes in self.lanes:
            count = min(worker.most - sum(taken), lanes[index].waiting)
            lanes[index].waiting -= count
            taken.append(count)
        if sum(taken):
            worker.busy = True
            took = int((worker.base + worker.per_row * sum(taken)) * self._random.uniform(0.9, 1.1))
            self._at(self.now + took, lambda: self._end(index, took, taken))

    def _end(self, index: int, took: int, taken: Sequence[int]) -> None:
        worker = self.workers[index]
        worker.busy = False
        worker.done += sum(taken)
        for front_end, count in enumerate(taken):
            if count:
                lane = self.lanes[front_end][index]
                lane.outstanding_rows -= count
                lane.cost.learn(took, sum(taken), self.now)
                for _ in range(count):
                    self._ask_soon(front_end)
        self._look(index)

"""A queue: the requests of one signature and form, from the lanes of all front ends, run batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from ringserve.errors import Code, ServingError
from workers.batch_counters import BatchMeter
from workers.local_lane import LocalLane
from workers.planner import Action, Piece, plan, single
from workers.probe import Report
from workers.queued_lane import Part, QueuedLane
from workers.runner import Runner

_LONG_SECONDS: Final = 0.002  # runs that take longer are left to a thread, so that other queues go on meanwhile


class Queue:
    """Runs in the worker's loop thread; a run that takes long goes to a thread of the pool, its end comes back to the loop.

    Answers are written by whichever thread ran the batch; cursors are moved by the loop thread only.
    """

    def __init__(
        self,
        signature: str,
        report: Report,
        runner: Runner,
        pool: Executor,
        most_in_flight: int,
        post: Callable[[Callable[[], None]], None],
        meter: BatchMeter | None = None,
    ) -> None:
        """`post` brings a function from a thread of the pool to the loop's; `meter` counts the batches that were run."""
        self.signature = signature
        self.form = report.form
        self.lanes: list[QueuedLane] = []
        self.had_local = False  # is or was one of them a local client's?
        self._most_rows = report.most_rows if report.batched else 1
        self._runner = runner
        self._pool = pool
        self._most_in_flight = most_in_flight
        self._post = post
        self._meter = meter
        self.in_flight = 0  # batches in the pool
        self._when_idle: Callable[[], None] | None = None
        self._start = 0  # which lane comes first in the next batch
        self._seconds = report.seconds  # of a run lately

    @property
    def suspects(self) -> int:
        """Requests that a worker before had begun when it died."""
        return sum(lane.suspects for lane in self.lanes)

    def turn(self, now: int) -> bool:
        """Run, or begin to run, the next batch, if any. Says whether there was one."""
        if self.in_flight >= self._most_in_flight:
            return False
        parts = self._next(now)
        if not parts:
            return False
        action = parts[0].piece.action
        if action is Action.EXPIRED:
            self._runner.fail(parts, ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting in the lane"))
        elif action is Action.ABANDONED:
            self._runner.fail(parts, ServingError(Code.CANCELLED, "The client went away"))
        elif self._seconds > _LONG_SECONDS or (self.had_local and _are_heavy(parts)):
            self.in_flight += 1
            self._pool.submit(self._run_in_pool, parts)
            return True
        else:
            begun = time.monotonic_ns()
            self._runner.run(parts)
            self._ran(parts, begun, time.monotonic_ns())
            return True
        self._finish(parts, now, now, 0)
        return True

    def _next(self, now: int) -> list[Part]:
        """Take the next batch off the lanes."""
        lanes = self.lanes
        if len(lanes) == 1 and not lanes[0].suspects:  # one front end: the usual case, in the fewest steps
            waiting = [lanes[0].consumer.waiting]
        else:
            waiting = [lane.consumer.waiting for lane in lanes]
            for index, lane in enumerate(lanes):
                if lane.suspects:
                    return self._next_suspect(index, now)
        if 1 in waiting and sum(waiting) == 1:  # a quiet server: without a single array
            lane = lanes[waiting.index(1)]
            position, _, rows, flags, deadline = lane.consumer.head()
            piece = single(position, rows, flags, deadline, now)
            lane.check(piece)
            return [Part(lane, lane.consumer.take(1), piece)]
        if not any(waiting):
            return []
        self._start += 1
        windows = [
            lane.consumer.window(min(count, self._most_rows)) if count else None
            for lane, count in zip(lanes, waiting, strict=True)
        ]
        return self._take(plan(windows, self._start, now, self._most_rows))

    def _next_suspect(self, index: int, now: int) -> list[Part]:
        """The oldest request that a dead worker had begun: by itself, and not a third time."""
        lane = self.lanes[index]
        position, _, rows, flags, deadline = lane.consumer.head()
        lane.suspects -= 1
        tries = lane.consumer.begin_alone(lane.consumer.taken)
        parts = self._take([(index, single(position, rows, flags, deadline, now))])
        if tries:
            error = ServingError(Code.INTERNAL, "The worker died twice while it ran this request")
            self._runner.fail(parts, error)
            self._finish(parts, now, now, 0)
            return self._next(now)
        return parts

    def _take(self, chosen: Sequence[tuple[int, Piece]]) -> list[Part]:
        parts = [(self.lanes[index], piece) for index, piece in chosen]
        for lane, piece in parts:  # all of them, before anything is taken of one
            lane.check(piece)
        return [Part(lane, lane.consumer.take(piece.requests), piece) for lane, piece in parts]

    def add(self, lane: QueuedLane) -> None:
        self.lanes.append(lane)
        self.had_local |= lane.is_local

    def who_broke(self) -> str:
        """Whose words in one of its lanes can't be."""
        return "client" if any(lane.is_local for lane in self.lanes if lane.consumer.broken) else "front end"

    def close_broken_lanes(self) -> None:
        """Nothing is taken any more from lanes that hold what can't be; a batch of theirs that runs may end."""
        for lane in self.lanes:
            if lane.consumer.broken:
                lane.drop()
        self.lanes = [lane for lane in self.lanes if not lane.consumer.broken]

    def _run_in_pool(self, parts: Sequence[Part]) -> None:
        begun = time.monotonic_ns()
        self._runner.run(parts)
        ended = time.monotonic_ns()
        self._post(lambda: self._ran_in_pool(parts, begun, ended))

    def _ran_in_pool(self, parts: Sequence[Part], begun: int, ended: int) -> None:
        self.in_flight -= 1
        self._ran(parts, begun, ended)
        if self._when_idle is not None and not self.in_flight:
            self._when_idle()

    def _ran(self, parts: Sequence[Part], begun: int, ended: int) -> None:
        """A batch's run is over. Counted when its answers are on their way: nobody has to wait for that."""
        nanoseconds = ended - begun
        rows = _rows(parts)
        self._finish(parts, begun, ended, rows)
        self._seconds += (nanoseconds * 1e-9 - self._seconds) / 8
        if self._meter is not None:
            self._meter.ran(rows, nanoseconds)

    @staticmethod
    def _finish(parts: Sequence[Part], begun: int, ended: int, rows: int) -> None:
        for part in parts:
            part.lane.finish(part.ticket, begun, ended, rows)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once no batch of this queue runs, perhaps now. For a queue that is to go."""
        for lane in self.lanes:
            lane.drop()
        self.lanes.clear()
        if self.in_flight:
            self._when_idle = then
        else:
            then()


def _are_heavy(parts: Sequence[Part]) -> bool:
    for part in parts:
        lane = part.lane
        if isinstance(lane, LocalLane) and lane.is_heavy(part.ticket, part.piece):
            return True
    return False


def _rows(parts: Sequence[Part]) -> int:
    """Of a batch that was run. A packed request's are what its front end says, and one where it has none."""
    if len(parts) > 1:
        return sum([part.piece.rows for part in parts])
    lane, ticket, piece = parts[0].lane, parts[0].ticket, parts[0].piece
    return piece.rows or max(1, lane.consumer.describe(ticket.start)[2])  # a piece of rows has some

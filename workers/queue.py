"""A queue: the requests of one signature and form, from the lanes of all front ends, run batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from ringserve.channel import Message
from ringserve.errors import Code
from shm.bell import Bell
from shm.doorbell import Doorbell
from workers.batch import Batch
from workers.batch_account import count_batch, count_requests
from workers.batch_counters import BatchMeter
from workers.batch_economy import BatchEconomy
from workers.batch_seats import BatchSeats
from workers.engine import Inputs
from workers.explanation import wire_inputs
from workers.limits import Limits
from workers.local_lane import LocalLane
from workers.plain_batches import PlainBatches
from workers.probe import Report
from workers.queued_lane import QueuedLane
from workers.runner import Runner
from workers.sorted_batches import SortedBatches
from workers.waiting import Waiting

_REJECTED: Final = {Code.CANCELLED: "cancelled", Code.DEADLINE_EXCEEDED: "expired", Code.RESOURCE_EXHAUSTED: "expired"}
_LONG_SECONDS: Final = 0.002  # runs that take longer are left to a thread, so that other queues go on meanwhile


class Queue:
    """Runs in the worker's loop thread; a run that takes long goes to a thread of the pool, its end comes back to the loop.

    Answers are written by whichever thread ran the batch; cursors are moved by the loop thread only. As long as only plain
    rows wait, batches are taken off the lanes as they come; while others do too, each request is looked at.
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
        limits: Limits | None = None,
        seats: BatchSeats | None = None,
    ) -> None:
        """`post` brings a function from a thread of the pool to the loop's; `meter` counts the batches that were run;
        `limits`: None: as the report says; `seats`: of all queues that share them, a batch each.
        """
        self.signature = signature
        self.form = report.form
        self.lanes: list[QueuedLane] = []
        self.economy = BatchEconomy(report, limits or Limits(most_rows=report.most_rows if report.batched else 1))
        self.in_flight = 0  # batches in the pool
        self.wake = 0  # when a batch that is held back is to be looked at again, in ns of CLOCK_MONOTONIC; 0: none is
        self.is_laden = False  # do requests wait that were looked at, and that no lane shows any more?
        self._has_suspects = False  # may have
        self._had_local = False  # is or was one of the lanes a local client's?
        self._plain = PlainBatches(self.lanes, self.economy)
        self._sorted = SortedBatches(self.lanes, self.economy, report.form)
        self._runner = runner
        self._pool = pool
        self._most_in_flight = most_in_flight
        self._post = post
        self._meter = meter
        self._seats = seats
        self._when_idle: Callable[[], None] | None = None
        self._to_ring: dict[Doorbell | Bell, None] = {}

    @property
    def suspects(self) -> int:
        """Requests that a worker before had begun when it died."""
        return sum(lane.suspects for lane in self.lanes)

    def turn(self, now: int) -> bool:
        """Run, or begin to run, the next batch, if any. Says whether anything was done."""
        self.wake = 0
        if self.in_flight >= self._most_in_flight or (self._seats is not None and not self._seats.free):
            return False
        if self._has_suspects:
            for lane in self.lanes:
                if lane.suspects:
                    return self._turn_suspect(lane, now)
            self._has_suspects = False
        if not self.is_laden and self.economy.limits.in_order:
            batch = self._plain.next(now)
            if batch is not None:
                self._begin(batch, now)
                return True
            if not self._plain.is_odd:
                self.wake = self._plain.wake
                return False
        return self._turn_sorted(now)

    def _turn_suspect(self, lane: QueuedLane, now: int) -> bool:
        batch = self._sorted.next_suspect(lane, now)
        self._finish_dropped(now)
        if batch is not None:
            self._begin(batch, now)
        elif not lane.dropped:
            lane.doorbell.ring()  # the worker before may not have come to it
        return True

    def _turn_sorted(self, now: int) -> bool:
        batch = self._sorted.next(now)
        self.wake = self._sorted.wake
        self.is_laden = len(self._sorted) > 0
        has_dropped = self._finish_dropped(now)
        if batch is not None:
            self._begin(batch, now)
        return batch is not None or has_dropped

    def _finish_dropped(self, now: int) -> bool:
        """Requests that were answered without a run. Says whether there were any."""
        dropped, self._sorted.dropped = self._sorted.dropped, []
        for request in dropped:
            self._finish(request, now, now, 0)
            if self._meter is not None and request.error is not None:
                self._meter.rejected(_REJECTED.get(request.error.code, "failed"), 1)
        self._ring()
        return bool(dropped)

    def _begin(self, batch: Batch, now: int) -> None:
        self.economy.took(batch.rows, now)
        if self._seats is not None:
            self._seats.free -= 1
        if self.economy.cost.predict(batch.executed) > _LONG_SECONDS or (self._had_local and _is_heavy(batch)):
            self.in_flight += 1
            self._pool.submit(self._run_in_pool, batch)
            return
        begun = time.monotonic_ns()
        self._runner.run(batch, self.economy.limits)
        self._ran(batch, begun, time.monotonic_ns())

    def _run_in_pool(self, batch: Batch) -> None:
        begun = time.monotonic_ns()
        self._runner.run(batch, self.economy.limits)
        ended = time.monotonic_ns()
        self._post(lambda: self._ran_in_pool(batch, begun, ended))

    def _ran_in_pool(self, batch: Batch, begun: int, ended: int) -> None:
        self.in_flight -= 1
        self._ran(batch, begun, ended)
        if self._when_idle is not None and not self.in_flight:
            self._when_idle()

    def _ran(self, batch: Batch, begun: int, ended: int) -> None:
        """A batch's run is over. Counted when its answers are on their way: nobody has to wait for that."""
        if self._meter is not None and self.economy.limits.by_parameters:
            count_requests(self._meter, batch, begun)
        if len(batch.parts) == 1:
            part = batch.parts[0]
            if part.lane.finish(part.ticket, begun, ended, batch.rows):
                part.lane.doorbell.ring()
        else:
            self._finish_all(batch, begun, ended)
        if self._seats is not None:
            self._seats.free += 1
        self.economy.ran(batch, begun, ended)
        if self._meter is not None:
            count_batch(self._meter, batch, begun, ended)

    def _finish_all(self, batch: Batch, begun: int, ended: int) -> None:
        for part in batch.parts:
            if part.lane.finish(part.ticket, begun, ended, batch.rows):
                self._to_ring[part.lane.doorbell] = None
        for piece in batch.slices:
            self._end_part(piece.request, begun, ended, max(batch.rows, 1))
        self._ring()

    def _end_part(self, request: Waiting, begun: int, ended: int, rows: int) -> None:
        request.parts -= 1
        if request.parts or request.taken < request.rows:
            return
        if request.is_cut:
            self._runner.conclude(request)
        self._finish(request, begun, ended, rows)

    def _finish(self, request: Waiting, begun: int, ended: int, rows: int) -> None:
        lane = request.lane
        assert request.ticket is not None
        if lane.finish(request.ticket, begun, ended, rows, early=not lane.is_local):
            self._to_ring[lane.doorbell] = None

    def _ring(self) -> None:
        for doorbell in self._to_ring:
            doorbell.ring()
        self._to_ring.clear()

    def explain(self, inputs: Inputs | None) -> Message:
        """As `workers.explanation` describes; `inputs`: those of the queue's route."""
        return {
            "signature": self.signature,
            "inputs": wire_inputs(inputs),
            "in_flight": self.in_flight,
            **self.economy.explain(),
        }

    def add(self, lane: QueuedLane) -> None:
        self.lanes.append(lane)
        self._has_suspects |= lane.suspects > 0
        self._had_local |= lane.is_local

    def remove(self, lanes: Callable[[QueuedLane], bool]) -> None:
        """Let go of these lanes, which have been dropped; a batch of theirs that runs may end."""
        self.lanes[:] = [lane for lane in self.lanes if not lanes(lane)]
        self._sorted.forget(lanes)
        self.is_laden = len(self._sorted) > 0

    def who_broke(self) -> str:
        """Whose words in one of its lanes can't be."""
        return "client" if any(lane.is_local for lane in self.lanes if lane.consumer.broken) else "front end"

    def close_broken_lanes(self) -> None:
        """Nothing is taken any more from lanes that hold what can't be."""
        for lane in self.lanes:
            if lane.consumer.broken:
                lane.drop()
        self.remove(lambda lane: lane.consumer.broken)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once no batch of this queue runs, perhaps now. For a queue that is to go."""
        for lane in self.lanes:
            lane.drop()
        self.remove(lambda _: True)
        if self.in_flight:
            self._when_idle = then
        else:
            then()


def _is_heavy(batch: Batch) -> bool:
    """Does a local client's part take long to copy?"""
    for part in batch.parts:
        if isinstance(part.lane, LocalLane) and part.lane.is_heavy(part.piece.rows):
            return True
    return any(_is_heavy_request(piece.request) for piece in batch.slices)


def _is_heavy_request(request: Waiting) -> bool:
    lane = request.lane
    if not isinstance(lane, LocalLane):
        return False
    return lane.is_heavy(request.rows) if request.row >= 0 else lane.is_heavy_request(request.number)

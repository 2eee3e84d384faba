"""Batches of plain rows, taken off the lanes in the order in which they came, with no work for a single request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.batch import Batch
from workers.batch_economy import BatchEconomy
from workers.limits import Closed
from workers.planner import Piece, Plan, plan
from workers.queued_lane import Part, QueuedLane


class PlainBatches:
    """Of one queue."""

    def __init__(self, lanes: Sequence[QueuedLane], economy: BatchEconomy) -> None:
        """`lanes`: those of the queue, which come and go."""
        self._lanes = lanes
        self._economy = economy
        self._start = 0  # which lane comes first in the next batch
        self.wake = 0  # until when the next batch is held back, in ns of CLOCK_MONOTONIC; 0: it is not
        self.is_odd = False  # something else than plain rows waits

    def next(self, now: int) -> Batch | None:
        """Take the next batch; None where nothing waits, something odd does, or a batch is held back.

        Raises BrokenLaneError for what can't be.
        """
        self.wake, self.is_odd = 0, False
        lanes = self._lanes
        waiting = [lane.consumer.waiting for lane in lanes]
        total = waiting[0] if len(waiting) == 1 else sum(waiting)
        if not total:
            return None
        economy = self._economy
        if total == 1 and not economy.waits:  # a quiet server: without a single array
            return self._single(lanes[waiting.index(1)], now)
        limits = economy.limits
        found = plan(self._windows(waiting), now, limits.most_rows)
        if found.is_odd or 0 < limits.most_request_rows < found.rows:
            self.is_odd = True
            return None
        if not found.is_full and economy.waits:
            self.wake = economy.hold(found.rows, found.oldest, now)
            if self.wake:
                return None
        self._start += 1
        return self._take(found)

    def _single(self, lane: QueuedLane, now: int) -> Batch | None:
        row, _, rows, flags, deadline = lane.consumer.head()
        limits = self._economy.limits
        if flags or 0 < deadline <= now or 0 < limits.most_request_rows < rows:
            self.is_odd = True
            return None
        piece = Piece(1, row, rows)
        lane.check(piece)
        consumer = lane.consumer
        oldest = consumer.enqueued(consumer.taken)
        part = Part(lane, consumer.take(1), piece)
        return Batch(rows, limits.executed(rows), Closed.IDLE if limits.joins else Closed.ALONE, oldest, (part,))

    def _windows(self, waiting: Sequence[int]) -> list[tuple[int, Any]]:
        """Descriptors of each lane that has requests, the lanes taking turns at being first; two windows of one whose slots
        start over among them.
        """
        windows = []
        most, count = self._economy.limits.most_rows, len(waiting)
        for step in range(count):
            index = (self._start + step) % count
            if wanted := min(waiting[index], most + 1):  # one more tells whether it would have fit
                consumer = self._lanes[index].consumer
                window = consumer.window(wanted)
                windows.append((index, window))
                if len(window) < wanted:
                    windows.append((index, consumer.window(wanted - len(window), len(window))))
        return windows

    def _take(self, found: Plan) -> Batch:
        lanes, limits = self._lanes, self._economy.limits
        for index, piece in found.pieces:  # all of them, before anything is taken of one
            lanes[index].check(piece)
        parts = [Part(lanes[index], lanes[index].consumer.take(piece.requests), piece) for index, piece in found.pieces]
        closed = Closed.ALONE
        if limits.joins:
            closed = Closed.FULL if found.is_full else self._economy.closed()
        return Batch(found.rows, limits.executed(found.rows), closed, found.oldest, parts)

"""Batches of requests that are looked at one by one, and run in an order of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import merge
from operator import attrgetter
from typing import Final

from ringserve.errors import Code, ServingError
from workers.answer_writer import write_error
from workers.backlog import Backlog
from workers.batch import Batch
from workers.batch_economy import BatchEconomy
from workers.engine import Form
from workers.intake import Intake
from workers.limits import Closed
from workers.queued_lane import QueuedLane
from workers.waiting import Slice, Waiting

_CANCELLED: Final = ServingError(Code.CANCELLED, "The client went away")
_EXPIRED: Final = ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting in the lane")
_EXPIRED_IN_BATCHING: Final = ServingError(  # upstream's
    Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"
)
_ENQUEUED: Final = attrgetter("enqueued")


class SortedBatches:
    """Of one queue."""

    def __init__(self, lanes: Sequence[QueuedLane], economy: BatchEconomy, form: Form | None) -> None:
        """`lanes`: those of the queue, which come and go."""
        self._lanes = lanes
        self._economy = economy
        self._intake = Intake(form)
        self._backlog: Backlog[Waiting] = Backlog(economy.limits)
        self.wake = 0  # until when the next batch is held back, in ns of CLOCK_MONOTONIC; 0: it is not
        self.dropped: list[Waiting] = []  # answered without a run; whoever calls `next` finishes them, and counts them

    def __len__(self) -> int:
        return len(self._backlog)

    def next(self, now: int) -> Batch | None:
        """Take the next batch; None where nothing waits, or it is held back.

        Raises BrokenLaneError for what can't be.
        """
        economy, backlog = self._economy, self._backlog
        backlog.limits = economy.limits
        self._take_in(now)
        self.wake = 0
        if not backlog:
            return None
        found = backlog.next(now, economy.hold(backlog.rows, backlog.oldest, now) if economy.waits else 0)
        self.wake = found.wake
        self._drop(found.dropped, now)
        if not found.batch:
            return None
        closed = economy.closed() if found.closed is Closed.IDLE else found.closed
        executed = found.rows if closed is Closed.ALONE else economy.limits.executed(found.rows)
        return Batch(found.rows, executed, closed, found.oldest, (), [_slice(*taken) for taken in found.batch])

    def _take_in(self, now: int) -> None:
        """Of all lanes, in the order in which they came."""
        found: list[list[Waiting]] = []
        try:
            for lane in self._lanes:
                if waiting := self._intake.look(lane, self._economy.limits, now):
                    found.append(waiting)
        finally:  # those that were found are known to nobody else
            for request in found[0] if len(found) == 1 else merge(*found, key=_ENQUEUED):
                self._backlog.add(request)

    def _drop(self, requests: list[Waiting], now: int) -> None:
        for request in requests:  # of one whose time is over the front end says so too, later, as of one whose client left
            self._answer(request, self._expired if 0 < request.deadline <= now else _CANCELLED)

    @property
    def _expired(self) -> ServingError:
        return _EXPIRED_IN_BATCHING if self._economy.limits.by_parameters else _EXPIRED

    def _answer(self, request: Waiting, error: ServingError) -> None:
        request.error = error
        write_error(request.lane, request.number, error)
        request.ticket = request.lane.consumer.begin(request.number)
        self.dropped.append(request)

    def next_suspect(self, lane: QueuedLane, now: int) -> Batch | None:
        """The oldest request that a dead worker had begun: by itself, and not a third time. None: it is not run."""
        skipped = lane.consumer.skip_answered(lane.suspects)
        lane.suspects -= skipped
        if skipped:
            return None
        lane.suspects -= 1
        tries = lane.consumer.begin_alone(lane.consumer.taken)
        request = self._intake.look(lane, self._economy.limits, now, 1)[0]
        if tries:
            self._answer(request, ServingError(Code.INTERNAL, "The worker died twice while it ran this request"))
        elif request.is_gone or 0 < request.deadline <= now:
            self._drop([request], now)
        else:
            request.taken = request.rows
            part = _slice(request, 0, request.rows)
            return Batch(request.rows, request.rows, Closed.ALONE, request.enqueued, (), [part])
        return None

    def forget(self, is_gone: Callable[[QueuedLane], bool]) -> None:
        """Let go of the requests of lanes that are gone: nobody reads their answers."""
        self._backlog.forget(lambda request: is_gone(request.lane))


def _slice(request: Waiting, first: int, rows: int) -> Slice:
    if request.ticket is None:
        request.ticket = request.lane.consumer.begin(request.number)
    request.parts += 1
    part = Slice(request, first, rows)
    request.is_cut = not part.is_whole
    return part

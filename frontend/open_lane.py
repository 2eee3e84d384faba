"""A lane as the front end uses it: requests in, answers out, slots given back in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from frontend.batch_queue_bound import QUEUE_FULL, UNBOUNDED, BatchQueueBound
from frontend.lane_cost import LaneCost
from frontend.low_share import Held, LowShare
from frontend.pending import Pending, Tell
from frontend.tensors import Array
from ringserve.errors import Code, ServingError
from shm import packed
from shm.layout import LOW
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer

# TensorFlow's texts
TIMED_OUT: Final = "Timed out waiting for notification"
_TIMED_OUT_IN_QUEUE: Final = "Run() timeout exceeded while waiting in batching queue"


class OpenLane:
    """All on the event loop. `outstanding_rows` is the measure of how busy the worker behind it is.

    Requests of low priority (`low`) find a lane full where those of high priority still have half of it.
    """

    __slots__ = (
        "_begun",
        "_begun_at",
        "_create_future",
        "_early",
        "_end",
        "_ended",
        "_low",
        "_unreleased",
        "_waiting",
        "avoided",
        "bound",
        "busy_since",
        "collected",
        "cost",
        "has_rivals",
        "most_rows",
        "number",
        "outstanding_rows",
        "producer",
        "worker",
    )

    def __init__(self, number: int, worker: str, producer: LaneProducer) -> None:
        self.number = number
        self.worker = worker
        self.producer = producer
        self.most_rows = producer.lane.spec.rows // 2  # of one request
        self.outstanding_rows = 0
        self.bound: BatchQueueBound | None = None  # with batching parameters
        self.avoided = False  # while another worker's lane can take the request
        self.has_rivals = False  # are there other lanes for the same requests? Then what a row costs is learned
        self.cost = LaneCost()
        self.busy_since = 0  # when it last got a request, having had none, in ns of CLOCK_MONOTONIC
        self.collected = 0  # requests whose completion was told to those who wait, in their order
        self._early = 0  # of those that were told out of their order, as of the last look
        # Kept: in Python 3.11 every look for the running loop is a system call (getpid).
        self._create_future: Callable[[], asyncio.Future[None]] = asyncio.get_running_loop().create_future
        self._begun_at = self._end = self._begun = self._ended = 0  # of the batch that was looked at last
        self._low = LowShare(producer.lane.spec)
        self._waiting: deque[Pending] = deque()  # submitted, not collected
        self._unreleased: deque[Pending] = deque()

    def submit_rows(
        self, columns: Sequence[Array], rows: int, now: int, deadline: int, tell: Tell | None = None, low: bool = False
    ) -> Pending | None:
        """None when the lane is full."""
        if low and not self._low.room(rows):
            return None
        if self.bound is not None and not self.bound.room(rows, self.producer.taken):
            return None
        number = self.producer.submit_rows(self.producer.submitted, rows, columns, now, deadline, LOW if low else 0)
        if number == FULL:
            return None
        return self._pend(number, rows, now, deadline, tell, held=Held(1, rows) if low else None)

    def submit_each(
        self, columns: Sequence[Array], rows_each: int, now: int, deadline: int, tell: Tell, low: bool = False
    ) -> tuple[Pending, int] | None:
        """The rows as requests of so many rows each: as many of them as there is room for, from the front, and how many
        that is. They are told of together, when the last of them is completed. None when the lane is full.
        """
        room = self._low.room(rows_each) if low else UNBOUNDED
        if self.bound is not None:
            room = min(room, self.bound.room(rows_each, self.producer.taken))
        if not room:
            return None
        if room * rows_each < len(columns[0]):
            columns = [column[: room * rows_each] for column in columns]
        number = self.producer.submitted
        count = self.producer.submit_each(number, columns, now, deadline, rows_each, LOW if low else 0)
        if not count:
            return None
        rows = count * rows_each
        return self._pend(number, rows, now, deadline, tell, count, Held(count, rows) if low else None), count

    def submit_packed(
        self,
        tensors: Sequence[PackedTensor],
        rows: int,
        now: int,
        deadline: int,
        tell: Tell | None = None,
        low: bool = False,
    ) -> Pending | None:
        """None when the lane is full."""
        held = Held(1, size=packed.size(tensors)) if low else None
        if held is not None and not self._low.has_bytes(held.size):
            return None
        if self.bound is not None and not self.bound.room(rows, self.producer.taken):
            return None
        number = self.producer.submit_packed(self.producer.submitted, rows, tensors, now, deadline, LOW if low else 0)
        return None if number == FULL else self._pend(number, rows, now, deadline, tell, held=held)

    def refusal(self, rows: int) -> ServingError:
        """Of a request of so many rows, for which the lane had no room."""
        if self.bound is not None and not self.bound.room(rows, self.producer.taken):
            return self.bound.refusal(rows)
        return ServingError(Code.UNAVAILABLE, QUEUE_FULL)

    def _pend(
        self,
        number: int,
        rows: int,
        now: int,
        deadline: int,
        tell: Tell | None,
        count: int = 1,
        held: Held | None = None,
    ) -> Pending:
        if self.bound is not None:
            self.bound.add(number, rows // count, count)
        rows = max(rows, 1)  # a request without rows keeps the worker busy too
        future = None if tell is not None else self._create_future()
        pending = Pending(self, number, rows, now, deadline, tell, future, count, held)
        if held is not None:
            self._low.take(held)
        self._waiting.append(pending)
        self._unreleased.append(pending)
        if not self.outstanding_rows:
            self.busy_since = now
        self.outstanding_rows += rows
        return pending

    def collect(self) -> int:
        """Tell those whose requests are completed; returns how many requests that are. They may submit others meanwhile."""
        producer = self.producer
        early = producer.early  # before `completed`: what comes between the two is seen at the next ring
        completed = producer.completed
        told = 0
        waiting = self._waiting
        while waiting and waiting[0].last < completed:
            pending = waiting.popleft()
            if not pending.completed:
                told += self._tell(pending, completed)
            self.collected = pending.last + 1
        if early != self._early:
            self._early = early
            told += self._collect_early(completed)
        return told

    def _collect_early(self, completed: int) -> int:
        """As `collect`, of those behind others that are not completed."""
        producer = self.producer
        early = producer.early_numbers(completed)
        told = 0
        for pending in list(self._waiting):
            first = max(pending.number, completed)
            if first in early and not pending.completed and early.issuperset(range(first, pending.last + 1)):
                told += self._tell(pending, producer.submitted)
        return told

    def _tell(self, pending: Pending, completed: int) -> int:
        if not self._begun_at <= pending.number < self._end:
            self._next_batch(pending.number, completed)
        pending.begun = self._begun
        while pending.last >= self._end:
            self._next_batch(self._end, completed)
        pending.ended = self._ended
        pending.completed = True
        self.outstanding_rows -= pending.rows
        if pending.given_up:
            self.release(pending)
        else:
            pending.end()
        return pending.last + 1 - pending.number

    def _next_batch(self, number: int, completed: int) -> None:
        """That of request `number`, the first of it."""
        end, self._begun, ended, rows = self.producer.batch(number)
        if self.has_rivals and ended != self._ended:
            self.cost.learn(ended - self._begun, rows, time.monotonic_ns())
        self._ended = ended
        self._begun_at = number
        # The worker's word is not trusted.
        self._end = end if number < end <= completed else number + 1

    def expire(self, now: int) -> None:
        """Tell those whose deadline has passed."""
        expired = [p for p in self._waiting if 0 < p.deadline <= now and not p.given_up and not p.completed]
        for pending in expired:
            if self.bound is not None and pending.number >= self.producer.taken:  # it is in no batch yet
                pending.end(ServingError(Code.RESOURCE_EXHAUSTED, _TIMED_OUT_IN_QUEUE))
            else:
                pending.end(ServingError(Code.DEADLINE_EXCEEDED, TIMED_OUT))

    def release(self, pending: Pending) -> None:
        """Give back the slot, and with it those after it that were read earlier."""
        pending.released = True
        unreleased = self._unreleased
        until = -1
        while unreleased and unreleased[0].released:
            freed = unreleased.popleft()
            until = freed.last
            if freed.held is not None:
                self._low.give_back(freed.held)
        if until >= 0:
            self.producer.release(until + 1)

    @property
    def waiting(self) -> int:
        """Requests submitted and not collected, those that were submitted together as one."""
        return len(self._waiting)

    @property
    def inflight(self) -> int:
        """Requests submitted and not collected, each by itself."""
        return self.producer.submitted - self.collected

    @property
    def enqueued(self) -> int:
        """Of these, the ones behind the last that the worker has begun, which is not trusted."""
        return self.producer.submitted - min(max(self.producer.taken, self.collected), self.producer.submitted)

    @property
    def occupancy(self) -> float:
        """The share of its slots that are not free, 0 to 1."""
        return self.producer.outstanding / self.producer.lane.spec.slots

    @property
    def idle(self) -> bool:
        """Every slot is free."""
        return not self._unreleased

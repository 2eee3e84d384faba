"""A lane as the front end uses it: requests in, answers out, slots given back in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from frontend.tensors import Array
from ringserve.errors import Code, ServingError
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer

TIMED_OUT: Final = "Timed out waiting for notification"  # TensorFlow's text


#: Is told, once, of a request's completion, or of the error that it ends with before.
Tell = Callable[[ServingError | None], None]


class Pending:
    """A request in a lane, or several that were submitted together, from `number` to `last`. Await `future` for its
    completion, then read its answer, then `done` it, whatever happened.

    With `tell` there is no future: it is called instead, in the loop's turn in which the completion is seen. Times are ns of
    CLOCK_MONOTONIC; the batch's, `begun` and `ended`, are there when the request is completed.
    """

    __slots__ = (
        "_future",
        "begun",
        "deadline",
        "ended",
        "given_up",
        "lane",
        "last",
        "number",
        "released",
        "rows",
        "submitted",
        "tell",
    )

    def __init__(
        self,
        lane: OpenLane,
        number: int,
        rows: int,
        submitted: int,
        deadline: int,
        tell: Tell | None,
        future: asyncio.Future[None] | None,
        count: int = 1,
    ) -> None:
        self.lane = lane
        self.number = number
        self.last = number + count - 1
        self.rows = rows
        self.submitted = submitted
        self.deadline = deadline
        self.tell = tell
        self._future = future
        self.given_up = False
        self.released = False
        self.begun = 0
        self.ended = 0

    @property
    def future(self) -> asyncio.Future[None]:
        assert self._future is not None
        return self._future

    def end(self, error: ServingError | None = None) -> None:
        """Tell whoever waits, if anybody does still."""
        tell = self.tell
        if tell is not None:
            self.tell = None
            tell(error)
        elif self._future is not None and not self._future.done():
            if error is None:
                self._future.set_result(None)
            else:
                self._future.set_exception(error)

    def done(self) -> None:
        """The answer has been read, or nobody waits for it any more: its slot may be used again."""
        if self.last < self.lane.collected:
            self.lane.release(self)
        else:
            self.given_up = True
            self.tell = None
            if self._future is not None:
                self._future.cancel()  # nobody is to be told any more, also not one who only looks on
            for number in range(self.number, self.last + 1):
                self.lane.producer.abandon(number)


class OpenLane:
    """All on the event loop. `outstanding_rows` is the measure of how busy the worker behind it is."""

    __slots__ = (
        "_begun",
        "_create_future",
        "_end",
        "_ended",
        "_unreleased",
        "_waiting",
        "avoided",
        "collected",
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
        self.avoided = False  # while another worker's lane can take the request
        self.collected = 0  # requests whose completion was told to those who wait
        # Kept: in Python 3.11 every look for the running loop is a system call (getpid).
        self._create_future: Callable[[], asyncio.Future[None]] = asyncio.get_running_loop().create_future
        self._end = self._begun = self._ended = 0  # of the batch that the request was in that was looked at last
        self._waiting: deque[Pending] = deque()  # submitted, not collected
        self._unreleased: deque[Pending] = deque()

    def submit_rows(
        self, columns: Sequence[Array], rows: int, now: int, deadline: int, tell: Tell | None = None
    ) -> Pending | None:
        """None when the lane is full."""
        number = self.producer.submit_rows(self.producer.submitted, rows, columns, now, deadline)
        return None if number == FULL else self._pend(number, rows, now, deadline, tell)

    def submit_each(
        self, columns: Sequence[Array], rows_each: int, now: int, deadline: int, tell: Tell
    ) -> tuple[Pending, int] | None:
        """The rows as requests of so many rows each: as many of them as there is room for, from the front, and how many
        that is. They are told of together, when the last of them is completed. None when the lane is full.
        """
        number = self.producer.submitted
        count = self.producer.submit_each(number, columns, now, deadline, rows_each)
        return (self._pend(number, count * rows_each, now, deadline, tell, count), count) if count else None

    def submit_packed(
        self, tensors: Sequence[PackedTensor], rows: int, now: int, deadline: int, tell: Tell | None = None
    ) -> Pending | None:
        """None when the lane is full."""
        number = self.producer.submit_packed(self.producer.submitted, rows, tensors, now, deadline)
        return None if number == FULL else self._pend(number, rows, now, deadline, tell)

    def _pend(self, number: int, rows: int, now: int, deadline: int, tell: Tell | None, count: int = 1) -> Pending:
        rows = max(rows, 1)  # a request without rows keeps the worker busy too
        future = None if tell is not None else self._create_future()
        pending = Pending(self, number, rows, now, deadline, tell, future, count)
        self._waiting.append(pending)
        self._unreleased.append(pending)
        self.outstanding_rows += rows
        return pending

    def collect(self) -> int:
        """Tell those whose requests are completed; returns how many. They may submit others meanwhile."""
        completed = self.producer.completed
        before = self.collected
        waiting = self._waiting
        while waiting and waiting[0].last < completed:
            pending = waiting.popleft()
            if pending.number >= self._end:
                self._next_batch(pending.number, completed)
            pending.begun = self._begun
            while pending.last >= self._end:
                self._next_batch(self._end, completed)
            pending.ended = self._ended
            self.collected = pending.last + 1
            self.outstanding_rows -= pending.rows
            if pending.given_up:
                self.release(pending)
            else:
                pending.end()
        return self.collected - before

    def _next_batch(self, number: int, completed: int) -> None:
        """That of request `number`, the first of it."""
        end, self._begun, self._ended, _ = self.producer.batch(number)
        # The worker's word is not trusted.
        self._end = end if number < end <= completed else number + 1

    def expire(self, now: int) -> None:
        """Tell those whose deadline has passed."""
        expired = [p for p in self._waiting if 0 < p.deadline <= now and not p.given_up]
        for pending in expired:
            pending.end(ServingError(Code.DEADLINE_EXCEEDED, TIMED_OUT))

    def release(self, pending: Pending) -> None:
        """Give back the slot, and with it those after it that were read earlier."""
        pending.released = True
        unreleased = self._unreleased
        until = -1
        while unreleased and unreleased[0].released:
            until = unreleased.popleft().last
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
    def occupancy(self) -> float:
        """The share of its slots that are not free, 0 to 1."""
        return self.producer.outstanding / self.producer.lane.spec.slots

    @property
    def idle(self) -> bool:
        """Every slot is free."""
        return not self._unreleased

"""A request that a queue knows by itself, where requests are not taken in the order in which they came."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from ringserve.errors import ServingError
from shm.consumer import Ticket
from shm.layout import ABANDONED
from shm.packed import PackedTensor
from workers.queued_lane import QueuedLane


@dataclass(slots=True, eq=False)
class Waiting:
    """From the look that finds it in its lane to its answer. Times are ns of CLOCK_MONOTONIC."""

    lane: QueuedLane
    number: int
    key: Hashable  # requests of one key may share a batch; None: it shares none
    rows: int
    low: bool
    enqueued: int
    deadline: int  # 0: none
    row: int = -1  # of the lane's columns that it begins at; -1: it is packed
    tensors: Sequence[PackedTensor] | None = None  # its inputs, when they have been read
    nbytes: int = 0  # of those
    # What has become of it:
    taken: int = 0  # rows that are in batches
    parts: int = 0  # batches that have some of them and have not ended
    ticket: Ticket | None = None
    answers: dict[int, Sequence[PackedTensor]] = field(default_factory=dict)  # of its parts, by their first row
    error: ServingError | None = None
    is_cut: bool = False  # it runs in parts

    def refuse(self, error: ServingError) -> None:
        """It ends in this error; a copy, since with the one that was raised its frames would stay, and in them the lane."""
        self.error = ServingError(error.code, error.message)

    @property
    def is_gone(self) -> bool:
        """Does nobody wait for it any more? The front end may say so at any time."""
        return bool(self.lane.consumer.flags(self.number) & ABANDONED)


@dataclass(slots=True, frozen=True)
class Slice:
    """Some rows of a request, or all of them, in a batch."""

    request: Waiting
    first: int
    rows: int

    @property
    def is_whole(self) -> bool:
        return self.rows == self.request.rows

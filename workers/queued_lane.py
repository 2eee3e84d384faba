"""A lane in a worker's queue, and the parts of batches that come from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shm.bell import Bell
from shm.consumer import BrokenLaneError, LaneConsumer, Ticket
from shm.doorbell import Doorbell
from shm.packed import Buffer, PackedTensor
from workers.planner import Piece


@dataclass(slots=True, eq=False)
class QueuedLane:
    """A lane in a queue, and what the queue needs of it on every turn."""

    is_local: ClassVar[bool] = False  # a client's own: see workers.local_lane

    number: int
    consumer: LaneConsumer
    doorbell: Doorbell | Bell  # of the front end, or of the client
    sources: list[int]  # address of row 0 of each input column
    targets: list[int]
    rows: int  # that the columns hold
    suspects: int
    stuck: bool = False  # its front end has stopped reading answers
    dropped: bool = False

    @classmethod
    def make(cls, number: int, consumer: LaneConsumer, doorbell: Doorbell) -> QueuedLane:
        lane = consumer.lane
        addresses = [column.__array_interface__["data"][0] for column in lane.inputs + lane.outputs]
        count = len(lane.inputs)
        return cls(number, consumer, doorbell, addresses[:count], addresses[count:], lane.spec.rows, consumer.suspects)

    def check(self, piece: Piece) -> None:
        """Raises BrokenLaneError for rows outside the columns: the front end's words are not trusted."""
        if fault := self.fault(piece):
            self.consumer.broken = True
            raise BrokenLaneError(fault)

    def fault(self, piece: Piece) -> str:
        """What is wrong with these rows; "": nothing."""
        if 0 < piece.rows <= self.rows - piece.row:
            return ""
        return f"request of rows [{piece.row}, {piece.row + piece.rows})"

    def rows_of(self, number: int) -> list[Buffer]:
        """The bytes of a request's rows, for each input column."""
        position, _, rows, _, _ = self.consumer.describe(number)
        return [column[position : position + rows].reshape(-1).view(np.uint8).data for column in self.consumer.lane.inputs]

    def request(self, number: int) -> list[PackedTensor]:
        """A packed request's tensors. Raises ValueError, or ServingError, for what can't be one."""
        return self.consumer.request(number)

    def finish(self, ticket: Ticket, begun: int, ended: int, rows: int, early: bool = False) -> bool:
        """The ticket's answers are written; says whether the front end is to be rung. In the loop's thread.

        `early`: of one request, whose answer need not wait for those of older ones.
        """
        return self.consumer.finish(ticket, begun, ended, rows, early=early) and not self.dropped

    def drop(self) -> None:
        """The front end is done with the lane. A batch that still runs keeps its memory until it ends."""
        if self.dropped:
            return
        self.dropped = True
        self.consumer.lane.close()
        self.doorbell.close()


@dataclass(slots=True)
class Part:
    """Requests of one lane in a batch."""

    lane: QueuedLane
    ticket: Ticket
    piece: Piece

"""A local client's lane in a worker's queue: nothing that the client wrote is run where the client may still change it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from ringserve.errors import Code, ServingError
from ringserve.predict_checks import check_dtypes
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME, STRING, dtype_of
from shm.bell import Bell
from shm.consumer import Ticket
from shm.packed import Buffer, PackedTensor, string_table
from workers.local_consumer import LocalConsumer
from workers.local_meter import LocalMeter
from workers.planner import Piece
from workers.private_memory import PrivateRows
from workers.queued_lane import QueuedLane

# Room for rows of so few bytes, and so few, is kept for the next batch.
_SPARE_BYTES: Final = 1 << 16
_SPARE_ROWS: Final = 1 << 10
_HEAVY_BYTES: Final = 1 << 20  # more are not copied while other queues wait for their turn
_BOOL: Final = BY_NAME["bool"]
_MOST_COUNTED: Final = 1 << 16  # rows of a packed request: a tensor without elements may have any number of them


def _nothing(_: LocalLane) -> None:
    """What is told of a lane that goes while nobody waits for its bell."""


@dataclass(slots=True, eq=False)
class LocalLane(QueuedLane):
    """`rows_of`, `request` and `take_rows` give copies; whatever can't be ends the lane, or the request."""

    is_local: ClassVar[bool] = True

    consumer: LocalConsumer
    doorbell: Bell
    signature: Signature = field(kw_only=True)
    most_rows: int = field(kw_only=True)  # of one request in columns
    meter: LocalMeter | None = field(kw_only=True)
    left: Callable[[LocalLane], None] = field(kw_only=True, default=_nothing)  # what is called when it is dropped
    row_bytes: Sequence[int] = field(init=False)  # of each input column
    bytes_a_row: int = field(init=False)
    bools: Sequence[int] = field(init=False)  # input columns of that type
    _spare: list[PrivateRows] = field(init=False, default_factory=list)
    _spare_rows: int = field(init=False)  # that each of those has room for

    def __post_init__(self) -> None:
        self.row_bytes = [column.row_bytes for column in self.consumer.lane.spec.inputs]
        self.bytes_a_row = sum(self.row_bytes)
        self.bools = [index for index, column in enumerate(self.consumer.lane.spec.inputs) if column.dtype == _BOOL.numpy]
        self._spare_rows = min(_SPARE_BYTES // max(self.bytes_a_row, 1), _SPARE_ROWS)

    @classmethod
    def open(
        cls, number: int, consumer: LocalConsumer, bell: Bell, signature: Signature, most_rows: int, meter: LocalMeter | None
    ) -> LocalLane:
        lane = consumer.lane
        sources, targets = (
            [column.__array_interface__["data"][0] for column in columns] for columns in (lane.inputs, lane.outputs)
        )
        return cls(
            number, consumer, bell, sources, targets, lane.spec.rows, 0,
            signature=signature, most_rows=most_rows, meter=meter,
        )  # fmt: skip

    def fault(self, piece: Piece) -> str:
        if piece.requests == 1 and piece.rows > self.most_rows:
            return f"request of {piece.rows} rows, at most {self.most_rows}"
        return QueuedLane.fault(self, piece)

    def is_heavy(self, rows: int) -> bool:
        """Do so many rows of the columns take long to copy? A few words of the client's may ask for megabytes."""
        return rows * self.bytes_a_row > _HEAVY_BYTES

    def is_heavy_request(self, number: int) -> bool:
        """The same of a packed request."""
        return self.consumer.packed_bytes(number) > _HEAVY_BYTES

    def take_rows(self, row: int, rows: int) -> PrivateRows:
        """A copy of rows that `check` has seen; for `give_back` when they were run."""
        if rows > self._spare_rows:
            private = PrivateRows(self.row_bytes, rows)
        else:
            try:
                private = self._spare.pop()
            except IndexError:
                private = PrivateRows(self.row_bytes, self._spare_rows)
        self._fill(private, row, rows)
        return private

    def _fill(self, private: PrivateRows, row: int, rows: int) -> None:
        private.fill(self.sources, row, rows, self.row_bytes)
        if self.bools:
            private.make_bools(self.bools, self.row_bytes, rows)

    def give_back(self, private: PrivateRows) -> None:
        if private.rows == self._spare_rows:
            self._spare.append(private)

    def rows_of(self, number: int) -> list[Buffer]:
        position, _, rows, _, _ = self.consumer.describe(number)
        private = PrivateRows(self.row_bytes, rows)
        self._fill(private, position, rows)
        return [memory.data for memory in private.columns(self.row_bytes, rows)]

    def request(self, number: int) -> list[PackedTensor]:
        """Checked as a front end checks a request that comes over the network."""
        tensors = self.consumer.request(number, len(self.signature.inputs))
        check_dtypes([tensor.dtype for tensor in tensors], self.signature)
        room = self.consumer.lane.spec.request_bytes
        for tensor in tensors:
            _check(tensor, room)
        rows = tensors[0].shape[0] if tensors and tensors[0].shape else 1
        self.consumer.note_rows(number, min(rows, _MOST_COUNTED))
        return tensors

    def finish(self, ticket: Ticket, begun: int, ended: int, rows: int, early: bool = False) -> bool:
        """Clients of their own lanes read answers in the order of their requests."""
        moved = QueuedLane.finish(self, ticket, begun, ended, rows)
        consumer, meter = self.consumer, self.meter
        codes = consumer.codes(ticket)
        if meter is None:
            return moved
        since = consumer.since(ticket, ended)
        if codes is None and ticket.end - ticket.start == 1:
            meter.ok(consumer.enqueued(ticket.start), since, begun, ended, 1)
        else:
            meter.finished(consumer.enqueued_each(ticket), since, codes, begun, ended)
        return moved

    def drop(self) -> None:
        if not self.dropped:
            self.left(self)
        QueuedLane.drop(self)


def _check(tensor: PackedTensor, room: int) -> None:
    """Raises ServingError or ValueError for a tensor whose bytes are not those of its type and shape.

    `room`: what elements of the size of its dimensions other than 0 may take, since the answer may have their size.
    """
    dtype, shape, data = dtype_of(tensor.dtype), tensor.shape, tensor.data
    if dtype == STRING:
        size = 8
        string_table(data, math.prod(shape))
    elif dtype.numpy:
        size = np.dtype(dtype.numpy).itemsize
        if len(data) != math.prod(shape) * size:
            raise ValueError(f"{len(data)} bytes do not make a {dtype.name} tensor of the shape {list(shape)}")
        if dtype is _BOOL and int(np.frombuffer(data, np.uint8).max(initial=0)) > 1:
            raise ValueError("a byte of a bool tensor is neither 0 nor 1")
    else:
        raise ValueError(f"a {dtype.name} tensor can't be sent")
    if 0 in shape and math.prod(dim for dim in shape if dim) * size > room:
        text = f"The request has an empty tensor whose other dimensions, {list(shape)}, are larger than a lane"
        raise ServingError(Code.RESOURCE_EXHAUSTED, text)

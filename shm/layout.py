"""The layout of a lane in shared memory: the one place that knows an offset.

A segment is a header page, the descriptors, the batch records, the columns, and two byte rings::

    byte 0        8         16        24        32        40        48        56        64
         +---------+---------+---------+---------+---------+---------+---------+---------+
       0 |  magic  | version |  size   |  slots  |  rows   | req.ring| ans.ring| created |
         +---------+---------+---------+---------+---------+---------+---------+---------+
      64 | pid fe  | pid wrk | label n |
         +---------+---------+---------+
     128 | submitted   (front end: requests written)                                     |
     256 | taken       (worker: requests it has begun)                                   |
     384 | completed   (worker: requests answered)                                       |
     512 | released    (front end: answers read, slots free again)                       |
     640 | heartbeat of the front end, ns of CLOCK_MONOTONIC                             |
     768 | heartbeat of the worker                                                       |
     896 | early       (worker: requests answered while older ones were not yet)         |
         +-------------------------------------------------------------------------------+
    1024 | label: JSON, what this lane carries, for tools that map it read-only          |
         +-------------------------------------------------------------------------------+
    4096 | descriptors: `slots` x 64 bytes; request n lies in slot n mod slots           |
         +-------------------------------------------------------------------------------+
         | batch records: `slots` x 32 bytes, from a page start; that of the requests a  |
         | batch took of this lane, n the first of them, lies in slot n mod slots        |
         +-------------------------------------------------------------------------------+
         | one column per input, then one per output, each `rows` rows, from a page start|
         +-------------------------------------------------------------------------------+
         | request ring (bytes), packed tensors, written by the front end                |
         +-------------------------------------------------------------------------------+
         | answer ring (bytes), packed tensors and error texts, written by the worker    |
         +-------------------------------------------------------------------------------+

    descriptor, one cache line, one request
         0         8         16        24        32        40    44    48  50  52    56
         +---------+---------+---------+---------+---------+-----+-----+---+---+-----+---------+
         |   id    | enqueued| deadline| position| length  | rows|flags|sta|att|aflag| answer  |
         +---------+---------+---------+---------+---------+-----+-----+---+---+-----+---------+

    batch record, written by the worker before `completed` passes the requests it speaks of
         0           8           16          24          32
         +-----------+-----------+-----------+-----------+
         | end: 1 +  | begun, ns | ended, ns | rows of   |
         | last one  | monotonic | monotonic | the batch |
         +-----------+-----------+-----------+-----------+

Every cursor has a single writer, named above, and a cache line pair of its own (128 bytes, since processors fetch lines
in pairs). They only grow: submitted >= taken >= completed >= released, and submitted - released <= slots. A slot belongs
to the front end up to `submitted`, to the worker up to `completed`, and to the front end again until `released`; whoever
owns it writes it, apart from the flag ABANDONED, which the front end may set at any time and the worker only reads.

`completed` only ever stops where a batch's requests of this lane end, after a worker's crash as well. So whoever starts at
0 and goes from a record's end to the record that begins there meets all of them, and each request's times.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

MAGIC: Final = int.from_bytes(b"RINGLANE", "little")
VERSION: Final = 3
PAGE: Final = 4096
ALIGNMENT: Final = 64  # of tensors: TensorFlow uses memory in place from this alignment on

# Words of the header, as indices of 8-byte words.
WORD_MAGIC: Final = 0
WORD_VERSION: Final = 1
WORD_SIZE: Final = 2
WORD_SLOTS: Final = 3
WORD_ROWS: Final = 4
WORD_REQUEST_BYTES: Final = 5
WORD_ANSWER_BYTES: Final = 6
WORD_CREATED: Final = 7
WORD_FRONTEND_PID: Final = 8
WORD_WORKER_PID: Final = 9
WORD_LABEL_LENGTH: Final = 10
SUBMITTED: Final = 128 // 8
TAKEN: Final = 256 // 8
COMPLETED: Final = 384 // 8
RELEASED: Final = 512 // 8
FRONTEND_HEARTBEAT: Final = 640 // 8
WORKER_HEARTBEAT: Final = 768 // 8
EARLY_COUNT: Final = 896 // 8
LABEL: Final = 1024
HEADER_BYTES: Final = PAGE

DESCRIPTOR: Final = np.dtype(
    [
        ("id", "<u8"),
        ("enqueued", "<u8"),  # ns of CLOCK_MONOTONIC
        ("deadline", "<u8"),  # ns of CLOCK_MONOTONIC, 0: none
        ("position", "<u8"),  # first row, or first byte in the request ring
        ("length", "<u8"),  # bytes in the request ring, 0 for rows
        ("rows", "<u4"),
        ("flags", "<u4"),
        ("status", "<u2"),  # canonical code of the answer; the front end writes 0, the worker a fault
        ("attempts", "<u2"),  # how often a worker began to run this request alone, after a crash
        ("answer_flags", "<u4"),
        ("answer", "<u8"),  # first byte in the answer ring, with ANSWER_PACKED
    ]
)
#: The front end's part of a descriptor, and zeros where the worker will write.
DESCRIPTOR_STRUCT: Final = struct.Struct("<QQQQQIIQQ")
DESCRIPTOR_BYTES: Final = DESCRIPTOR.itemsize
DESCRIPTOR_WORDS: Final = DESCRIPTOR_BYTES // 8
assert DESCRIPTOR_STRUCT.size == DESCRIPTOR_BYTES == 64

#: End, begun, ended, rows.
BATCH_STRUCT: Final = struct.Struct("<QQQQ")
BATCH_BYTES: Final = BATCH_STRUCT.size

# A descriptor as 8-byte words.
ENQUEUED_WORD: Final = 1
DEADLINE_WORD: Final = 2
POSITION_WORD: Final = 3
LENGTH_WORD: Final = 4
ROWS_WORD: Final = 5  # the rows, and shifted behind them the flags
VERDICT_WORD: Final = 6  # status, attempts, answer_flags
ANSWER_WORD: Final = 7
ROWS_MASK: Final = 0xFFFFFFFF
FLAGS_SHIFT: Final = 32

PACKED: Final = 1  # flags: the request lies in the request ring
ABANDONED: Final = 2  # flags: nobody waits for the answer any more
LOW: Final = 4  # flags: of the lower priority, runs when no other request waits for its turn
ANSWER_PACKED: Final = 1  # answer_flags: the answer lies in the answer ring
EARLY: Final = 2  # answer_flags: answered, though `completed` has not come so far

_SOFT_BYTES: Final = 16 << 20
_HARD_BYTES: Final = 256 << 20
_MOST_ROWS: Final = 8192
_FEWEST_ROWS: Final = 16


def align(offset: int, to: int) -> int:
    return -(-offset // to) * to


@dataclass(frozen=True, slots=True)
class Column:
    """One tensor of a lane: `dtype` as numpy spells it ("<f4"), `shape` of one row."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        count = np.dtype(self.dtype).itemsize
        for dim in self.shape:
            count *= dim
        return count


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """The shape of a lane; both sides and the supervisor derive the same offsets from it."""

    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    rows: int = 0
    slots: int = 4096
    request_bytes: int = 1 << 30
    answer_bytes: int = 1 << 30

    @classmethod
    def for_columns(
        cls, inputs: tuple[Column, ...], outputs: tuple[Column, ...], slots: int = 4096, ring_bytes: int = 1 << 30
    ) -> LaneSpec:
        """A lane whose columns hold as many rows as is sensible for rows of this size."""
        row_bytes = sum(column.row_bytes for column in inputs + outputs)
        rows = min(_MOST_ROWS, max(_FEWEST_ROWS, _HARD_BYTES // max(row_bytes, 1))) if inputs else 0
        return cls(inputs, outputs, rows, slots, ring_bytes, ring_bytes)

    @classmethod
    def from_wire(cls, columns: Any, ring_bytes: int) -> LaneSpec:
        """As control messages tell it: `columns` has the inputs and the outputs, each column a list of its dtype's number,
        numpy type and row shape; None for a lane that carries packed requests only.
        """
        inputs, outputs = (tuple(Column(dtype, tuple(shape)) for _, dtype, shape in group) for group in columns or ((), ()))
        return cls.for_columns(inputs, outputs, ring_bytes=ring_bytes)

    @property
    def soft_rows(self) -> int:
        """Rows that are used first, so that a lane of large rows stays small while its requests are few."""
        row_bytes = sum(column.row_bytes for column in self.inputs + self.outputs)
        return max(1, min(self.rows, _SOFT_BYTES // max(row_bytes, 1)))

    @property
    def soft_bytes(self) -> int:
        return _SOFT_BYTES

    @property
    def descriptors_offset(self) -> int:
        return HEADER_BYTES

    @property
    def batches_offset(self) -> int:
        return align(self.descriptors_offset + self.slots * DESCRIPTOR_BYTES, PAGE)

    @property
    def column_offsets(self) -> tuple[int, ...]:
        """Of the inputs' columns, then of the outputs'; a page start each."""
        offset = align(self.batches_offset + self.slots * BATCH_BYTES, PAGE)
        offsets = []
        for column in self.inputs + self.outputs:
            offsets.append(offset)
            offset = align(offset + self.rows * column.row_bytes, PAGE)
        offsets.append(offset)
        return tuple(offsets)

    @property
    def requests_offset(self) -> int:
        return self.column_offsets[-1]

    @property
    def answers_offset(self) -> int:
        return align(self.requests_offset + self.request_bytes, PAGE)

    @property
    def size(self) -> int:
        return align(self.answers_offset + self.answer_bytes, PAGE)

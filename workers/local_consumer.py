"""The worker's side of a local client's lane, in which the client may write anything anywhere at any moment.

What the worker relies on is read once, into memory of its own, and looked at there: cursors, descriptors, packed requests.
Rows of the columns are copied by `workers.local_lane`. What the worker writes into the lane it never reads again.
"""

from __future__ import annotations

import struct
import time
from typing import Final

import numpy as np

from ringserve.errors import Code, ServingError
from shm import layout, packed
from shm.consumer import BrokenLaneError, LaneConsumer, Ticket
from shm.fence import ORDERED, fence
from shm.lane import Array, Lane
from shm.packed import PackedTensor
from workers.private_memory import aligned

_WORDS: Final = layout.DESCRIPTOR_WORDS
_SUBMITTED: Final = layout.SUBMITTED
_COUNT: Final = struct.Struct("<8xI")  # of a packed message's tensors: see shm/packed.py


class LocalConsumer(LaneConsumer):
    """Of a lane that is new, and that no other worker ever takes over."""

    def __init__(self, lane: Lane, most_request_bytes: int) -> None:
        """`most_request_bytes`: of one packed request."""
        self._given_back = 0
        super().__init__(lane, is_new=True)
        self.most_request_bytes = most_request_bytes
        self._shared: Array = lane.descriptors.view("<u8").reshape(-1, _WORDS)
        self._read: Array = np.zeros_like(self._shared)  # the descriptors as they were when they were looked at
        self._windows: Array = self._read.reshape(-1).view(layout.DESCRIPTOR)
        self._enqueued: Array = self._windows["enqueued"]
        self._asked = self._read.reshape(-1).data.cast("B").cast("Q")
        self._since = time.monotonic_ns()
        self._mark = (0, self._since)  # a number, and a time at which no request from that one on had come
        self._codes: dict[int, int] = {}

    def _released(self) -> int:
        """It only grows, whatever the client writes, and never passes what has an answer."""
        released = self._words[layout.RELEASED]
        if not ORDERED:
            fence()
        if self._given_back < released <= self.completed:
            self._given_back = released
        return self._given_back

    @property
    def waiting(self) -> int:
        """As of any lane; and whoever submits into slots that it has not given back breaks the lane as well, or the answers
        that are kept for it would be without end.
        """
        words = self._words
        submitted = words[_SUBMITTED]
        if not ORDERED:
            fence()
        count = submitted - self.taken
        if count < 0 or (submitted - self._given_back > self._slots and submitted - self._released() > self._slots):
            self.broken = True
            raise BrokenLaneError(f"submitted is {submitted}, completed {self.completed}, slots {self._slots}")
        return count

    def window(self, count: int, skip: int = 0) -> Array:
        slot = (self.taken + skip) % self._slots
        end = min(slot + count, self._slots)
        self._read[slot:end] = self._shared[slot:end]
        return self._windows[slot:end]

    def head(self) -> tuple[int, int, int, int, int]:
        base = self.taken % self._slots * _WORDS
        self._asked[base : base + _WORDS] = self._descriptor_words[base : base + _WORDS]
        return self.describe(self.taken)

    def packed_bytes(self, number: int) -> int:
        """What a packed request says of its length."""
        return self.describe(number)[1]

    def note_rows(self, number: int, rows: int) -> None:
        """A packed request has so many, whatever it says."""
        self._asked[number % self._slots * _WORDS + layout.ROWS_WORD] = rows & layout.ROWS_MASK

    def request(self, number: int, count: int = packed.MOST_TENSORS) -> list[PackedTensor]:
        """The packed tensors of a request as views of private memory.

        Raises ValueError when they lie outside the lane or one in another; ServingError when they are too large or not
        `count`.
        """
        position, length, *_ = self.describe(number)
        self.note_rows(number, 0)
        if position + length > self.lane.spec.request_bytes:
            raise ValueError("packed request lies outside its ring")
        if length > self.most_request_bytes:
            text = f"The request's tensors take {length} bytes, the server takes {self.most_request_bytes}: "
            raise ServingError(Code.RESOURCE_EXHAUSTED, text + "start it with a higher --max_request_bytes")
        private = aligned(length)
        private[:] = np.frombuffer(self.lane.requests[position : position + length], dtype=np.uint8)
        source = private.data
        if length >= _COUNT.size and (sent := _COUNT.unpack_from(source)[0]) != count:  # before so many are looked at
            raise ServingError(Code.INVALID_ARGUMENT, f"expected {count} input tensors, got {sent}")
        tensors = packed.read(source)
        if sum(len(tensor.data) for tensor in tensors) > length:
            raise ValueError("packed tensors lie in one another")
        return tensors

    def set_status(self, number: int, code: int) -> None:
        self._codes[number] = code
        super().set_status(number, code)

    def codes(self, ticket: Ticket) -> list[int] | None:
        """How a finished ticket's requests ended, once; None when all went well."""
        if not self._codes:
            return None
        codes = [self._codes.pop(number, 0) for number in range(ticket.start, ticket.end)]
        return codes if any(codes) else None

    def described(self, ticket: Ticket) -> Array:
        slot = ticket.start % self._slots
        return self._windows[slot : slot + ticket.end - ticket.start]

    def enqueued_each(self, ticket: Ticket) -> Array:
        """When a ticket's requests were submitted, as the client says: ns of CLOCK_MONOTONIC, or anything at all."""
        slot = ticket.start % self._slots
        return self._enqueued[slot : slot + ticket.end - ticket.start]

    def since(self, ticket: Ticket, now: int) -> int:
        """A time after which a ticket's requests were submitted, whatever the client says.

        Marks are set one after the other, each when all requests before the last have been taken: so the times that
        requests wait for can't come to more than those of a lane that is always full, twice over.
        """
        number, at = self._mark
        if ticket.start >= number:
            self._since = at
            self._mark = (min(self._words[layout.SUBMITTED], self.completed + self._slots), now)
        return self._since

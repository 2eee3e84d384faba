"""The worker's side of a lane: takes requests, writes answers, says how far it has got."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from shm import layout, packed
from shm.fence import ORDERED, fence
from shm.lane import Array, Lane
from shm.packed import PackedTensor
from shm.ring import Ring

_WORDS = layout.DESCRIPTOR_WORDS
_RECORD = layout.BATCH_STRUCT.pack_into
_RECORD_BYTES = layout.BATCH_BYTES


class BrokenLaneError(Exception):
    """The other side wrote a cursor or an offset that can't be: the lane must not be used any more."""


@dataclass(slots=True)
class Ticket:
    """Requests [start, end) of a lane that a batch has taken."""

    start: int
    end: int
    done: bool = False


class LaneConsumer:
    """Single writer of `taken` and `completed`. Attaching where another worker stopped is the normal way to begin.

    Requests in [completed, taken) at that moment were being run when the worker before died: `suspects`.
    """

    def __init__(self, lane: Lane, *, is_new: bool = False) -> None:
        """`is_new`: nothing was ever taken from the lane, whatever its words say."""
        spec = lane.spec
        self.lane = lane
        self._slots = spec.slots
        self._words = lane.words
        self._descriptor_words = lane.descriptor_words
        self._asked = lane.descriptor_words  # where the front end's part of a descriptor is read
        self._batches = lane.batches
        self.completed = 0 if is_new else self._words[layout.COMPLETED]
        self.suspects = 0 if is_new else self._words[layout.TAKEN] - self.completed
        self.taken = self.completed
        self._most_taken = self.completed + self.suspects  # the cursor stays there until they are taken again
        self._in_flight: deque[Ticket] = deque()
        self._answers = Ring(spec.answer_bytes, spec.soft_bytes)
        self._answers_held: deque[tuple[int, int]] = deque()  # (number, end of its bytes), oldest first
        self._answering = threading.Lock()  # answers may come from several threads; cursors move in one
        #: Set when the front end's words can't be right; nothing more is taken from the lane then.
        self.broken = False
        self._recover_answers()
        self._forget_unfinished()
        lane.claim(layout.WORD_WORKER_PID)

    def _recover_answers(self) -> None:
        """Answers that a worker before wrote and the front end has not read yet keep their room.

        The front end goes on meanwhile. A slot that it gives back and writes anew while it is read here may yield nonsense,
        which does no harm: its number is released by then, so it is dropped before the next look for room.
        """
        for number in range(max(self._released(), self.completed - self._slots), self.completed):
            base = number % self._slots * _WORDS
            if self._descriptor_words[base + layout.VERDICT_WORD] >> layout.FLAGS_SHIFT & layout.ANSWER_PACKED:
                start = self._descriptor_words[base + layout.ANSWER_WORD]
                end = start + packed.message_length(self.lane.answers[start : start + layout.ALIGNMENT])
                self._answers.take(start, end)
                self._answers_held.append((number, end))

    def _forget_unfinished(self) -> None:
        """What a worker before wrote for requests it did not complete is no answer; their count of tries stays."""
        for number in range(self.completed, self.completed + self.suspects):
            self._descriptor_words[number % self._slots * _WORDS + layout.VERDICT_WORD] &= 0xFFFF0000

    def _released(self) -> int:
        released = self._words[layout.RELEASED]
        if not ORDERED:
            fence()
        return released

    @property
    def waiting(self) -> int:
        """Requests submitted and not taken. Raises BrokenLaneError when the cursors can't be right."""
        submitted = self._words[layout.SUBMITTED]
        if not ORDERED:
            fence()
        count = submitted - self.taken
        if count < 0 or submitted - self.completed > self._slots:
            self.broken = True
            raise BrokenLaneError(f"submitted is {submitted}, completed {self.completed}, slots {self._slots}")
        return count

    @property
    def submitted(self) -> int:
        return self._words[layout.SUBMITTED]

    @property
    def idle(self) -> bool:
        """No batch of this lane is running."""
        return not self._in_flight

    def window(self, count: int) -> Array:
        """Descriptors of up to `count` waiting requests, as far as they lie in one piece."""
        slot = self.taken % self._slots
        return self.lane.descriptors[slot : slot + min(count, self._slots - slot)]

    def head(self) -> tuple[int, int, int, int, int]:
        """Of the oldest waiting request: position, length, rows, flags, deadline; without numpy, for speed."""
        return self.describe(self.taken)

    def describe(self, number: int) -> tuple[int, int, int, int, int]:
        """Of a request: position, length, rows, flags, deadline."""
        base = number % self._slots * _WORDS
        words = self._asked
        rows_and_flags = words[base + layout.ROWS_WORD]
        return (
            words[base + layout.POSITION_WORD],
            words[base + layout.LENGTH_WORD],
            rows_and_flags & layout.ROWS_MASK,
            rows_and_flags >> layout.FLAGS_SHIFT,
            words[base + layout.DEADLINE_WORD],
        )

    def take(self, count: int) -> Ticket:
        """Begin the next `count` waiting requests; `finish` the ticket when they are answered."""
        start = self.taken
        self.taken = end = start + count
        if end > self._most_taken:
            self._words[layout.TAKEN] = self._most_taken = end
        ticket = Ticket(start, end)
        self._in_flight.append(ticket)
        return ticket

    def finish(self, ticket: Ticket, begun: int = 0, ended: int = 0, rows: int = 0) -> bool:
        """The ticket's answers are written. Moves `completed` over all that is answered; says whether it moved.

        For the lane's record of the batch: when its run began and ended, in ns of CLOCK_MONOTONIC, and how many rows it
        had, those of other lanes included. Requests that were not run have 0 rows, and one time for both.
        """
        _RECORD(self._batches, ticket.start % self._slots * _RECORD_BYTES, ticket.end, begun, ended, rows)
        ticket.done = True
        in_flight = self._in_flight
        completed = self.completed
        while in_flight and in_flight[0].done:
            completed = in_flight.popleft().end
        if completed == self.completed:
            return False
        self.completed = completed
        if not ORDERED:
            fence()
        self._words[layout.COMPLETED] = completed
        return True

    def request(self, number: int) -> list[PackedTensor]:
        """The packed tensors of a request, as views of the lane. Raises ValueError when they lie outside it."""
        position, length, *_ = self.describe(number)
        if position + length > self.lane.spec.request_bytes:
            raise ValueError("packed request lies outside its ring")
        return packed.read(self.lane.requests[position : position + length])

    def begin_alone(self, number: int) -> int:
        """Count one more try to run this suspect alone; returns the tries before."""
        descriptor = self.lane.descriptors[number % self._slots]
        attempts = int(descriptor["attempts"])
        descriptor["attempts"] = attempts + 1
        return attempts

    def answer(self, number: int, tensors: Sequence[PackedTensor]) -> bool:
        """Write a packed answer; False when the ring has no room until the front end reads older answers.

        Raises ValueError when it would not even fit into an empty ring.
        """
        length = packed.size(tensors)
        if length > self._answers.capacity:
            raise ValueError(f"answer of {length} bytes is larger than the lane's {self._answers.capacity}")
        with self._answering:
            self._reclaim()
            start = self._answers.find(length)
            if start < 0:
                return False
            end = start + length
            self._answers.take(start, end)
            self._answers_held.append((number, end))
        packed.write(self.lane.answers[start:end], tensors)
        base = number % self._slots * _WORDS
        self._descriptor_words[base + layout.ANSWER_WORD] = start
        self._descriptor_words[base + layout.VERDICT_WORD] |= layout.ANSWER_PACKED << layout.FLAGS_SHIFT
        return True

    def set_status(self, number: int, code: int) -> None:
        """The request's answer is an error: canonical code, 1 to 16. Its text goes with `answer`."""
        word = number % self._slots * _WORDS + layout.VERDICT_WORD
        self._descriptor_words[word] = self._descriptor_words[word] & ~0xFFFF | code & 0xFFFF

    def _reclaim(self) -> None:
        released = self._released()
        held = self._answers_held
        while held and held[0][0] < released:
            self._answers.free(held.popleft()[1])

    def beat(self, now: int) -> None:
        """This worker is alive; once a second or so. Memory that only large answers needed goes back with it."""
        self._words[layout.WORKER_HEARTBEAT] = now
        with self._answering:
            self._reclaim()
            if (used := self._answers.trimmed()) is not None:
                offset = self.lane.spec.answers_offset
                self.lane.segment.give_back(offset + used[0], offset + used[1])

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
        self._in_flight = 0  # tickets
        self._done: dict[int, int] = {}  # of those that are finished while `completed` has not come so far: start, end
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
        for number in range(max(self._released(), self.completed - self._slots), self.completed + self.suspects):
            if number >= self.completed and not self._is_early(number):
                continue
            base = number % self._slots * _WORDS
            if self._verdict(number) >> layout.FLAGS_SHIFT & layout.ANSWER_PACKED:
                start = self._descriptor_words[base + layout.ANSWER_WORD]
                end = start + packed.message_length(self.lane.answers[start : start + layout.ALIGNMENT])
                self._answers.take(start, end)
                self._answers_held.append((number, end))

    def _forget_unfinished(self) -> None:
        """What a worker before wrote for requests it did not answer is no answer; their count of tries stays."""
        for number in range(self.completed, self.completed + self.suspects):
            if not self._is_early(number):
                self._descriptor_words[number % self._slots * _WORDS + layout.VERDICT_WORD] &= 0xFFFF0000

    def _is_early(self, number: int) -> bool:
        """Is a request answered that `completed` has not come to?"""
        return bool(self._verdict(number) >> layout.FLAGS_SHIFT & layout.EARLY)

    def _verdict(self, number: int) -> int:
        return self._descriptor_words[number % self._slots * _WORDS + layout.VERDICT_WORD]

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

    def window(self, count: int, skip: int = 0) -> Array:
        """Descriptors of up to `count` waiting requests, after `skip` of them, as far as they lie in one piece."""
        slot = (self.taken + skip) % self._slots
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

    def flags(self, number: int) -> int:
        """Of a request, as they are now: the front end may set ABANDONED at any time."""
        return self._descriptor_words[number % self._slots * _WORDS + layout.ROWS_WORD] >> layout.FLAGS_SHIFT

    def enqueued(self, number: int) -> int:
        """When a request was submitted, ns of CLOCK_MONOTONIC by the front end's word."""
        return self._asked[number % self._slots * _WORDS + layout.ENQUEUED_WORD]

    def described(self, ticket: Ticket) -> Array:
        """The descriptors of a ticket's requests, which are not finished."""
        slot = ticket.start % self._slots
        return self.lane.descriptors[slot : slot + ticket.end - ticket.start]

    def take(self, count: int) -> Ticket:
        """Begin the next `count` waiting requests; `finish` the ticket when they are answered."""
        start = self.taken
        self.taken = end = start + count
        if end > self._most_taken:
            self._words[layout.TAKEN] = self._most_taken = end
        self._in_flight += 1
        return Ticket(start, end)

    def look_past(self, count: int) -> None:
        """The next `count` waiting requests are known to whoever calls this, who will `begin` each of them in some order."""
        self.taken += count

    def begin(self, number: int) -> Ticket:
        """Begin one of the requests that were looked past; `finish` the ticket when it is answered."""
        if number >= self._most_taken:
            self._words[layout.TAKEN] = self._most_taken = number + 1
        self._in_flight += 1
        return Ticket(number, number + 1)

    def finish(self, ticket: Ticket, begun: int = 0, ended: int = 0, rows: int = 0, *, early: bool = False) -> bool:
        """The ticket's answers are written. Moves `completed` over all that is answered; says whether the other side has
        something new to read.

        For the lane's record of the batch: when its run began and ended, in ns of CLOCK_MONOTONIC, and how many rows it
        had, those of other lanes included. Requests that were not run have 0 rows, and one time for both. `early`: a ticket
        of one request, which may be read before older ones are answered.
        """
        start, end = ticket.start, ticket.end
        _RECORD(self._batches, start % self._slots * _RECORD_BYTES, end, begun, ended, rows)
        self._in_flight -= 1
        if start == self.completed:
            self._complete(end)
            return True
        self._done[start] = end
        if early:
            self._tell_early(start)
        return early

    def _complete(self, completed: int) -> None:
        """All before `completed` is answered, and what was finished behind it."""
        done = self._done
        while done and (end := done.pop(completed, 0)):
            completed = end
        self.completed = completed
        if not ORDERED:
            fence()
        self._words[layout.COMPLETED] = completed

    def _tell_early(self, number: int) -> None:
        if not ORDERED:
            fence()
        self._descriptor_words[number % self._slots * _WORDS + layout.VERDICT_WORD] |= layout.EARLY << layout.FLAGS_SHIFT
        if not ORDERED:
            fence()
        self._words[layout.EARLY_COUNT] += 1

    def request(self, number: int) -> list[PackedTensor]:
        """The packed tensors of a request, as views of the lane. Raises ValueError when they lie outside it."""
        position, length, *_ = self.describe(number)
        if position + length > self.lane.spec.request_bytes:
            raise ValueError("packed request lies outside its ring")
        return packed.read(self.lane.requests[position : position + length])

    def skip_answered(self, most: int) -> int:
        """Complete suspects, the next requests, that the worker before answered early; returns how many, up to `most`."""
        skipped = 0
        while skipped < most and self._is_early(self.taken):
            self.taken += 1
            self._complete(self.taken)
            skipped += 1
        return skipped

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

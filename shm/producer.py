"""The front end's side of a lane: writes requests, reads answers, gives slots back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from shm import layout, packed
from shm.fence import ORDERED, fence
from shm.lane import Array, Lane
from shm.packed import PackedTensor
from shm.reservation import Reservation
from shm.ring import Ring

_PUT = layout.DESCRIPTOR_STRUCT.pack_into
_BYTES = layout.DESCRIPTOR_BYTES
_WORDS = layout.DESCRIPTOR_WORDS

# Of every request, hence names of this module: those of another one cost a look-up more each.
_SUBMITTED = layout.SUBMITTED
_POSITION = layout.POSITION_WORD
_ROWS = layout.ROWS_WORD
_ROWS_MASK = layout.ROWS_MASK
_VERDICT = layout.VERDICT_WORD
_RECORD = layout.BATCH_STRUCT.unpack_from
_RECORD_BYTES = layout.BATCH_BYTES
_ELSEWHERE = layout.ANSWER_PACKED << layout.FLAGS_SHIFT | 0xFFFF  # in the verdict's word: packed, or a code

_EARLY = np.uint64(layout.EARLY << layout.FLAGS_SHIFT)
_ELSEWHERE_MASK = np.uint64(_ELSEWHERE)
_COUNT: Array = np.arange(1 << 16, dtype="<u8")

_TRIM_NS = 1_000_000_000

_NEVER = 1 << 64  # more than any request's number

FULL = -1


class LaneProducer:
    """Single writer of `submitted` and `released`. Requests are numbered from 0 in the order they were submitted.

    A `submit…` call writes the rows, then the descriptor, then moves `submitted`: the worker may take the request at once.
    Ring the worker's doorbell once for all requests of a loop turn. Nothing blocks: a full lane answers FULL.
    """

    def __init__(self, lane: Lane) -> None:
        spec = lane.spec
        self.lane = lane
        self.submitted = 0
        self.released = 0
        self._slots = spec.slots
        self._words = lane.words
        self._inputs = lane.inputs
        self._outputs = lane.outputs
        self._descriptor_words = lane.descriptor_words
        self._verdicts = np.frombuffer(lane.descriptor_words, "<u8").reshape(-1, _WORDS)[:, _VERDICT]
        self._batches = lane.batches
        self._rows = Ring(max(spec.rows, 1), spec.soft_rows)
        self._bytes = Ring(spec.request_bytes, spec.soft_bytes)
        # What is held of the rings, in the order in which it was taken, since they want it back in that order: (number after
        # the last request that holds it, end of rows, end of bytes); -1 where there are none. A call of `submit_each` makes
        # one entry. A reservation's is a list: which request is its last one is known late.
        self._held: deque[tuple[int, int, int] | list[int]] = deque()
        self._trimmed = 0  # when, in ns of CLOCK_MONOTONIC
        lane.claim(layout.WORD_FRONTEND_PID)

    @property
    def outstanding(self) -> int:
        """Requests whose slots are not free again."""
        return self.submitted - self.released

    @property
    def completed(self) -> int:
        """Requests answered so far; the answers of [released, completed) may be read."""
        done = self._words[layout.COMPLETED]
        if not ORDERED:
            fence()
        return done

    @property
    def early(self) -> int:
        """Requests answered so far while older ones were not: as long as it stays the same there are no new ones."""
        count = self._words[layout.EARLY_COUNT]
        if not ORDERED:
            fence()
        return count

    def early_numbers(self, completed: int) -> set[int]:
        """Requests from `completed` on whose answers may be read, though older ones are not completed."""
        numbers = np.arange(completed, self.submitted, dtype=np.int64)
        flags = self._verdicts[numbers % self._slots] & _EARLY
        return set(numbers[flags != 0].tolist())

    @property
    def taken(self) -> int:
        """One more than the number of the last request that the worker has begun."""
        return self._words[layout.TAKEN]

    def submit_rows(
        self, request_id: int, rows: int, columns: Sequence[Array], now: int, deadline: int = 0, flags: int = 0
    ) -> int:
        """Submit one request of `rows` >= 1 rows, one array of shape (rows, *column.shape) a column.

        Returns the request's number, or FULL. Times are ns of CLOCK_MONOTONIC, deadline 0: none. `flags`: 0 or layout.LOW.
        """
        number = self.submitted
        if number - self.released >= self._slots:
            return FULL
        row = self._rows.find(rows)
        if row < 0:
            return FULL
        end = row + rows
        index = 0
        for column in self._inputs:  # neither zip nor enumerate: they cost more than the small copy itself
            column[row:end] = columns[index]
            index += 1  # noqa: SIM113
        at = number % self._slots * _BYTES
        _PUT(self.lane.descriptor_bytes, at, request_id, now, deadline, row, 0, rows, flags, 0, 0)
        self._rows.take(row, end)
        self._held.append((number + 1, end, -1))
        self.submitted = number + 1
        if not ORDERED:
            fence()
        self._words[_SUBMITTED] = number + 1
        return number

    def submit_each(
        self, first_id: int, columns: Sequence[Array], now: int, deadline: int = 0, rows_each: int = 1, flags: int = 0
    ) -> int:
        """Submit the rows of `columns` as requests of `rows_each` rows each, ids counting up from `first_id`.

        Returns how many were taken, from the front; the lane's free slots and rows bound it, and where its slots start over.
        """
        number = self.submitted
        slot = number % self._slots
        free = min(self._slots - (number - self.released), self._slots - slot, len(columns[0]) // rows_each, len(_COUNT))
        row = self._rows.find(free * rows_each)
        if row < 0:
            free = min(free, self._rows.room // rows_each)
            row = self._rows.find(free * rows_each)
        if free <= 0:
            return 0
        rows = free * rows_each
        end = row + rows
        for column, array in zip(self.lane.inputs, columns, strict=True):
            column[row:end] = array[:rows]
        written = self.lane.descriptors[slot : slot + free]
        written[:] = 0
        counter = _COUNT[:free]
        written["id"] = counter + first_id
        written["enqueued"] = now
        written["deadline"] = deadline
        written["position"] = (counter if rows_each == 1 else counter * rows_each) + row
        written["rows"] = rows_each
        written["flags"] = flags
        self._rows.take(row, end)
        self._publish(number + free, end, -1)
        return free

    def submit_packed(
        self, request_id: int, rows: int, tensors: Sequence[PackedTensor], now: int, deadline: int = 0, flags: int = 0
    ) -> int:
        """Submit one request of any shape as packed tensors. Returns the request's number, or FULL."""
        number = self.submitted
        if number - self.released >= self._slots:
            return FULL
        length = packed.size(tensors)
        start = self._bytes.find(length)
        if start < 0:
            return FULL
        end = start + length
        packed.write(self.lane.requests[start:end], tensors)
        at = number % self._slots * _BYTES
        _PUT(self.lane.descriptor_bytes, at, request_id, now, deadline, start, length, rows, layout.PACKED | flags, 0, 0)
        self._bytes.take(start, end)
        self._publish(number + 1, -1, end)
        return number

    def reserve(self, rows: int) -> Reservation | None:
        """Rows of the columns to be written in place, until `give_back`; None when there is no room for them now.

        Rows and bytes that are taken after them stay taken until they are given back: where others submit too, they are not
        for long.
        """
        row = self._rows.find(rows)
        if row < 0:
            return None
        end = row + rows
        self._rows.take(row, end)
        inputs, outputs = ([column[row:end] for column in columns] for columns in (self._inputs, self._outputs))
        reservation = Reservation(row, rows, inputs, outputs, [_NEVER, end, -1])
        self._held.append(reservation.held)
        return reservation

    def submit_reserved(self, reservation: Reservation, request_id: int, now: int, deadline: int = 0) -> int:
        """Submit the rows as they stand, as one request. Returns the request's number, or FULL.

        Again when that is completed, as often as one likes; its output rows stay as they are until then. Raises ValueError
        before that, and when the rows were given back.
        """
        if reservation.held[0] != _NEVER:
            raise ValueError("the reserved rows were given back")
        if reservation.number >= self.completed:
            raise ValueError("the request that was made of the reserved rows is not completed")
        number = self.submitted
        if number - self.released >= self._slots:
            return FULL
        at = number % self._slots * _BYTES
        _PUT(self.lane.descriptor_bytes, at, request_id, now, deadline, reservation.row, 0, reservation.rows, 0, 0, 0)
        reservation.number = number
        self.submitted = number + 1
        if not ORDERED:
            fence()
        self._words[_SUBMITTED] = number + 1
        return number

    def give_back(self, reservation: Reservation) -> None:
        """The rows may be used again, once the last request that was made of them is released."""
        reservation.held[0] = reservation.number + 1
        self.release(self.released)

    def _publish(self, submitted: int, row_end: int, byte_end: int) -> None:
        self._held.append((submitted, row_end, byte_end))
        self.submitted = submitted
        if not ORDERED:
            fence()
        self._words[layout.SUBMITTED] = submitted

    def abandon(self, number: int) -> None:
        """Nobody waits for this answer any more: the worker need not run it if it has not begun."""
        if number >= self.released:  # otherwise the slot may be another request's by now
            self._descriptor_words[number % self._slots * _WORDS + layout.ROWS_WORD] |= (
                layout.ABANDONED << layout.FLAGS_SHIFT
            )

    def verdict(self, number: int) -> tuple[int, int]:
        """Of a completed request: its canonical code, and not 0 if its answer is packed."""
        word = self._descriptor_words[number % self._slots * _WORDS + layout.VERDICT_WORD]
        return word & 0xFFFF, word >> layout.FLAGS_SHIFT & layout.ANSWER_PACKED

    def answer_rows(self, number: int) -> list[Array] | None:
        """Views of a completed request's rows in the output columns, valid until its release.

        None when the answer is not there: it is an error, or packed, as `verdict` says.
        """
        base = number % self._slots * _WORDS
        words = self._descriptor_words
        if words[base + _VERDICT] & _ELSEWHERE:
            return None
        row = words[base + _POSITION]
        end = row + (words[base + _ROWS] & _ROWS_MASK)
        return [column[row:end] for column in self._outputs]

    def rows_from(self, number: int, rows: int) -> list[Array]:
        """Views of so many rows of the output columns from those of request `number` on, valid until its release."""
        row = self._descriptor_words[number % self._slots * _WORDS + _POSITION]
        return [column[row : row + rows] for column in self._outputs]

    def answers_elsewhere(self, number: int, count: int) -> list[int]:
        """Of completed requests whose slots do not start over, those whose answers are no rows: by how many they come after
        `number`.
        """
        slot = number % self._slots
        verdicts = self._verdicts[slot : slot + count] & _ELSEWHERE_MASK
        return np.flatnonzero(verdicts).tolist() if verdicts.any() else []

    def answer_packed(self, number: int) -> list[PackedTensor]:
        """Views of a completed request's packed answer, valid until its release. Raises ValueError if it is damaged."""
        start = self._descriptor_words[number % self._slots * _WORDS + layout.ANSWER_WORD]
        return packed.read(self.lane.answers[start:])

    def batch(self, number: int) -> tuple[int, int, int, int]:
        """Of completed requests that ran together, `number` the first of them: (end, begun, ended, rows).

        Requests [number, end) did, from `begun` to `ended`, in ns of CLOCK_MONOTONIC, in a batch of `rows` rows with those
        of other lanes. With 0 rows they were not run but settled at that moment. A batch's end is the next one's number;
        `completed` is always one. Valid until `number` is released.

        These are the worker's words as they stand: the caller cuts `end` down to (number, completed] and expects times that
        are before the submission or in the future.
        """
        record: tuple[int, int, int, int] = _RECORD(self._batches, number % self._slots * _RECORD_BYTES)
        return record

    def release(self, until: int) -> None:
        """Give back the slots, rows and bytes of all requests before number `until`, which are completed."""
        held = self._held
        while held and held[0][0] <= until:
            _, row_end, byte_end = held.popleft()
            if row_end >= 0:
                self._rows.free(row_end)
            if byte_end >= 0:
                self._bytes.free(byte_end)
        self.released = until
        if not ORDERED:
            fence()  # the answers were read before the worker may write over them
        self._words[layout.RELEASED] = until

    def _trim(self) -> None:
        """Memory that only large requests needed goes back to the system.

        Not with every release: to get 36 MB of pages again for the next request costs eight times what writing it does.
        """
        spec, segment = self.lane.spec, self.lane.segment
        if (bytes_used := self._bytes.trimmed()) is not None:
            segment.give_back(spec.requests_offset + bytes_used[0], spec.requests_offset + bytes_used[1])
        if (rows_used := self._rows.trimmed()) is not None:
            for column, offset in zip(spec.inputs + spec.outputs, spec.column_offsets, strict=False):
                segment.give_back(offset + rows_used[0] * column.row_bytes, offset + rows_used[1] * column.row_bytes)

    def beat(self, now: int) -> None:
        """This front end is alive. Memory out of use goes back with it, once a second at most."""
        self._words[layout.FRONTEND_HEARTBEAT] = now
        if now - self._trimmed >= _TRIM_NS:
            self._trimmed = now
            self._trim()

"""A lane's two sides in one process against a model made of plain lists, and the single rules one by one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shm import layout, packed
from shm.consumer import BrokenLaneError, LaneConsumer, Ticket
from shm.lane import Array, Lane
from shm.layout import ABANDONED, PACKED, Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer

INPUTS = (Column("<f4", (3,)), Column("<i8", ()))
OUTPUTS = (Column("<f8", ()), Column("<u2", (2,)))
SLOTS, ROWS, RING = 8, 16, 4096
SPEC = LaneSpec(INPUTS, OUTPUTS, ROWS, SLOTS, RING, RING)
PICK = st.integers(0, 63)  # which of those there are, modulo their number


def rows_for(seed: int, rows: int, columns: tuple[Column, ...] = INPUTS) -> list[Array]:
    """Rows that no other seed gives."""
    random = np.random.default_rng(seed)
    return [random.integers(1, 1 << 15, (rows, *column.shape)).astype(column.dtype) for column in columns]


def tensors_for(seed: int, nbytes: int) -> list[PackedTensor]:
    random = np.random.default_rng(seed)
    text = packed.pack_strings([b"%d" % seed, b""])
    return [PackedTensor(4, (nbytes,), random.bytes(nbytes)), PackedTensor(7, (2,), text)]


def plain(tensors: list[PackedTensor]) -> list[tuple[int, tuple[int, ...], bytes]]:
    return [(dtype, shape, bytes(data)) for dtype, shape, data in tensors]


def longest_gap(capacity: int, blocks: list[tuple[int, int]]) -> int:
    units = bytearray(capacity)
    for start, end in blocks:
        assert 0 <= start < end <= capacity
        assert not any(units[start:end]), "requests share no memory"
        units[start:end] = b"\1" * (end - start)
    return max(map(len, units.split(b"\1")))


@dataclass
class Answer:
    code: int
    rows: list[Array] | None
    tensors: list[PackedTensor] | None


@dataclass
class Request:
    """One submitted request, as the model remembers it."""

    id: int
    deadline: int
    block: tuple[int, int]  # units of the rows' or bytes' ring
    held_until: int  # number of the request that the block is given back with: the last one of its burst
    rows: list[Array] | None = None
    tensors: list[PackedTensor] | None = None
    abandoned: bool = False
    tries: int = 0
    answer: Answer | None = None


@dataclass
class Flight:
    """A ticket and the requests of it that have no answer yet."""

    ticket: Ticket
    unanswered: deque[int] = field(default_factory=deque)


class LaneMachine(RuleBasedStateMachine):
    """Every rule does one thing to the lane and to the model; the invariants compare them after each."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane.create(SPEC, {})
        self.requests: list[Request] = []
        self.flights: list[Flight] = []
        self.taken = self.completed = self.released = self.most_taken = 0
        self.ids = 0

    @initialize()
    def begin(self) -> None:
        self.producer = LaneProducer(self.lane)
        self.consumer = LaneConsumer(self.lane)

    def teardown(self) -> None:
        self.lane.close()

    # The front end.

    def free_slots(self) -> int:
        return SLOTS - (len(self.requests) - self.released)

    def gap(self, rows: bool) -> int:
        """Longest free stretch of rows or bytes."""
        held = [item for item in self.requests if item.held_until >= self.released and (item.rows is not None) == rows]
        return longest_gap(ROWS if rows else RING, [item.block for item in held])

    def remember(self, number: int, **contents: Any) -> None:
        assert number == len(self.requests)
        position, length, rows, *_ = self.consumer.describe(number)
        block = (position, position + (length or rows))
        self.requests.append(Request(block=block, **contents))

    @precondition(lambda self: self.free_slots() > 0)
    @rule(count=st.integers(1, 9), deadline=st.integers(0, 3))
    def submit_rows(self, count: int, deadline: int) -> None:
        self.ids += 1
        rows = rows_for(self.ids, count)
        possible = self.gap(rows=True) >= count
        number = self.producer.submit_rows(self.ids, count, rows, now=5, deadline=deadline)
        assert (number != FULL) == possible
        if possible:
            self.remember(number, id=self.ids, deadline=deadline, rows=rows, held_until=number)

    @precondition(lambda self: self.free_slots() > 0)
    @rule(count=st.integers(0, 12), deadline=st.integers(0, 3))
    def submit_each(self, count: int, deadline: int) -> None:
        rows = rows_for(self.ids + 1, count)
        first = len(self.requests)
        possible = min(count, self.free_slots(), SLOTS - first % SLOTS, self.gap(rows=True))
        taken = self.producer.submit_each(self.ids + 1, rows, now=5, deadline=deadline)
        assert taken == possible
        for index in range(taken):
            self.ids += 1
            row = [column[index : index + 1] for column in rows]
            self.remember(first + index, id=self.ids, deadline=deadline, rows=row, held_until=first + taken - 1)

    @precondition(lambda self: self.free_slots() > 0)
    @rule(nbytes=st.integers(0, 2000), deadline=st.integers(0, 3))
    def submit_packed(self, nbytes: int, deadline: int) -> None:
        self.ids += 1
        tensors = tensors_for(self.ids, nbytes)
        possible = self.gap(rows=False) >= packed.size(tensors)
        number = self.producer.submit_packed(self.ids, 2, tensors, now=5, deadline=deadline)
        assert (number != FULL) == possible
        if possible:
            self.remember(number, id=self.ids, deadline=deadline, tensors=tensors, held_until=number)

    @precondition(lambda self: self.free_slots() == 0)
    @rule()
    def submit_without_a_slot(self) -> None:
        assert self.producer.submit_rows(1, 1, rows_for(1, 1), 0) == FULL
        assert self.producer.submit_packed(1, 1, tensors_for(1, 1), 0) == FULL
        assert self.producer.submit_each(1, rows_for(1, 2), 0) == 0

    @precondition(lambda self: bool(self.requests))
    @rule(back=st.integers(1, 2 * SLOTS))
    def abandon(self, back: int) -> None:
        """Also requests that are long gone: their slots are others' by now."""
        number = max(0, len(self.requests) - back)
        self.producer.abandon(number)
        self.requests[number].abandoned = number >= self.released

    @precondition(lambda self: self.released < self.completed)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        self.release_until(self.released + 1 + pick % (self.completed - self.released))

    def release_until(self, until: int) -> None:
        self.producer.release(until)
        self.released = until

    # The worker.

    @precondition(lambda self: self.taken < len(self.requests))
    @rule(pick=PICK)
    def take(self, pick: int) -> None:
        waiting = len(self.requests) - self.taken
        assert self.consumer.waiting == waiting
        self.take_some(1 + pick % waiting)

    def take_some(self, count: int) -> None:
        window = self.consumer.window(count)
        for descriptor, request in zip(window, self.requests[self.taken :], strict=False):
            assert (descriptor["id"], descriptor["deadline"]) == (request.id, request.deadline)
            assert (descriptor["enqueued"], descriptor["position"]) == (5, request.block[0])
        assert self.consumer.head() == self.consumer.describe(self.taken)
        ticket = self.consumer.take(count)
        assert (ticket.start, ticket.end) == (self.taken, self.taken + count)
        self.taken += count
        self.most_taken = max(self.most_taken, self.taken)
        self.flights.append(Flight(ticket, deque(range(ticket.start, ticket.end))))

    @precondition(lambda self: bool(self.flights))
    @rule(pick=PICK, count=st.integers(1, SLOTS), in_columns=st.booleans(), nbytes=st.integers(0, 1500))
    def answer(self, pick: int, count: int, in_columns: bool, nbytes: int) -> None:
        flight = self.flights[pick % len(self.flights)]
        for _ in range(min(count, len(flight.unanswered))):
            number = flight.unanswered[0]
            if in_columns and self.requests[number].rows is not None:
                self.answer_in_columns(number)
            elif not self.answer_packed(number, nbytes):
                break
            flight.unanswered.popleft()

    def answer_in_columns(self, number: int) -> None:
        request = self.requests[number]
        start, end = request.block
        self.ids += 1
        rows = rows_for(self.ids, end - start, OUTPUTS)
        for column, values in zip(self.lane.outputs, rows, strict=True):
            column[start:end] = values
        request.answer = Answer(0, rows, None)

    def answer_packed(self, number: int, nbytes: int) -> bool:
        """Every third one is an error. There is no room only when there are others that nobody has read."""
        self.ids += 1
        tensors = tensors_for(self.ids, nbytes)
        if not self.consumer.answer(number, tensors):
            unread = [request.answer for request in self.requests[self.released :]]
            assert any(answer is not None and answer.tensors is not None for answer in unread)
            return False
        code = 0 if self.ids % 3 else 13
        if code:
            self.consumer.set_status(number, 3)  # the last word counts
            self.consumer.set_status(number, code)
        self.requests[number].answer = Answer(code, None, tensors)
        return True

    @precondition(lambda self: any(not flight.unanswered for flight in self.flights))
    @rule(pick=PICK)
    def finish(self, pick: int) -> None:
        """In any order: only what is answered without a hole counts as completed."""
        answered = [flight for flight in self.flights if not flight.unanswered]
        self.finish_one(answered[pick % len(answered)])

    def finish_one(self, flight: Flight) -> None:
        self.flights.remove(flight)
        completed = min((other.ticket.start for other in self.flights), default=self.taken)
        assert self.consumer.finish(flight.ticket) == (completed > self.completed)
        self.completed = completed

    @rule(nbytes=st.integers(0, 1500), unread=st.integers(0, 3))
    def serve(self, nbytes: int, unread: int) -> None:
        """All that goes without trouble, so that the lane turns round often; a few answers stay unread."""
        if self.taken < len(self.requests):
            self.take_some(len(self.requests) - self.taken)
        for flight in list(self.flights):
            while flight.unanswered and self.answer_packed(flight.unanswered[0], nbytes):
                flight.unanswered.popleft()
            if not flight.unanswered:
                self.finish_one(flight)
        self.release_until(max(self.released, self.completed - unread))

    @rule()
    def crash(self) -> None:
        """The worker dies in the middle of whatever it did; another one attaches."""
        lane = Lane.attach(os.dup(self.lane.segment.fd), SPEC)
        self.consumer = LaneConsumer(lane)
        assert self.consumer.suspects == self.most_taken - self.completed
        assert (self.consumer.taken, self.consumer.completed) == (self.completed, self.completed)
        assert self.consumer.idle
        self.flights.clear()
        self.taken = self.completed
        for request in self.requests[self.completed :]:
            request.answer = None
        lane.close()

    @precondition(lambda self: self.taken < self.most_taken)
    @rule()
    def begin_alone(self) -> None:
        request = self.requests[self.taken]
        assert self.consumer.begin_alone(self.taken) == request.tries
        request.tries += 1

    @rule(now=st.integers(1, 1000))
    def beat(self, now: int) -> None:
        self.producer.beat(now)
        self.consumer.beat(now)

    # What always holds.

    @invariant()
    def cursors(self) -> None:
        words = self.lane.words
        cursors = [words[word] for word in (layout.SUBMITTED, layout.TAKEN, layout.COMPLETED, layout.RELEASED)]
        assert cursors == [len(self.requests), self.most_taken, self.completed, self.released]
        assert cursors == sorted(cursors, reverse=True)
        assert self.producer.outstanding == cursors[0] - cursors[3] <= SLOTS
        assert self.producer.completed == self.completed
        assert self.consumer.submitted == cursors[0]
        assert self.consumer.waiting == cursors[0] - self.taken
        assert self.consumer.idle == (not self.flights)

    @invariant()
    def requests_stay_as_submitted(self) -> None:
        for number in range(self.released, len(self.requests)):
            request = self.requests[number]
            position, length, rows, flags, deadline = self.consumer.describe(number)
            assert (position, deadline) == (request.block[0], request.deadline)
            assert flags == (PACKED if request.tensors is not None else 0) | (ABANDONED if request.abandoned else 0)
            if request.tensors is not None:
                assert (rows, length) == (2, packed.size(request.tensors))
                assert plain(self.consumer.request(number)) == request.tensors
            elif request.rows is not None:
                assert (rows, length) == (len(request.rows[0]), 0)
                for column, values in zip(self.lane.inputs, request.rows, strict=True):
                    np.testing.assert_array_equal(column[position : position + rows], values)

    @invariant()
    def answers_stay_as_written(self) -> None:
        for number in range(self.released, self.completed):
            answer = self.requests[number].answer
            assert answer is not None
            assert self.producer.verdict(number) == (answer.code, answer.tensors is not None)
            if answer.tensors is not None:
                assert plain(self.producer.answer_packed(number)) == answer.tensors
            elif answer.rows is not None:
                for values, expected in zip(self.producer.answer_rows(number) or [], answer.rows, strict=True):
                    np.testing.assert_array_equal(values, expected)


LaneMachine.TestCase.settings = settings(
    deadline=None, max_examples=100, stateful_step_count=60, suppress_health_check=[HealthCheck.too_slow]
)
TestLane = LaneMachine.TestCase


def random_step(machine: LaneMachine, random: Random) -> None:
    """One step that is possible now, of the kind that a busy lane sees."""
    submits: list[Callable[[], None]] = [
        lambda: machine.submit_rows(random.randint(1, 9), random.randint(0, 3)),
        lambda: machine.submit_each(random.randint(0, 12), random.randint(0, 3)),
        lambda: machine.submit_packed(random.randint(0, 1500), random.randint(0, 3)),
    ]
    steps = submits if machine.free_slots() else [machine.submit_without_a_slot]
    pick = random.getrandbits(16)
    if machine.requests:
        steps.append(lambda: machine.abandon(random.randint(1, 2 * SLOTS)))
    if machine.taken < len(machine.requests):
        steps += [lambda: machine.take(pick)] * 2
    if machine.flights:
        count, nbytes = random.randint(1, SLOTS), random.randint(0, 1500)
        steps += [lambda: machine.answer(pick, count, random.random() < 0.7, nbytes)] * 4
    if any(not flight.unanswered for flight in machine.flights):
        steps += [lambda: machine.finish(pick)] * 4
    if machine.released < machine.completed:
        steps += [lambda: machine.release(pick)] * 2
    if random.random() < 0.03:
        steps = [machine.crash]
    elif random.random() < 0.03:
        steps = [lambda: machine.serve(random.randint(0, 1500), random.randint(0, 3))]
    random.choice(steps)()


@pytest.mark.parametrize("seed", range(3))
def test_a_long_walk(seed: int) -> None:
    """Hypothesis finds short stories; this is a long one, in which slots, rows and bytes go round many times."""
    machine, random = LaneMachine(), Random(seed)
    machine.begin()
    for _ in range(2000):
        random_step(machine, random)
        machine.cursors()
        machine.requests_stay_as_submitted()
        machine.answers_stay_as_written()
    assert machine.released > 50 * SLOTS
    machine.teardown()


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane.create(SPEC, {"model": "half_plus_two"})
    yield lane
    lane.close()


@pytest.fixture
def producer(lane: Lane) -> LaneProducer:
    return LaneProducer(lane)


@pytest.fixture
def consumer(lane: Lane) -> LaneConsumer:
    return LaneConsumer(lane)


def submit(producer: LaneProducer, count: int = 1) -> None:
    for _ in range(count):
        assert producer.submit_rows(1, 1, rows_for(1, 1), 0) != FULL


def answer_and_finish(consumer: LaneConsumer, text: bytes) -> None:
    ticket = consumer.take(1)
    assert consumer.answer(ticket.start, [PackedTensor(0, (len(text),), text)])
    assert consumer.finish(ticket)


def answers(producer: LaneProducer, numbers: range) -> list[bytes]:
    return [bytes(producer.answer_packed(number)[0].data) for number in numbers]


def test_full_says_so_and_recovers(producer: LaneProducer, consumer: LaneConsumer) -> None:
    submit(producer, SLOTS)
    assert producer.submit_rows(1, 1, rows_for(1, 1), 0) == FULL
    assert producer.submit_packed(1, 1, [], 0) == FULL
    assert producer.submit_each(1, rows_for(1, 3), 0) == 0
    consumer.finish(consumer.take(3))
    assert producer.submit_rows(1, 1, rows_for(1, 1), 0) == FULL, "answered is not read"
    producer.release(2)
    assert producer.submit_each(1, rows_for(1, 3), 0) == 2


BAD_ROWS = [
    [np.zeros((5, 3), "<f4"), np.zeros(ROWS, "<i8")],  # too few
    [np.zeros((ROWS, 3), "<f4")],  # a column is missing
    [np.zeros((ROWS, 3), "<f4"), np.full(ROWS, "text")],
]


@pytest.mark.parametrize("columns", BAD_ROWS)
def test_a_failed_submit_leaves_no_hole(producer: LaneProducer, columns: list[Array]) -> None:
    with pytest.raises((ValueError, IndexError)):
        producer.submit_rows(1, ROWS, columns, 0)
    assert producer.outstanding == 0
    assert producer.submit_rows(1, ROWS, rows_for(1, ROWS), 0) == 0


def test_a_failed_burst_leaves_no_hole(producer: LaneProducer) -> None:
    with pytest.raises(ValueError, match="broadcast"):
        producer.submit_each(1, [np.zeros((8, 3), "<f4"), np.zeros(7, "<i8")], 0)
    assert producer.submit_rows(1, ROWS, rows_for(1, ROWS), 0) == 0


def test_a_failed_packed_submit_leaves_no_hole(producer: LaneProducer, consumer: LaneConsumer) -> None:
    wide = memoryview(bytes(RING - 64)).cast("Q")  # its length is not its bytes
    with pytest.raises(ValueError, match="memoryview"):
        producer.submit_packed(1, 1, [PackedTensor(1, (1,), wide)], 0)
    submit(producer)
    assert producer.submit_packed(2, 1, [PackedTensor(1, (1,), bytes(RING - 64))], 0) == 1


def test_more_single_rows_than_are_counted_at_once() -> None:
    lane = Lane.create(LaneSpec((Column("<i8", ()),), (), 1 << 17, 1 << 17, 4096, 4096), {})
    producer = LaneProducer(lane)
    values = np.arange(1 << 17)
    first = producer.submit_each(10, [values], 0)
    second = producer.submit_each(10 + first, [values[first:]], 0)
    assert first + second == 1 << 17
    assert (lane.descriptors["id"] == values + 10).all()
    assert (lane.inputs[0] == values).all()
    lane.close()


def test_a_lane_without_columns_carries_packed_requests() -> None:
    lane = Lane.create(LaneSpec(slots=SLOTS, request_bytes=RING, answer_bytes=RING), {})
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    tensors = tensors_for(1, 100)
    assert producer.submit_packed(1, 1, tensors, 0) == 0
    assert plain(consumer.request(0)) == tensors
    lane.close()


def test_an_answer_that_never_fits_is_an_error(producer: LaneProducer, consumer: LaneConsumer) -> None:
    submit(producer)
    ticket = consumer.take(1)
    with pytest.raises(ValueError, match="larger than the lane's 4096"):
        consumer.answer(0, [PackedTensor(4, (RING,), bytes(RING))])
    assert consumer.answer(0, [PackedTensor(4, (RING - 64,), bytes(RING - 64))]), "one that just fits is none"
    consumer.finish(ticket)


def test_an_answer_waits_for_room(producer: LaneProducer, consumer: LaneConsumer) -> None:
    submit(producer, 3)
    answer_and_finish(consumer, bytes(1500))
    answer_and_finish(consumer, bytes(1500))
    ticket = consumer.take(1)
    tensor = PackedTensor(4, (1500,), b"c" * 1500)
    assert not consumer.answer(2, [tensor])
    producer.release(1)
    assert consumer.answer(2, [tensor])
    consumer.finish(ticket)
    assert answers(producer, range(1, 3)) == [bytes(1500), b"c" * 1500]


def test_answers_from_several_threads(producer: LaneProducer, consumer: LaneConsumer) -> None:
    """Batches run in threads and write their answers there; only the cursors stay with one."""

    def answer(number: int) -> None:
        assert consumer.answer(number, [PackedTensor(0, (600,), b"%d" % (number % 10) * 600)])

    with ThreadPoolExecutor(4) as pool:
        for _ in range(300):
            submit(producer, 4)
            tickets = [consumer.take(1) for _ in range(4)]
            for _ in pool.map(answer, [ticket.start for ticket in tickets]):
                pass
            consumer.beat(1)
            for ticket in tickets:
                consumer.finish(ticket)
            numbers = range(producer.released, producer.completed)
            assert answers(producer, numbers) == [b"%d" % (number % 10) * 600 for number in numbers]
            producer.release(producer.completed)


def test_what_a_dead_worker_began_is_no_answer(producer: LaneProducer, consumer: LaneConsumer, lane: Lane) -> None:
    submit(producer)
    consumer.take(1)
    assert consumer.begin_alone(0) == 0
    consumer.answer(0, [PackedTensor(0, (4,), b"lost")])
    consumer.set_status(0, 13)
    other = LaneConsumer(lane)
    assert other.begin_alone(0) == 1, "but the tries count on"
    other.finish(other.take(1))
    assert producer.verdict(0) == (0, False)


def test_unread_answers_survive_the_worker_in_whatever_order(
    producer: LaneProducer, consumer: LaneConsumer, lane: Lane
) -> None:
    submit(producer, 4)
    tickets = [consumer.take(1) for _ in range(3)]
    for number in (1, 2, 0):
        consumer.answer(number, [PackedTensor(0, (100,), b"%d" % number * 100)])
        consumer.finish(tickets[number])
    other = LaneConsumer(lane)
    assert other.suspects == 0
    answer_and_finish(other, b"3" * 100)
    assert answers(producer, range(4)) == [b"%d" % number * 100 for number in range(4)]
    producer.release(4)
    submit(producer)
    assert other.answer(4, [PackedTensor(0, (RING - 64,), bytes(RING - 64))]), "all of it is free again"


class Hooked:
    """Words that call `hook` before word `index` is read."""

    def __init__(self, words: memoryview, index: int, hook: Callable[[], None]) -> None:
        self.words, self.index, self.hook = words, index, hook

    def __getitem__(self, index: int) -> int:
        if index == self.index:
            self.hook()
        return int(self.words[index])

    def __setitem__(self, index: int, value: int) -> None:
        self.words[index] = value


@pytest.mark.parametrize("torn", range(SLOTS))
@pytest.mark.parametrize("word", [6, 7])
def test_attaching_while_the_front_end_goes_on(torn: int, word: int) -> None:
    """A slot is given back and written anew in the middle of the next worker's look for unread answers."""
    lane = Lane.create(SPEC, {})
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    submit(producer, SLOTS)
    for number in range(SLOTS):
        answer_and_finish(consumer, b"%d" % number * 300)

    def meanwhile() -> None:
        producer.release(torn + 1)
        submit(producer, SLOTS - producer.outstanding)

    words = lane.descriptor_words
    lane.descriptor_words = Hooked(words, torn * 8 + word, meanwhile)  # type: ignore[assignment]
    other = LaneConsumer(lane)
    other._descriptor_words = words
    expected = [b"%d" % number * 300 for number in range(torn + 1, SLOTS)]
    for number in range(SLOTS, SLOTS + torn + 1):
        expected.append(b"%d" % number * 150)
        answer_and_finish(other, expected[-1])
    assert answers(producer, range(torn + 1, SLOTS + torn + 1)) == expected
    producer.release(SLOTS + torn + 1)
    submit(producer)
    other.take(1)
    assert other.answer(SLOTS + torn + 1, [PackedTensor(0, (RING - 64,), bytes(RING - 64))]), "all of it is free again"
    lane.close()


def test_the_taken_cursor_never_goes_back(producer: LaneProducer, consumer: LaneConsumer, lane: Lane) -> None:
    submit(producer, 5)
    consumer.take(4)
    second = LaneConsumer(lane)
    assert second.suspects == 4
    second.finish(second.take(1))
    assert lane.words[layout.TAKEN] == 4
    third = LaneConsumer(lane)
    assert third.suspects == 3, "who died next to a request may still be its victim"
    third.finish(third.take(4))
    assert lane.words[layout.TAKEN] == 5


@pytest.mark.parametrize("submitted", [0, 2, SLOTS + 4, 2**63, 2**64 - 1])
def test_cursors_that_cannot_be(producer: LaneProducer, consumer: LaneConsumer, lane: Lane, submitted: int) -> None:
    submit(producer, 3)
    consumer.finish(consumer.take(3))
    lane.words[layout.SUBMITTED] = submitted
    with pytest.raises(BrokenLaneError):
        consumer.waiting  # noqa: B018 - the property is what raises
    assert consumer.broken


@pytest.mark.parametrize("released", [2**63, 2**64 - 1])
def test_attaching_survives_any_released_cursor(producer: LaneProducer, lane: Lane, released: int) -> None:
    submit(producer, 3)
    lane.words[layout.RELEASED] = released
    assert LaneConsumer(lane).waiting == 3


@pytest.mark.parametrize(("word", "value"), [(3, RING - 63), (3, 2**64 - 1), (4, RING + 1), (4, 2**64 - 1), (4, 8), (4, 0)])
def test_packed_requests_outside_the_ring(
    producer: LaneProducer, consumer: LaneConsumer, lane: Lane, word: int, value: int
) -> None:
    producer.submit_packed(1, 1, tensors_for(1, 50), 0)
    lane.descriptor_words[word] = value
    with pytest.raises(ValueError, match="packed"):
        consumer.request(0)


@pytest.mark.parametrize("start", [RING - 8, RING, 2**63, 2**64 - 1])
def test_packed_answers_outside_the_ring(producer: LaneProducer, consumer: LaneConsumer, lane: Lane, start: int) -> None:
    submit(producer)
    answer_and_finish(consumer, b"text")
    lane.descriptor_words[7] = start
    with pytest.raises(ValueError, match="packed"):
        producer.answer_packed(0)


def test_each_side_says_who_it_is(producer: LaneProducer, consumer: LaneConsumer, lane: Lane) -> None:
    assert lane.label == {"model": "half_plus_two"}
    assert lane.words[layout.WORD_FRONTEND_PID] == lane.words[layout.WORD_WORKER_PID] == os.getpid()
    producer.beat(17)
    consumer.beat(18)
    assert (lane.words[layout.FRONTEND_HEARTBEAT], lane.words[layout.WORKER_HEARTBEAT]) == (17, 18)


def test_layout_of_columns_and_rings() -> None:
    """Nothing overlaps, everything that must starts a page."""
    for spec in (SPEC, LaneSpec(), LaneSpec.for_columns(INPUTS, OUTPUTS), LaneSpec.for_columns(INPUTS, ())):
        assert spec.descriptors_offset + spec.slots * layout.DESCRIPTOR_BYTES <= spec.column_offsets[0]
        ends = [spec.rows * column.row_bytes for column in spec.inputs + spec.outputs]
        for (start, end), length in zip(zip(spec.column_offsets, spec.column_offsets[1:], strict=False), ends, strict=True):
            assert start + length <= end
        assert spec.requests_offset + spec.request_bytes <= spec.answers_offset
        assert spec.answers_offset + spec.answer_bytes <= spec.size
        for offset in (*spec.column_offsets, spec.answers_offset, spec.size):
            assert offset % layout.PAGE == 0

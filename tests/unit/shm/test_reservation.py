"""Rows that are reserved, written in place and submitted, among requests of all other kinds, against a model of lists."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shm import packed
from shm.consumer import LaneConsumer
from shm.lane import Array, Lane
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer
from shm.reservation import Reservation

INPUTS = (Column("<f4", (3,)), Column("<i8", ()))
OUTPUTS = (Column("<f8", ()),)
SLOTS, ROWS, RING = 8, 16, 2048
SPEC = LaneSpec(INPUTS, OUTPUTS, ROWS, SLOTS, RING, RING)
PICK = st.integers(0, 63)  # which of those there are, modulo their number


@dataclass
class Block:
    """Units that are taken. `until`: the requests before this number are the ones that need it; None: it is reserved."""

    start: int
    end: int
    is_rows: bool
    until: int | None


@dataclass
class Reserved:
    reservation: Reservation
    block: Block
    written: list[Array] = field(default_factory=list)
    number: int = -1


def rows_for(seed: int, rows: int) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.integers(1, 1 << 15, (rows, *column.shape)).astype(column.dtype) for column in INPUTS]


def longest_gap(capacity: int, blocks: list[Block]) -> int:
    units = bytearray(capacity)
    for block in blocks:
        assert 0 <= block.start < block.end <= capacity
        assert not any(units[block.start : block.end]), "nobody shares memory"
        units[block.start : block.end] = b"\1" * (block.end - block.start)
    return max(map(len, units.split(b"\1")))


class ReservingMachine(RuleBasedStateMachine):
    """Every rule does one thing to the lane and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane.create(SPEC, {})
        self.blocks: deque[Block] = deque()  # in the order in which they were taken, which is that in which they are freed
        self.contents: dict[int, tuple[int, list[Array]]] = {}  # of requests of rows: the first row, and what is there
        self.reserved: list[Reserved] = []
        self.submitted = self.completed = self.released = self.seed = 0

    @initialize()
    def begin(self) -> None:
        self.producer = LaneProducer(self.lane)
        self.consumer = LaneConsumer(self.lane)

    def teardown(self) -> None:
        self.lane.close()

    def gap(self, is_rows: bool) -> int:
        return longest_gap(ROWS if is_rows else RING, [block for block in self.blocks if block.is_rows == is_rows])

    @property
    def has_slot(self) -> bool:
        return self.submitted - self.released < SLOTS

    @rule(rows=st.integers(1, 9))
    def reserve(self, rows: int) -> None:
        possible = self.gap(True) >= rows
        reservation = self.producer.reserve(rows)
        assert (reservation is not None) == possible
        if reservation is not None:
            assert reservation.rows == rows
            block = Block(reservation.row, reservation.row + rows, True, None)
            self.blocks.append(block)
            reserved = Reserved(reservation, block)
            self.reserved.append(reserved)
            self.write(reserved)

    def write(self, reserved: Reserved) -> None:
        self.seed += 1
        reserved.written = rows_for(self.seed, reserved.reservation.rows)
        for view, values in zip(reserved.reservation.inputs, reserved.written, strict=True):
            view[...] = values

    @precondition(lambda self: bool(self.reserved))
    @rule(pick=PICK)
    def submit_reserved(self, pick: int) -> None:
        """Any of them, whenever it was reserved; again when it is completed."""
        reserved = self.reserved[pick % len(self.reserved)]
        if reserved.number >= self.completed:
            with pytest.raises(ValueError, match="not completed"):
                self.producer.submit_reserved(reserved.reservation, 1, 5)
            return
        self.contents.pop(reserved.number, None)
        self.write(reserved)
        number = self.producer.submit_reserved(reserved.reservation, 1, 5)
        assert (number != FULL) == self.has_slot
        if number != FULL:
            assert number == self.submitted
            reserved.number = number
            self.contents[number] = reserved.reservation.row, reserved.written
            self.submitted += 1

    @precondition(lambda self: bool(self.reserved))
    @rule(pick=PICK)
    def give_back(self, pick: int) -> None:
        """Also one whose request runs."""
        reserved = self.reserved.pop(pick % len(self.reserved))
        self.producer.give_back(reserved.reservation)
        reserved.block.until = reserved.number + 1
        self.free()
        with pytest.raises(ValueError, match="given back"):
            self.producer.submit_reserved(reserved.reservation, 1, 5)

    @precondition(lambda self: self.has_slot)
    @rule(rows=st.integers(1, 9))
    def submit_rows(self, rows: int) -> None:
        self.seed += 1
        values = rows_for(self.seed, rows)
        possible = self.gap(True) >= rows
        number = self.producer.submit_rows(1, rows, values, 5)
        assert (number != FULL) == possible
        if possible:
            self.took(number, number + 1, values)

    @precondition(lambda self: self.has_slot)
    @rule(count=st.integers(1, 9))
    def submit_each(self, count: int) -> None:
        self.seed += 1
        values = rows_for(self.seed, count)
        first = self.submitted
        possible = min(count, SLOTS - (first - self.released), SLOTS - first % SLOTS, self.gap(True))
        assert self.producer.submit_each(1, values, 5) == possible
        if possible:
            self.took(first, first + possible, [column[:possible] for column in values])

    def took(self, first: int, end: int, values: list[Array]) -> None:
        row = self.consumer.describe(first)[0]
        each = len(values[0]) // (end - first)
        self.blocks.append(Block(row, row + len(values[0]), True, end))
        for number in range(first, end):
            at = (number - first) * each
            self.contents[number] = row + at, [column[at : at + each] for column in values]
        self.submitted = end

    @precondition(lambda self: self.has_slot)
    @rule(nbytes=st.integers(0, 900))
    def submit_packed(self, nbytes: int) -> None:
        tensors = [PackedTensor(4, (nbytes,), bytes(nbytes))]
        possible = self.gap(False) >= packed.size(tensors)
        number = self.producer.submit_packed(1, 1, tensors, 5)
        assert (number != FULL) == possible
        if possible:
            position, length, *_ = self.consumer.describe(number)
            self.blocks.append(Block(position, position + length, False, number + 1))
            self.submitted += 1

    @precondition(lambda self: self.completed < self.submitted)
    @rule(pick=PICK)
    def complete(self, pick: int) -> None:
        count = 1 + pick % (self.submitted - self.completed)
        self.consumer.finish(self.consumer.take(count))
        self.completed += count

    @precondition(lambda self: self.released < self.completed)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        until = self.released + 1 + pick % (self.completed - self.released)
        self.producer.release(until)
        self.contents = {number: found for number, found in self.contents.items() if number >= until}
        self.released = until
        self.free()

    def free(self) -> None:
        while self.blocks and (until := self.blocks[0].until) is not None and until <= self.released:
            self.blocks.popleft()

    @invariant()
    def rows_stay_as_written(self) -> None:
        for row, values in self.contents.values():
            for column, expected in zip(self.lane.inputs, values, strict=True):
                np.testing.assert_array_equal(column[row : row + len(expected)], expected)
        for reserved in self.reserved:
            for view, expected in zip(reserved.reservation.inputs, reserved.written, strict=True):
                np.testing.assert_array_equal(view, expected)

    @invariant()
    def as_much_is_free_as_should_be(self) -> None:
        self.gap(True)
        self.gap(False)
        assert self.producer.outstanding == self.submitted - self.released


ReservingMachine.TestCase.settings = settings(
    deadline=None, max_examples=60, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]
)
TestReserving = ReservingMachine.TestCase


def random_step(machine: ReservingMachine, random: Random) -> None:
    """One step that is possible now."""
    pick = random.getrandbits(16)
    steps = [lambda: machine.reserve(random.randint(1, 6))]
    if machine.reserved:
        steps += [lambda: machine.submit_reserved(pick), lambda: machine.give_back(pick)] * 2
    if machine.has_slot:
        steps += [
            lambda: machine.submit_rows(random.randint(1, 6)),
            lambda: machine.submit_each(random.randint(1, 9)),
            lambda: machine.submit_packed(random.randint(0, 900)),
        ]
    if machine.completed < machine.submitted:
        steps += [lambda: machine.complete(pick)] * 3
    if machine.released < machine.completed:
        steps += [lambda: machine.release(pick)] * 3
    random.choice(steps)()


@pytest.mark.parametrize("seed", range(3))
def test_a_long_walk(seed: int) -> None:
    """In which everything goes round many times."""
    machine, random = ReservingMachine(), Random(seed)
    machine.begin()
    for _ in range(2000):
        random_step(machine, random)
        machine.rows_stay_as_written()
        machine.as_much_is_free_as_should_be()
    assert machine.released > 30 * SLOTS
    machine.teardown()


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane.create(SPEC, {})
    yield lane
    lane.close()


def test_what_the_worker_reads_and_writes_is_the_reservation_itself(lane: Lane) -> None:
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    reservation = producer.reserve(3)
    assert reservation is not None
    reservation.inputs[1][:] = 7, 8, 9
    assert producer.submit_reserved(reservation, 40, now=5, deadline=6) == 0
    assert consumer.head() == (reservation.row, 0, 3, 0, 6)
    assert consumer.window(1)["id"] == 40
    ticket = consumer.take(1)
    at = slice(reservation.row, reservation.row + 3)
    lane.outputs[0][at] = lane.inputs[1][at] * 2
    consumer.finish(ticket)
    producer.release(1)
    assert reservation.outputs[0].tolist() == [14, 16, 18]
    assert producer.submit_rows(1, 1, rows_for(1, 1), 0) != FULL
    assert reservation.outputs[0].tolist() == [14, 16, 18], "until it is given back"


def test_a_request_under_way_keeps_rows_that_were_given_back(lane: Lane) -> None:
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    reservation = producer.reserve(ROWS)
    assert reservation is not None
    producer.submit_reserved(reservation, 1, 0)
    producer.give_back(reservation)
    assert producer.reserve(1) is None
    consumer.finish(consumer.take(1))
    assert producer.reserve(1) is None, "answered is not read"
    producer.release(1)
    assert producer.reserve(ROWS) is not None


def test_one_that_was_never_submitted(lane: Lane) -> None:
    producer = LaneProducer(lane)
    reservation = producer.reserve(ROWS)
    assert reservation is not None
    assert producer.reserve(1) is None
    producer.give_back(reservation)
    assert producer.reserve(ROWS) is not None

"""The lane's records of batches: whoever goes from one to the next meets each completed request, once, with its times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shm import layout
from shm.consumer import LaneConsumer, Ticket
from shm.lane import Lane
from shm.layout import LaneSpec
from shm.producer import FULL, LaneProducer

SLOTS = 8
SPEC = LaneSpec(slots=SLOTS, request_bytes=4096, answer_bytes=4096)
PICK = st.integers(0, 63)  # which of those there are, modulo their number
LARGEST = 2**64 - 1

Record = tuple[int, int, int, int]


@dataclass
class Batch:
    ticket: Ticket
    record: Record


class RecordsMachine(RuleBasedStateMachine):
    """Batches of any size that end in any order, workers that die, and a front end that looks when it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane.create(SPEC, {})
        self.running: list[Batch] = []
        self.written: dict[int, Record] = {}  # by first number, what a finished batch wrote last
        self.clock = self.collected = 0
        self.met: list[int] = []

    @initialize()
    def begin(self) -> None:
        self.producer = LaneProducer(self.lane)
        self.consumer = LaneConsumer(self.lane)

    def teardown(self) -> None:
        self.lane.close()

    @precondition(lambda self: self.producer.outstanding < SLOTS)
    @rule(pick=PICK)
    def submit(self, pick: int) -> None:
        for _ in range(1 + pick % (SLOTS - self.producer.outstanding)):
            assert self.producer.submit_packed(0, 1, [], 1) != FULL

    @precondition(lambda self: self.consumer.waiting)
    @rule(pick=PICK)
    def take(self, pick: int) -> None:
        self.clock += 3
        ticket = self.consumer.take(1 + pick % self.consumer.waiting)
        self.running.append(Batch(ticket, (ticket.end, self.clock, self.clock + 1, self.clock + 2)))

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def finish(self, pick: int) -> None:
        batch = self.running.pop(pick % len(self.running))
        self.written[batch.ticket.start] = batch.record
        self.consumer.finish(batch.ticket, *batch.record[1:])

    @rule()
    def crash(self) -> None:
        """In the middle of writing its records, as it may be; another worker attaches."""
        for batch in self.running:
            at = batch.ticket.start % SLOTS * layout.BATCH_BYTES
            self.lane.batches[at : at + 20] = b"\xaa" * 20
        lane = Lane.attach(os.dup(self.lane.segment.fd), SPEC)
        self.consumer = LaneConsumer(lane)
        self.running.clear()

    @rule()
    def collect(self) -> None:
        """From record to record, up to `completed`, and not beyond."""
        completed = self.producer.completed
        while self.collected < completed:
            record = self.producer.batch(self.collected)
            assert record == self.written[self.collected]
            self.met += range(self.collected, record[0])
            self.collected = record[0]
        assert self.collected == completed

    @precondition(lambda self: self.producer.released < self.collected)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        released = self.producer.released
        self.producer.release(released + 1 + pick % (self.collected - released))

    @invariant()
    def every_request_was_met_once(self) -> None:
        assert self.met == list(range(self.collected))


RecordsMachine.TestCase.settings = settings(
    deadline=None, max_examples=100, stateful_step_count=60, suppress_health_check=[HealthCheck.too_slow]
)
TestRecords = RecordsMachine.TestCase


def random_step(machine: RecordsMachine, random: Random) -> None:
    pick = random.getrandbits(6)
    steps = [machine.collect]
    if machine.producer.outstanding < SLOTS:
        steps.append(lambda: machine.submit(pick))
    if machine.consumer.waiting:
        steps += [lambda: machine.take(pick)] * 2
    if machine.running:
        steps += [lambda: machine.finish(pick)] * 2
    if machine.producer.released < machine.collected:
        steps.append(lambda: machine.release(pick))
    if random.random() < 0.03:
        steps = [machine.crash]
    random.choice(steps)()


@pytest.mark.parametrize("seed", range(5))
def test_a_long_walk(seed: int) -> None:
    """In which the slots go round many times."""
    machine, random = RecordsMachine(), Random(seed)
    machine.begin()
    for _ in range(3000):
        random_step(machine, random)
    machine.every_request_was_met_once()
    assert machine.collected > 50 * SLOTS
    machine.teardown()


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane.create(SPEC, {})
    yield lane
    lane.close()


def test_it_is_there_before_the_cursor_moves(lane: Lane) -> None:
    """A front end that sees the cursor move sees the records of all that it moves over, also of what ended long before."""
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    for _ in range(5):
        producer.submit_packed(0, 1, [], 1)
    first, second = consumer.take(2), consumer.take(3)
    assert not consumer.finish(second, 30, 40, 3)
    assert producer.batch(2) == (5, 30, 40, 3)

    class Words:
        """Those of the worker; it looks through the front end's eyes when the cursor is about to move."""

        seen: list[Record] | None = None

        def __setitem__(self, index: int, value: int) -> None:
            assert index == layout.COMPLETED
            self.seen = [producer.batch(0), producer.batch(2)]
            lane.words[index] = value

    consumer._words = words = Words()  # type: ignore[assignment]
    assert consumer.finish(first, 10, 20, 7)
    assert words.seen == [(2, 10, 20, 7), (5, 30, 40, 3)]
    assert producer.completed == 5


def test_any_words_can_be_read(lane: Lane) -> None:
    """What the worker wrote is the reader's to judge."""
    producer = LaneProducer(lane)
    lane.batches[:] = b"\xff" * len(lane.batches)
    assert producer.batch(3) == (LARGEST, LARGEST, LARGEST, LARGEST)


def test_records_overlap_nothing() -> None:
    for slots in (1, 64, 100, 4096):
        spec = LaneSpec(slots=slots)
        lane = Lane.create(spec, {})
        assert len(lane.batches) == slots * layout.BATCH_BYTES
        assert spec.batches_offset % layout.PAGE == 0
        assert spec.descriptors_offset + slots * layout.DESCRIPTOR_BYTES <= spec.batches_offset
        assert spec.batches_offset + slots * layout.BATCH_BYTES <= spec.column_offsets[0]
        lane.batches[:] = b"\xff" * len(lane.batches)
        assert not any(lane.descriptor_bytes)
        assert not any(lane.requests[: layout.PAGE])
        lane.close()

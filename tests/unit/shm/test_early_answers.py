"""Answers that may be read before those of older requests are there: the rules, and a model across workers' deaths."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from test_lane import plain, tensors_for

from shm import layout
from shm.consumer import LaneConsumer, Ticket
from shm.lane import Lane
from shm.layout import EARLY, FLAGS_SHIFT, VERDICT_WORD, Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer

SLOTS = 8
COLUMN = Column("<f4", ())
SPEC = LaneSpec((COLUMN,), (COLUMN,), rows=64, slots=SLOTS, request_bytes=1 << 12, answer_bytes=1 << 12)


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane.create(SPEC, {})
    yield lane
    lane.close()


def submitted(lane: Lane, count: int) -> LaneProducer:
    producer = LaneProducer(lane)
    for number in range(count):
        assert producer.submit_rows(number, 1, [np.array([number], "<f4")], 5) != FULL
    return producer


def early_words(lane: Lane) -> int:
    return lane.words[layout.EARLY_COUNT]


def test_an_early_answer_is_told_and_counted(lane: Lane) -> None:
    producer, consumer = submitted(lane, 4), LaneConsumer(lane)
    consumer.look_past(4)
    assert (consumer.waiting, lane.words[layout.TAKEN]) == (0, 0), "looked at is not begun"
    ticket = consumer.begin(2)
    assert (ticket.start, ticket.end, lane.words[layout.TAKEN]) == (2, 3, 3)
    assert consumer.finish(ticket, 7, 8, 9, early=True), "something new to read"
    assert (producer.completed, producer.early, producer.early_numbers(0)) == (0, 1, {2})
    assert producer.batch(2) == (3, 7, 8, 9)
    assert consumer.finish(consumer.begin(0), early=True)
    assert (producer.completed, producer.early) == (1, 1), "which is not early: no older one is left"
    assert consumer.finish(consumer.begin(1))
    assert (producer.completed, producer.early_numbers(3)) == (3, set())


def test_what_is_finished_out_of_order_is_not_told_where_nobody_wants_it(lane: Lane) -> None:
    """As for clients that read answers in the order of their requests."""
    producer, consumer = submitted(lane, 2), LaneConsumer(lane)
    consumer.look_past(2)
    assert not consumer.finish(consumer.begin(1))
    assert (producer.early, producer.early_numbers(0), producer.completed) == (0, set(), 0)
    assert consumer.finish(consumer.begin(0))
    assert producer.completed == 2


def test_an_early_answer_says_how_it_ended(lane: Lane) -> None:
    """The flag changes nothing of the rest of the verdict, nor whether the answer is found in its columns."""
    producer, consumer = submitted(lane, 4), LaneConsumer(lane)
    consumer.look_past(4)
    lane.outputs[0][1] = 11.0
    text = PackedTensor(0, (2,), b"no")
    consumer.set_status(2, 3)
    assert consumer.answer(2, [text])
    for number in (1, 2):
        consumer.finish(consumer.begin(number), early=True)
    assert producer.verdict(1) == (0, 0)
    rows = producer.answer_rows(1)
    assert rows is not None
    assert rows[0].tolist() == [11.0]
    assert (producer.verdict(2), producer.answer_rows(2)) == ((3, 1), None)
    assert plain(producer.answer_packed(2)) == plain([text])
    assert producer.answers_elsewhere(1, 2) == [1]


def test_the_next_request_in_a_slot_is_not_early(lane: Lane) -> None:
    producer, consumer = submitted(lane, SLOTS), LaneConsumer(lane)
    consumer.look_past(SLOTS)
    for number in reversed(range(SLOTS)):
        consumer.finish(consumer.begin(number), early=True)
    assert (producer.completed, producer.early) == (SLOTS, SLOTS - 1)
    producer.release(SLOTS)
    producer.submit_rows(1, 1, [np.zeros(1, "<f4")], 5)
    producer.submit_each(1, [np.zeros(3, "<f4")], 5)
    producer.submit_packed(1, 1, [], 5)
    assert producer.early_numbers(SLOTS) == set()
    consumer.look_past(2)
    consumer.finish(consumer.begin(SLOTS + 1), early=True)
    assert producer.early_numbers(SLOTS) == {SLOTS + 1}


def test_early_answers_survive_a_worker(lane: Lane) -> None:
    producer, consumer = submitted(lane, 6), LaneConsumer(lane)
    consumer.look_past(6)
    answers = {number: tensors_for(number, 100) for number in (1, 2, 4)}
    for number in (4, 1, 2):
        assert consumer.answer(number, answers[number])
    for number in (4, 1):
        consumer.finish(consumer.begin(number), early=True)
    consumer.begin(2)  # answered, but not told: it is not answered
    after = LaneConsumer(lane)
    assert (after.completed, after.taken, after.suspects) == (0, 0, 5)
    assert producer.early_numbers(0) == {1, 4}
    assert producer.verdict(2) == (0, 0)
    assert after.skip_answered(5) == 0
    assert after.begin_alone(0) == 0
    after.finish(after.take(1))
    assert after.skip_answered(4) == 1
    assert (producer.completed, after.taken) == (2, 2)
    for number in (2, 3):
        assert after.skip_answered(1) == 0
        assert after.answer(number, tensors_for(number, 50))
        after.finish(after.take(1))
    assert after.skip_answered(1) == 1
    assert producer.completed == 5
    for number in (1, 4):
        assert plain(producer.answer_packed(number)) == plain(answers[number])
    assert after.waiting == 1


def test_no_more_are_skipped_than_there_are_suspects(lane: Lane) -> None:
    producer, consumer = submitted(lane, 4), LaneConsumer(lane)
    consumer.look_past(4)
    lane.descriptor_words[VERDICT_WORD] |= EARLY << FLAGS_SHIFT
    for number in (1, 2):
        consumer.finish(consumer.begin(number), early=True)
    after = LaneConsumer(lane)
    assert after.suspects == 3
    assert after.skip_answered(2) == 2
    assert (producer.completed, after.taken) == (2, 2)


def test_room_of_early_answers_is_kept_until_they_are_read(lane: Lane) -> None:
    """They are in the ring in the order in which they were written, which is not that of their requests."""
    producer, consumer = submitted(lane, SLOTS), LaneConsumer(lane)
    consumer.look_past(SLOTS)
    written = {number: tensors_for(number, 500) for number in (5, 3, 1)}
    for number, tensors in written.items():
        assert consumer.answer(number, tensors)
        consumer.finish(consumer.begin(number), early=True)
    for each in (consumer, LaneConsumer(lane)):
        count = 0
        while each.answer(7, tensors_for(99, 500)):
            count += 1
        assert 0 < count <= 4
        for number, tensors in written.items():
            assert plain(producer.answer_packed(number)) == plain(tensors)


def test_room_of_what_was_written_for_no_answer_is_free(lane: Lane) -> None:
    """A worker died before it said that the request is answered."""
    submitted(lane, 2)
    consumer = LaneConsumer(lane)
    consumer.look_past(2)
    large = tensors_for(1, SPEC.answer_bytes - 300)
    for number in (0, 1):
        consumer.begin(number)
    assert consumer.answer(1, large)
    after = LaneConsumer(lane)
    assert after.answer(0, large)
    assert not after.answer(1, large)


class EarlyMachine(RuleBasedStateMachine):
    """Workers answer requests in any order, and die; the model knows which of them may be read."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane.create(SPEC, {})
        self.producer = LaneProducer(self.lane)
        self.consumer = LaneConsumer(self.lane)
        self.suspects = 0
        self.looked: list[int] = []  # looked past, not begun
        self.flights: list[Ticket] = []
        self.done: set[int] = set()  # finished by this worker
        self.early: set[int] = set()
        self.told = 0
        self.answers: dict[int, list[PackedTensor]] = {}  # in the byte ring
        self.written = 0
        self.completed = self.begun = self.walked = 0

    def teardown(self) -> None:
        self.lane.close()

    @property
    def seen(self) -> int:
        return self.consumer.taken

    @precondition(lambda self: self.producer.outstanding < SLOTS)
    @rule(count=st.integers(1, 4))
    def submit(self, count: int) -> None:
        for _ in range(min(count, SLOTS - self.producer.outstanding)):
            number = self.producer.submitted
            assert self.producer.submit_rows(number, 1, [np.array([number], "<f4")], 5) == number

    @precondition(lambda self: not self.suspects and self.consumer.waiting)
    @rule(count=st.integers(1, SLOTS))
    def look(self, count: int) -> None:
        count = min(count, self.consumer.waiting)
        self.looked += range(self.seen, self.seen + count)
        self.consumer.look_past(count)

    @precondition(lambda self: self.looked)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.looked))
        self.looked.remove(number)
        self.flights.append(self.consumer.begin(number))
        self.begun = max(self.begun, number + 1)

    @precondition(lambda self: not self.suspects and not self.looked and self.consumer.waiting)
    @rule(count=st.integers(1, 3))
    def take(self, count: int) -> None:
        self.flights.append(self.consumer.take(min(count, self.consumer.waiting)))
        self.begun = max(self.begun, self.seen)

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """An answer whose batch has not ended: it counts only when it has."""
        self.answer(data.draw(st.sampled_from(self.flights)).start)

    def answer(self, number: int) -> None:
        if number in self.answers:
            return
        self.written += 1
        tensors = tensors_for(self.written, self.written * 7 % 600)
        if self.consumer.answer(number, tensors):
            self.answers[number] = tensors

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), early=st.booleans(), in_bytes=st.booleans())
    def finish(self, data: st.DataObject, early: bool, in_bytes: bool) -> None:
        ticket = data.draw(st.sampled_from(self.flights))
        self.flights.remove(ticket)
        early = early and ticket.end - ticket.start == 1
        if in_bytes:
            self.answer(ticket.start)
        self.done |= set(range(ticket.start, ticket.end))
        before = self.completed
        self.complete()
        told = early and self.completed == before
        if told:
            self.early.add(ticket.start)
            self.told += 1
        assert self.consumer.finish(ticket, 1, 2, 3, early=early) == (self.completed > before or told)

    def complete(self) -> None:
        while self.completed in self.done:
            self.completed += 1

    @rule()
    def die(self) -> None:
        lane = Lane.attach(os.dup(self.lane.segment.fd), SPEC)
        self.consumer = LaneConsumer(lane)
        lane.close()
        self.suspects = self.begun - self.completed
        assert self.consumer.suspects == self.suspects
        self.looked, self.flights, self.done = [], [], set()
        kept = {number for number in self.answers if number < self.completed or number in self.early}
        self.answers = {number: self.answers[number] for number in kept}

    @precondition(lambda self: self.suspects)
    @rule(in_bytes=st.booleans())
    def settle(self, in_bytes: bool) -> None:
        """The next suspect, as a queue does it."""
        expected = 0
        while expected < self.suspects and self.completed + expected in self.early:
            expected += 1
        assert self.consumer.skip_answered(self.suspects) == expected
        self.suspects -= expected
        self.done |= set(range(self.completed, self.completed + expected))
        if not expected:
            self.consumer.begin_alone(self.completed)
            ticket = self.consumer.take(1)
            if in_bytes:
                self.answer(ticket.start)
            self.suspects -= 1
            self.done.add(ticket.start)
            assert self.consumer.finish(ticket, 1, 2, 3, early=True)
        self.complete()

    @precondition(lambda self: self.producer.released < self.completed)
    @rule(count=st.integers(1, SLOTS))
    def release(self, count: int) -> None:
        until = min(self.producer.released + count, self.completed)
        self.producer.release(until)
        self.answers = {number: tensors for number, tensors in self.answers.items() if number >= until}

    @invariant()
    def what_may_be_read(self) -> None:
        assert self.producer.completed == self.completed == self.consumer.completed
        assert self.producer.early == self.told
        waiting = {number for number in self.early if number >= self.completed}
        assert self.producer.early_numbers(self.completed) == waiting
        assert self.lane.words[layout.TAKEN] == self.begun
        for number in (*range(self.producer.released, self.completed), *waiting):
            tensors = self.answers.get(number)
            assert self.producer.verdict(number) == (0, tensors is not None)
            if tensors is not None:
                assert plain(self.producer.answer_packed(number)) == plain(tensors)
            else:
                assert self.producer.answer_rows(number) is not None

    @invariant()
    def records(self) -> None:
        """From end to end they are all that is completed, and each early answer has its own."""
        while self.walked < self.completed:
            end = self.producer.batch(self.walked)[0]
            assert self.walked < end <= self.completed
            self.walked = end
        assert all(self.producer.batch(number)[0] == number + 1 for number in self.early if number >= self.completed)


EarlyMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=60)
TestEarlyMachine = EarlyMachine.TestCase

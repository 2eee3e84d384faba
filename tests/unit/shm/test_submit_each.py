"""Many requests that go into a lane together: against a plain model of what each request says, where and for how long."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import numpy as np
import pytest

from shm.consumer import LaneConsumer
from shm.lane import Array, Lane
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import LaneProducer

SLOTS, ROWS = 16, 40
SPEC = LaneSpec((Column("<f4", ()), Column("<i8", (2,))), (Column("<f4", ()),), ROWS, SLOTS, 4096, 4096)


def sides() -> tuple[LaneProducer, LaneConsumer]:
    lane = Lane.create(SPEC, {})
    other = Lane.attach(os.dup(lane.segment.fd), SPEC)
    for side in (lane, other):
        side.close()
    return LaneProducer(lane), LaneConsumer(other)


def columns(first: int, rows: int) -> list[Array]:
    numbers = np.arange(first, first + rows)
    return [numbers.astype("<f4"), np.stack([numbers, -numbers], axis=1).astype("<i8")]


def described(consumer: LaneConsumer, number: int) -> tuple[list[float], list[list[int]]]:
    position, length, rows, flags, _ = consumer.describe(number)
    assert (length, flags) == (0, 0)
    first, second = consumer.lane.inputs
    return first[position : position + rows].tolist(), second[position : position + rows].tolist()


@pytest.mark.parametrize("rows_each", [1, 2, 3, 7])
def test_each_has_its_own_rows(rows_each: int) -> None:
    producer, consumer = sides()
    count = min(SLOTS, ROWS // rows_each)
    sent = columns(5, count * rows_each)
    assert producer.submit_each(100, sent, 7, 9, rows_each) == count
    assert producer.submitted == consumer.waiting == count
    window = consumer.window(count)
    assert window["id"].tolist() == list(range(100, 100 + count))
    assert set(window["enqueued"].tolist()) == {7} and set(window["deadline"].tolist()) == {9}
    assert set(window["rows"].tolist()) == {rows_each}
    for number in range(count):
        rows = slice(number * rows_each, (number + 1) * rows_each)
        assert described(consumer, number) == (sent[0][rows].tolist(), sent[1][rows].tolist())


def test_rows_that_make_no_request_are_left_out() -> None:
    producer, consumer = sides()
    assert producer.submit_each(0, columns(0, 11), 1, 0, 4) == 2
    assert consumer.waiting == 2
    assert producer.submit_each(0, columns(0, 3), 1, 0, 4) == 0
    assert producer.submitted == 2


@pytest.mark.parametrize("rows_each", [1, 3])
def test_no_more_than_there_is_room_for(rows_each: int) -> None:
    producer, consumer = sides()
    held = 0
    while (count := producer.submit_each(held, columns(held, 1000), 1, 0, rows_each)) > 0:
        held += count
    assert held == min(SLOTS, ROWS // rows_each)
    assert producer.submit_each(held, columns(0, 3), 1, 0, 3) == 0
    consumer.finish(consumer.take(held), 1, 2, held)
    producer.release(held - 1)
    assert producer.submit_each(held, columns(0, 1000), 1, 0, rows_each) == (SLOTS - 1 if rows_each == 1 else 0)
    producer.release(held)  # rows come back with the last one of a group
    assert producer.submit_each(held, columns(0, 1000), 1, 0, rows_each) == (1 if rows_each == 1 else SLOTS - held)


def test_what_is_not_rows() -> None:
    """Errors and packed answers, by how many they come after the first."""
    producer, consumer = sides()
    for turn in range(8):
        first, count = producer.submitted, producer.submit_each(0, columns(0, 10), 1, 0)
        ticket = consumer.take(count)
        chosen = [index for index in range(count) if (index * 7 + turn) % 3 == 0]
        for index in chosen:
            if index % 2:
                consumer.set_status(first + index, 3)
            else:
                assert consumer.answer(first + index, [PackedTensor(1, (), b"1234")])
        consumer.finish(ticket, 1, 2, count)
        assert producer.answers_elsewhere(first, count) == chosen
        assert all(type(index) is int for index in producer.answers_elsewhere(first, count))
        for index in range(count):
            assert (producer.answer_rows(first + index) is None) == (index in chosen)
        producer.release(first + count)
    assert not producer.outstanding


@pytest.mark.parametrize("seed", range(10))
def test_against_a_plain_model(seed: int) -> None:  # noqa: PLR0912 - a step of each kind
    """Groups of all sizes between requests of their own and packed ones, completed and released in pieces: none loses a row
    to another one, and in the end all room is there again."""
    chance = random.Random(seed)
    producer, consumer = sides()
    expected: dict[int, tuple[list[float], list[list[int]]] | None] = {}  # None: packed
    answered: dict[int, list[float]] = {}
    value = 0

    def note(first: int, count: int, rows_each: int, sent: Sequence[Array]) -> None:
        for index in range(count):
            rows = slice(index * rows_each, (index + 1) * rows_each)
            expected[first + index] = (sent[0][rows].tolist(), sent[1][rows].tolist())

    for _ in range(600):
        step = chance.randrange(6)
        rows_each = chance.randint(1, 5)
        number = producer.submitted
        if step < 2:
            sent = columns(value, rows_each * chance.randint(1, 20))
            count = producer.submit_each(number, sent, 1, 0, rows_each)
            free = min(SLOTS - producer.outstanding + count, SLOTS - number % SLOTS, len(sent[0]) // rows_each)
            assert 0 <= count <= free
            assert count or free == 0 or producer._rows.room < rows_each
            note(number, count, rows_each, sent)
            value += len(sent[0])
        elif step == 2:
            sent = columns(value, rows_each)
            if producer.submit_rows(number, rows_each, sent, 1) >= 0:
                note(number, 1, rows_each, sent)
        elif step == 3:
            if producer.submit_packed(number, 1, [PackedTensor(1, (1,), b"1234")], 1) >= 0:
                expected[number] = None
        elif step == 4 and consumer.waiting:
            ticket = consumer.take(chance.randint(1, consumer.waiting))
            for taken in range(ticket.start, ticket.end):
                right = expected.pop(taken)
                if right is not None:
                    assert described(consumer, taken) == right
                    position, _, rows, _, _ = consumer.describe(taken)
                    consumer.lane.outputs[0][position : position + rows] = right[0]
                    answered[taken] = right[0]
            consumer.finish(ticket, 1, 2, 1)
        elif step == 5 and producer.completed > producer.released:
            until = chance.randint(producer.released + 1, producer.completed)
            for done in range(producer.released, until):
                rows_found = producer.answer_rows(done)
                assert rows_found is not None
                if done in answered:
                    assert rows_found[0].tolist() == answered.pop(done)
                    assert [part.tolist() for part in producer.rows_from(done, len(rows_found[0]))] == [
                        rows_found[0].tolist()
                    ]
            producer.release(until)
    if consumer.waiting:
        consumer.finish(consumer.take(consumer.waiting), 1, 2, 1)
    producer.release(producer.completed)
    assert not producer.outstanding
    assert producer._rows.empty and producer._bytes.empty

"""What of the lanes runs together: contiguous rows, several lanes, packed requests, those that nobody waits for."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_rig import LONG, NOW, Answer, Rig, good
from small_version import Array, SmallVersion, twice_and_one

from ringserve.errors import Code
from shm.packed import PackedTensor

EXPIRED = Answer(Code.DEADLINE_EXCEEDED, text="Timed out waiting in the lane", packed=True)
GONE = Answer(Code.CANCELLED, text="The client went away", packed=True)


@pytest.fixture
def version() -> SmallVersion:
    return SmallVersion()


def test_nothing_waits(version: SmallVersion) -> None:
    with Rig(version, fronts=2) as rig:
        assert not rig.turn()
        assert version.runs == 0


def test_one_request(version: SmallVersion) -> None:
    with Rig(version) as rig:
        rig.front.submit(3.0, 4.0)
        assert rig.turns() == 1
        assert rig.front.answers() == [good(7.0, 9.0)]
        assert version.joined == [[3.0, 4.0]]


def test_all_that_waits_is_one_batch(version: SmallVersion) -> None:
    with Rig(version) as rig:
        for values in ([1.0], [2.0, 3.0], [4.0]):
            rig.front.submit(*values)
        assert rig.turns() == 1
        assert rig.front.answers() == [good(3.0), good(5.0, 7.0), good(9.0)]
        assert version.joined == [[1.0, 2.0, 3.0, 4.0]]


def test_no_batch_is_larger_than_the_most_rows(version: SmallVersion) -> None:
    with Rig(version, most_rows=4) as rig:
        for value in range(10):
            rig.front.submit(float(value))
        assert rig.turns() == 3
        assert rig.front.answers() == [good(2.0 * value + 1) for value in range(10)]
        assert list(map(len, version.joined)) == [4, 4, 2]


def test_a_request_that_is_larger_runs_by_itself(version: SmallVersion) -> None:
    with Rig(version, most_rows=4) as rig:
        sizes = [1, 9, 2, 2, 1]
        for size in sizes:
            rig.front.submit(*[1.0] * size)
        rig.work()
        assert rig.front.answers() == [good(*[3.0] * size) for size in sizes]
        assert list(map(len, version.joined)) == [1, 9, 4, 1]


def test_what_is_not_proven_is_not_joined(version: SmallVersion) -> None:
    with Rig(version, fronts=2, batched=False) as rig:
        for front in rig.fronts:
            front.submit(1.0)
            front.submit(2.0, 3.0)
        rig.work()
        for front in rig.fronts:
            assert front.answers() == [good(3.0), good(5.0, 7.0)]
        assert sorted(version.joined) == [[1.0], [1.0], [2.0, 3.0], [2.0, 3.0]]


def test_rows_of_several_lanes_are_one_batch(version: SmallVersion) -> None:
    with Rig(version, fronts=3) as rig:
        for index, front in enumerate(rig.fronts):
            front.submit(float(index))
            front.submit(index + 10.0, index + 20.0)
        assert rig.turns() == 1
        for index, front in enumerate(rig.fronts):
            assert front.answers() == [good(2.0 * index + 1), good(2.0 * index + 21, 2.0 * index + 41)]
        assert [sorted(rows) for rows in version.joined] == [[0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 20.0, 21.0, 22.0]]


def test_lanes_take_turns(version: SmallVersion) -> None:
    """A batch of one row is always somebody's; in any three batches each of three lanes had its turn."""
    with Rig(version, fronts=3, most_rows=1) as rig:
        for index, front in enumerate(rig.fronts):
            for _ in range(4):
                front.submit(float(index))
        assert rig.turns() == 12
        order = [row for rows in version.joined for row in rows]
        assert all(sorted(order[start : start + 3]) == [0.0, 1.0, 2.0] for start in range(10))


def test_rows_on_both_sides_of_the_rings_end_share_a_batch(version: SmallVersion) -> None:
    """256 rows: behind the first 220 there is room for 30 more, and the next 15 begin in front again."""
    with Rig(version, most_rows=256) as rig:
        front = rig.front
        first = front.submit(*[1.0] * 220)
        rig.work()
        for _ in range(2):
            front.submit(*[2.0] * 15)
        assert front.producer.lane.descriptors["position"][:3].tolist() == [0, 220, 235]
        front.producer.release(first + 1)
        front.submit(*[3.0] * 15)
        rig.work()
        assert front.answers() == [good(*[5.0] * 15), good(*[5.0] * 15), good(*[7.0] * 15)]
        assert version.joined[1] == [2.0] * 30 + [3.0] * 15
        assert len(version.joined) == 2


def test_slots_on_both_sides_of_the_rings_end(version: SmallVersion) -> None:
    with Rig(version, most_rows=64) as rig:
        for count in (48, 30, 64, 64, 1):
            for value in range(count):
                rig.front.submit(float(value))
            rig.work()
            assert rig.front.answers() == [good(2.0 * value + 1) for value in range(count)]
        assert list(map(len, version.joined)) == [48, 30, 64, 64, 1]


def test_a_packed_request_shares_a_batch_with_rows_of_its_shape(version: SmallVersion) -> None:
    with Rig(version) as rig:
        front = rig.front
        front.submit(1.0)
        front.submit(2.0)
        front.submit_packed(3.0, 4.0)
        front.submit(5.0)
        assert rig.turns() == 1
        assert front.answers() == [good(3.0), good(5.0), good(7.0, 9.0, packed=True), good(11.0)]
        assert (version.joined, version.alone) == ([], [[1.0, 2.0, 3.0, 4.0, 5.0]])
        front.submit(6.0)
        front.submit(7.0)
        rig.work()
        assert version.joined == [[6.0, 7.0]], "straight from the columns again"
        front.answers()


def test_packed_requests_of_other_shapes_run_by_themselves(version: SmallVersion) -> None:
    with Rig(version) as rig:
        front = rig.front
        front.submit_packed(1.0)
        wide = [PackedTensor(1, (1, 2), np.array([value, value], "<f4").tobytes()) for value in (2.0, 3.0)]
        for tensor in wide:
            front.producer.submit_packed(0, 1, [tensor], NOW)
        front.producer.submit_packed(0, 1, [PackedTensor(1, (), np.float32(4.0).tobytes())], NOW)
        front.submit_packed()
        front.submit(5.0)
        rig.work()
        assert [answer.values for answer in front.answers()] == [(3.0,), (5.0, 5.0), (7.0, 7.0), (9.0,), (), (11.0,)]
        ran: list[object] = list(version.alone)
        assert sorted(ran, key=str) == [4.0, [1.0, 5.0], [[2.0, 2.0], [3.0, 3.0]], []]


def test_a_lane_without_columns(version: SmallVersion) -> None:
    with Rig(version, form=None, batched=False) as rig:
        rig.front.submit_packed(3.0)
        rig.front.submit_packed()
        rig.work()
        assert rig.front.answers() == [good(7.0, packed=True), good(packed=True)]


def test_requests_past_their_deadline_are_not_run(version: SmallVersion) -> None:
    with Rig(version) as rig:
        front = rig.front
        front.submit(1.0, deadline=NOW)
        front.submit(2.0, deadline=NOW + 1)
        front.submit_packed(3.0, deadline=NOW - 1)
        front.submit(4.0, deadline=NOW - 1)
        front.submit(5.0)
        rig.work()
        assert front.answers() == [EXPIRED, good(5.0), EXPIRED, EXPIRED, good(11.0)]
        assert (version.joined, version.alone) == ([], [[2.0, 5.0]])


def test_requests_that_nobody_waits_for_are_not_run(version: SmallVersion) -> None:
    with Rig(version) as rig:
        front = rig.front
        for number in (front.submit(1.0), front.submit_packed(2.0), front.submit(3.0, deadline=NOW)):
            front.producer.abandon(number)
        front.submit(4.0)
        rig.work()
        assert front.answers() == [GONE, GONE, EXPIRED, good(9.0)]
        assert (version.joined, version.alone) == ([], [[4.0]])


def test_those_that_are_not_run_are_answered_in_one_turn(version: SmallVersion) -> None:
    with Rig(version) as rig:
        front = rig.front
        for row in range(20):
            front.submit(float(row), deadline=NOW)
            front.producer.abandon(front.submit(1.0))
        assert rig.turn()
        assert front.producer.completed == 40
        assert front.bell.wait(0)
        assert not rig.turn()
        assert not front.bell.wait(0)
        assert front.answers() == [EXPIRED, GONE] * 20
        assert version.runs == 0


def test_a_request_that_is_abandoned_too_late_is_answered(version: SmallVersion) -> None:
    with Rig(version) as rig:
        number = rig.front.submit(1.0)
        rig.work()
        rig.front.producer.abandon(number)
        assert rig.front.answers() == [good(3.0)]


def test_a_front_end_is_rung_once_a_batch(version: SmallVersion) -> None:
    with Rig(version, fronts=2) as rig:
        first, second = rig.fronts
        for _ in range(3):
            first.submit(1.0)
        assert rig.turn()
        assert first.bell.wait(0)
        assert not second.bell.wait(0)
        assert not rig.turn()
        assert not first.bell.wait(0), "nothing ended since"


def test_a_version_that_makes_fewer_rows() -> None:
    """Rows don't fit the columns then: each request runs by itself and its answer is what came of it."""

    def without_zeros(x: Array) -> Array:
        return np.compress(x != 0, x)

    version = SmallVersion(without_zeros)
    with Rig(version) as rig:
        for values in ([1.0], [0.0, 2.0], [0.0], [3.0, 4.0]):
            rig.front.submit(*values)
        rig.work()
        assert rig.front.answers() == [good(1.0), good(2.0, packed=True), good(packed=True), good(3.0, 4.0)]
        rig.front.submit(5.0)
        rig.work()
        assert rig.front.answers() == [good(5.0)], "and by columns again where they fit"


def test_damaged_packed_requests_are_answered(version: SmallVersion) -> None:
    with Rig(version) as rig:
        front = rig.front
        outside = front.submit_packed(1.0)
        front.lane.descriptors[outside]["length"] = 1 << 40
        nonsense = front.submit_packed(2.0)
        struct.pack_into("<QI", front.lane.requests, int(front.lane.descriptors[nonsense]["position"]), 64, 1 << 30)
        front.submit_packed(3.0)
        rig.work()
        answers = front.answers()
        assert [answer.code for answer in answers] == [Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT, Code.OK]
        assert answers[2].values == (7.0,)


# Anything, in any order.


@dataclass(frozen=True)
class Wanted:
    """A request, and what it must be answered."""

    lane: int
    values: tuple[float, ...]
    packed: bool
    deadline: int
    abandoned: bool

    def check(self, answer: Answer) -> None:
        if 0 < self.deadline <= NOW:
            assert answer == EXPIRED
        elif self.abandoned:
            assert answer == GONE
        elif min(self.values) < 0:
            text = f"negative row {min(self.values):g}"
            assert (answer.code, answer.text) == (Code.INVALID_ARGUMENT, text)
        else:
            assert (answer.code, answer.values) == (Code.OK, tuple(2 * value + 1 for value in self.values))


WANTED = st.builds(
    Wanted,
    lane=st.integers(0, 1),
    values=st.lists(st.integers(-1, 50).map(float), min_size=1, max_size=5).map(tuple),
    packed=st.sampled_from([False, False, True]),
    deadline=st.sampled_from([0, 0, 0, NOW, NOW + 1]),
    abandoned=st.sampled_from([False] * 7 + [True]),
)


@settings(deadline=None)
@given(st.lists(st.lists(WANTED, max_size=7), max_size=6), st.integers(1, 12), st.booleans())
def test_every_request_gets_its_own_answer(bursts: list[list[Wanted]], most_rows: int, slow: bool) -> None:
    """Bursts of requests of every kind over two lanes, by the calling thread or the pool."""
    version = SmallVersion(twice_and_one)
    with Rig(version, fronts=2, most_rows=most_rows, seconds=LONG if slow else 1e-5) as rig:
        for burst in bursts:
            for wanted in burst:
                front = rig.fronts[wanted.lane]
                submit = front.submit_packed if wanted.packed else front.submit
                number = submit(*wanted.values, deadline=wanted.deadline)
                if wanted.abandoned:
                    front.producer.abandon(number)
            rig.work()
            for lane, front in enumerate(rig.fronts):
                own = [wanted for wanted in burst if wanted.lane == lane]
                for wanted, answer in zip(own, front.answers(), strict=True):
                    wanted.check(answer)
    assert all(len(rows) <= max(most_rows, 5) for rows in version.joined + version.alone)

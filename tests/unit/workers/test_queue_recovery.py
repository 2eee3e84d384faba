"""A worker dies and another goes on where it stopped: nothing is lost, and what kills is not tried for ever."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_rig import NOW, Answer, Front, Rig, good
from small_version import Array, SmallVersion, WorkerDeath, twice_and_one
from test_queue import EXPIRED, GONE

from ringserve.errors import Code
from shm.layout import EARLY, FLAGS_SHIFT, VERDICT_WORD
from workers.limits import Limits

LETHAL = 666.0
BY_DEADLINE = Limits(1, by_deadline=True)
DIED_TWICE = Answer(Code.INTERNAL, text="The worker died twice while it ran this request", packed=True)


def lethal(x: Array) -> Array:
    if (x == LETHAL).any():
        raise WorkerDeath
    return twice_and_one(x)


@pytest.fixture
def version() -> SmallVersion:
    return SmallVersion(lethal)


def work_and_die(rig: Rig) -> int:
    """Until all is answered, a new worker for each that dies; says how many died."""
    deaths = 0
    while True:
        try:
            rig.work()
            return deaths
        except WorkerDeath:
            deaths += 1
            rig.start_worker()


def test_a_worker_that_ended_between_batches_left_no_suspects(version: SmallVersion) -> None:
    with Rig(version) as rig:
        rig.front.submit(1.0)
        rig.work()
        rig.front.submit(2.0)
        rig.front.submit(3.0)
        rig.start_worker()
        rig.work()
        assert rig.front.answers() == [good(3.0), good(5.0), good(7.0)]
        assert version.joined == [[1.0], [2.0, 3.0]]


def test_suspects_run_alone_and_the_rest_together(version: SmallVersion) -> None:
    with Rig(version) as rig:
        for row in (1.0, 2.0, 3.0):
            rig.front.submit(row)
        rig.queue.lanes[0].consumer.take(3)  # and dies of something else
        rig.front.submit(4.0)
        rig.front.submit(5.0)
        rig.start_worker()
        rig.work()
        assert rig.front.answers() == [good(2 * row + 1) for row in (1.0, 2.0, 3.0, 4.0, 5.0)]
        assert (version.alone, version.joined) == ([[1.0], [2.0], [3.0]], [[4.0, 5.0]])


def test_suspects_of_every_lane_run_alone(version: SmallVersion) -> None:
    with Rig(version, fronts=2) as rig:
        for front in rig.fronts:
            front.submit(1.0)
            front.submit_packed(2.0)
        for lane in rig.queue.lanes:
            lane.consumer.take(2)
        rig.start_worker()
        rig.work()
        for front in rig.fronts:
            assert front.answers() == [good(3.0), good(5.0, packed=True)]
        assert (version.alone, version.joined) == ([[1.0], [2.0]] * 2, [])


def test_a_request_that_kills_is_answered_after_the_second_time(version: SmallVersion) -> None:
    with Rig(version) as rig:
        for row in (1.0, LETHAL, 3.0):
            rig.front.submit(row)
        assert work_and_die(rig) == 2
        assert rig.front.answers() == [good(3.0), DIED_TWICE, good(7.0)]
        assert (version.joined, version.alone) == ([[1.0, LETHAL, 3.0]], [[1.0], [LETHAL], [3.0]])


def test_a_packed_request_that_kills(version: SmallVersion) -> None:
    with Rig(version) as rig:
        rig.front.submit_packed(LETHAL)
        rig.front.submit(2.0)
        assert work_and_die(rig) == 2
        assert rig.front.answers() == [DIED_TWICE, good(5.0)]


def test_a_suspect_that_was_tried_before_is_not_run(version: SmallVersion) -> None:
    """A worker had begun each of these alone when it died."""
    with Rig(version) as rig:
        numbers = [rig.front.submit(row) for row in (1.0, 2.0)]
        rig.front.lane.descriptors["attempts"][numbers] = 1
        rig.queue.lanes[0].consumer.take(2)
        rig.front.submit(3.0)
        rig.start_worker()
        rig.work()
        assert rig.front.answers() == [DIED_TWICE, DIED_TWICE, good(7.0)]
        assert version.joined == [[3.0]]


def test_tries_do_not_count_for_the_next_request_in_the_slot(version: SmallVersion) -> None:
    with Rig(version) as rig:
        rig.front.submit(LETHAL)
        assert work_and_die(rig) == 2
        assert rig.front.answers() == [DIED_TWICE]
        for _ in range(rig.front.lane.spec.slots):
            rig.front.submit(1.0)
        rig.queue.lanes[0].consumer.take(1)
        rig.start_worker()
        rig.work()
        assert rig.front.answers() == [good(3.0)] * rig.front.lane.spec.slots


def test_suspects_that_nobody_waits_for_are_not_run(version: SmallVersion) -> None:
    with Rig(version) as rig:
        front = rig.front
        front.submit(LETHAL, deadline=NOW)
        front.producer.abandon(front.submit(LETHAL))
        rig.queue.lanes[0].consumer.take(2)
        rig.start_worker()
        rig.work()
        assert front.answers() == [EXPIRED, GONE]
        assert version.runs == 0


def test_what_was_answered_early_is_not_run_again(version: SmallVersion) -> None:
    """Though an older one killed the worker, twice. The front end is rung: it may not have been before."""
    with Rig(version, limits=BY_DEADLINE) as rig:
        rig.front.submit(LETHAL)
        rig.front.submit_packed(2.0, deadline=NOW + 9)
        rig.front.submit(-3.0, deadline=NOW + 8)
        rig.front.submit(4.0)
        with pytest.raises(WorkerDeath):
            rig.work()
        assert sorted(rig.front.producer.early_numbers(0)) == [1, 2]
        rig.front.bell.wait(0)
        rig.start_worker()
        assert work_and_die(rig) == 1
        assert rig.front.bell.wait(0)
        killed, second, third, fourth = rig.front.answers()
        assert (killed, second, fourth) == (DIED_TWICE, good(5.0, packed=True), good(9.0))
        assert third.text == "negative row -3"
        assert sorted(version.alone) == [[-3.0], [2.0], [4.0], [LETHAL], [LETHAL]]


def test_of_early_answers_the_front_end_is_told(version: SmallVersion) -> None:
    """All suspects were answered, and the worker died before it said so."""
    with Rig(version) as rig:
        rig.front.submit(1.0)
        rig.front.submit(2.0)
        consumer = rig.queue.lanes[0].consumer
        consumer.look_past(2)
        consumer.finish(consumer.begin(1), 5, 6, 1, early=True)
        rig.front.lane.outputs[0][:2] = [3.0, 5.0]
        rig.front.lane.descriptor_words[VERDICT_WORD] |= EARLY << FLAGS_SHIFT
        rig.start_worker()
        assert rig.turn()
        assert rig.front.bell.wait(0)
        assert rig.front.answers() == [good(3.0), good(5.0)]
        assert version.runs == 0
        assert not rig.turn()


def test_a_suspects_own_error_is_its_answer(version: SmallVersion) -> None:
    with Rig(version) as rig:
        rig.front.submit(-1.0)
        rig.front.submit(2.0)
        rig.queue.lanes[0].consumer.take(2)
        rig.start_worker()
        rig.work()
        guilty, innocent = rig.front.answers()
        assert (guilty.code, guilty.text) == (Code.INVALID_ARGUMENT, "negative row -1")
        assert innocent == good(5.0)


@dataclass(frozen=True)
class Sent:
    lane: int
    row: float
    packed: bool
    deadline: int = 0

    def to(self, front: Front) -> None:
        (front.submit_packed if self.packed else front.submit)(self.row, deadline=self.deadline)

    @property
    def answer(self) -> Answer | tuple[float, ...]:
        return DIED_TWICE if self.row == LETHAL else (2 * self.row + 1,)


SENT = st.builds(
    Sent,
    lane=st.integers(0, 1),
    row=st.one_of(st.integers(0, 50).map(float), st.just(LETHAL)),
    packed=st.sampled_from([False, False, True]),
    deadline=st.sampled_from([0, NOW + 5, NOW + 9]),
)


@settings(deadline=None)
@given(st.lists(st.lists(SENT, max_size=8), max_size=4), st.integers(1, 8), st.booleans())
def test_whatever_kills_and_whenever_all_others_get_their_answer(
    bursts: list[list[Sent]], most_rows: int, by_deadline: bool
) -> None:
    version = SmallVersion(lethal)
    with Rig(version, fronts=2, limits=Limits(most_rows, by_deadline=by_deadline)) as rig:
        for burst in bursts:
            for sent in burst:
                sent.to(rig.fronts[sent.lane])
            deaths = work_and_die(rig)
            assert deaths <= 2 * sum(sent.row == LETHAL for sent in burst)
            for lane, front in enumerate(rig.fronts):
                found = [answer if answer.code else answer.values for answer in front.answers()]
                assert found == [sent.answer for sent in burst if sent.lane == lane]

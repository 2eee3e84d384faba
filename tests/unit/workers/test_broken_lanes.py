"""Lanes whose front end has written what can't be: the worker closes such a lane, and no other suffers from it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from loop_thread import new_loop, running, until
from queue_rig import LONG, SPEC, Front, Rig, good
from small_version import LIMIT, SmallVersion
from test_queue_pool import gated

from shm.layout import SUBMITTED
from workers.limits import Limits
from workers.loop import Loop

loop = new_loop

Harm = Callable[[Front], None]


def submitted_too_far(front: Front) -> None:
    front.lane.words[SUBMITTED] = front.lane.words[SUBMITTED] + SPEC.slots + 1


def submitted_backwards(front: Front) -> None:
    front.submit(1.0)
    front.lane.words[SUBMITTED] = 0


def submitted_beyond_all_numbers(front: Front) -> None:
    front.lane.words[SUBMITTED] = 2**64 - 1


def scribbled(count: int, **words: int) -> Harm:
    """This many requests with these words in each."""

    def harm(front: Front) -> None:
        for _ in range(count):
            number = front.submit(1.0)
            for name, value in words.items():
                front.lane.descriptors[number % SPEC.slots][name] = value

    return harm


HARMS = [
    submitted_too_far,
    submitted_beyond_all_numbers,
    scribbled(1, position=SPEC.rows),
    scribbled(1, position=2**64 - 1),
    scribbled(3, position=2**64 - 1),
    scribbled(3, position=2**63),
    scribbled(1, rows=0),
    scribbled(1, rows=SPEC.rows + 1),
    scribbled(3, rows=2**32 - 1),
    scribbled(2, position=SPEC.rows - 1, rows=2),
    scribbled(40, position=2**64 - 1),
    scribbled(40, position=2**63),
    scribbled(40, rows=2**32 - 1),
    scribbled(40, rows=0),
]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("harm", HARMS)
def test_only_the_broken_lane_is_closed(loop: Loop, harm: Harm, order: int, caplog: pytest.LogCaptureFixture) -> None:
    """In one ring both lanes have something: the good one's answer must come without another."""
    version = SmallVersion()
    with Rig(version, fronts=2, most_rows=SPEC.rows) as rig:
        loop.add(rig.queue)
        good_one, bad_one = rig.fronts if order else rig.fronts[::-1]
        broken = next(lane for lane in rig.queue.lanes if lane.number == rig.fronts.index(bad_one))
        good_one.submit(1.0)
        good_one.submit(2.0)
        harm(bad_one)
        with running(loop):
            loop.doorbell.ring()
            assert good_one.bell.wait(LIMIT)
            until(lambda: good_one.producer.completed == 2)
            assert good_one.answers() == [good(3.0), good(5.0)]
            good_one.submit(3.0)
            loop.doorbell.ring()
            until(lambda: good_one.producer.completed == 3)
            assert good_one.answers() == [good(7.0)]
        assert [lane.number for lane in rig.queue.lanes] == [rig.fronts.index(good_one)]
        assert bad_one.producer.completed == 0
        assert (broken.dropped, broken.doorbell.fd) == (True, -1), "and leaves no descriptor behind"
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "said once"
    assert "its front end broke it" in caplog.text


@pytest.mark.parametrize("harm", [*HARMS, submitted_backwards])
def test_a_lane_broken_later(loop: Loop, harm: Harm) -> None:
    with Rig(SmallVersion(), most_rows=SPEC.rows) as rig:
        loop.add(rig.queue)
        rig.front.submit(1.0)
        while loop.turn():
            pass
        assert rig.front.answers() == [good(3.0)]
        harm(rig.front)
        while loop.turn():
            pass
        assert rig.queue.lanes == []
        assert rig.front.producer.completed == 1
        rig.front.submit(2.0)
        assert not loop.turn()


@pytest.mark.parametrize("packed", [False, True])
def test_what_came_before_it_in_its_lane_is_run(loop: Loop, packed: bool) -> None:
    """Where requests are looked at one by one."""
    with Rig(SmallVersion(), limits=Limits(4, by_deadline=True)) as rig:
        loop.add(rig.queue)
        (rig.front.submit_packed if packed else rig.front.submit)(1.0)
        scribbled(1, position=SPEC.rows)(rig.front)
        rig.front.submit(2.0)
        while loop.turn():
            pass
        assert rig.queue.lanes == []
        assert rig.front.producer.completed == 1
        assert rig.front.answer(0).values == (3.0,)


def test_what_other_lanes_hold_is_not_lost_with_it(loop: Loop) -> None:
    """Their requests had been looked at when it was found out, and are known to the queue alone."""
    with Rig(SmallVersion(), fronts=3, limits=Limits(4, by_deadline=True)) as rig:
        loop.add(rig.queue)
        for front, value in zip(rig.fronts, (1.0, 2.0, 3.0), strict=True):
            front.submit(value)
        submitted_beyond_all_numbers(rig.fronts[1])
        while loop.turn():
            pass
        assert [rig.fronts[index].answers()[0].values for index in (0, 2)] == [(3.0,), (7.0,)]
        assert len(rig.queue.lanes) == 2


def test_a_batch_that_runs_in_a_broken_lane_ends_quietly(loop: Loop) -> None:
    version = gated(1.0)
    with Rig(version, seconds=LONG) as rig:
        loop.add(rig.queue)
        rig.front.submit(1.0)
        assert loop.turn()
        submitted_beyond_all_numbers(rig.front)
        while loop.turn():
            pass
        assert rig.queue.lanes == []
        version.gates[1.0].set()
        rig.post()
        assert rig.front.producer.completed == 1


def test_another_queues_lanes_know_nothing_of_it(loop: Loop) -> None:
    with Rig(SmallVersion()) as bad, Rig(SmallVersion()) as unharmed:
        loop.add(bad.queue, unharmed.queue)
        submitted_too_far(bad.front)
        unharmed.front.submit(1.0)
        loop.turn()
        assert unharmed.front.answers() == [good(3.0)]
        assert (len(bad.queue.lanes), len(unharmed.queue.lanes)) == (0, 1)

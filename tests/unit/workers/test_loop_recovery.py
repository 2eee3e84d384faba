"""Lanes with suspects, requests that a worker before had begun when it died: nothing runs beside one in the whole worker."""

from __future__ import annotations

from loop_thread import Clock, Nap, new_clock, new_loop, new_nap, turns
from queue_rig import LONG, Rig, good
from small_version import SmallVersion
from test_queue_pool import gated

from ringserve.errors import Code
from workers.limits import Limits
from workers.loop import Loop

clock = new_clock
loop = new_loop
nap = new_nap


def dies(rig: Rig, number: int, count: int) -> None:
    """The worker takes so many requests of a lane and ends; the next one has no lanes yet."""
    lane = next(lane for lane in rig.queue.lanes if lane.number == number)
    lane.consumer.take(count)
    rig.start_worker(lanes=[])


def test_of_slow_suspects_one_runs_at_a_time(loop: Loop) -> None:
    """If it kills, it must be the only one that is blamed; so nothing else is begun before the last has ended."""
    version = gated(1.0, 2.0, 3.0, 4.0)
    with Rig(version, seconds=LONG, most_in_flight=4) as rig:
        for row in version.gates:
            rig.front.submit(row)
        dies(rig, 0, 3)
        rig.add_lane(0)
        loop.add(rig.queue)
        loop.recover()
        for count, gate in enumerate(version.gates.values(), start=1):
            turns(loop)
            assert rig.queue.lanes[0].consumer.taken == count
            gate.set()
            rig.post()
        assert rig.front.answers() == [good(2 * row + 1) for row in version.gates]
        assert version.most_at_once == 1


def test_a_suspect_waits_for_what_runs_already(loop: Loop) -> None:
    """Its lane is handed over while batches of another one are in flight."""
    version = gated(1.0, 2.0)
    with Rig(version, fronts=2, seconds=LONG, most_in_flight=4) as rig:
        rig.fronts[1].submit(2.0)
        rig.fronts[1].submit(3.0)
        dies(rig, 1, 1)
        rig.add_lane(0)
        loop.add(rig.queue)
        rig.fronts[0].submit(1.0)
        turns(loop)
        rig.add_lane(1)
        loop.recover()
        turns(loop)
        suspected = rig.queue.lanes[1].consumer
        assert suspected.taken == 0
        version.gates[1.0].set()
        rig.post()
        turns(loop)
        assert suspected.taken == 1
        version.gates[2.0].set()
        rig.post()
        turns(loop)
        rig.post()
        assert rig.fronts[1].answers() == [good(5.0), good(7.0)]
        assert version.most_at_once == 1


def test_other_queues_wait_for_suspects_and_are_not_forgotten(loop: Loop) -> None:
    """What waits there was rung for before: it must run without another ring, also where a suspect is settled unrun."""
    suspicious, version = gated(2.0), SmallVersion()
    with Rig(suspicious, seconds=LONG) as rig, Rig(version) as other:
        tried = rig.front.submit(1.0)
        rig.front.submit(2.0)
        rig.front.lane.descriptors[tried]["attempts"] = 1
        other.front.submit(5.0)
        dies(rig, 0, 2)
        rig.add_lane(0)
        loop.add(other.queue, rig.queue)
        loop.recover()
        turns(loop)
        assert (rig.queue.lanes[0].consumer.taken, version.joined) == (2, [])
        suspicious.gates[2.0].set()
        rig.post()
        turns(loop)
        assert [answer.code for answer in rig.front.answers()] == [Code.INTERNAL, Code.OK]
        assert other.front.answers() == [good(11.0)]


def test_a_batch_that_was_held_back_waits_for_suspects_asleep(nap: Nap, clock: Clock) -> None:
    """Its time comes while a suspect runs, whose end is what it is waited for then."""
    loop, suspicious, version = nap.loop, gated(1.0), SmallVersion()
    with Rig(suspicious, seconds=LONG) as rig, Rig(version, limits=Limits(2, timeout=5)) as other:
        other.front.submit(5.0, now=clock.now)
        loop.add(other.queue)
        turns(loop)
        rig.front.submit(1.0)
        dies(rig, 0, 1)
        rig.add_lane(0)
        loop.add(rig.queue)
        loop.recover()
        clock.now += 5
        loop.run()
        assert (nap.slept, version.runs) == ([None], 0)
        suspicious.gates[1.0].set()
        rig.post()
        turns(loop)
        assert (rig.front.answers(), other.front.answers()) == ([good(3.0)], [good(11.0)])


def test_only_settled_suspects_hold_up_nobody(loop: Loop) -> None:
    version = SmallVersion()
    with Rig(version) as rig, Rig(version) as other:
        tried = rig.front.submit(1.0)
        rig.front.lane.descriptors[tried]["attempts"] = 1
        other.front.submit(5.0)
        dies(rig, 0, 1)
        rig.add_lane(0)
        loop.add(other.queue, rig.queue)
        loop.recover()
        turns(loop)
        assert [answer.code for answer in rig.front.answers()] == [Code.INTERNAL]
        assert other.front.answers() == [good(11.0)]


def test_recovery_without_a_suspect_left_is_over(loop: Loop) -> None:
    """Their lane may have been dropped meanwhile."""
    loop.recover()
    assert not loop.turn()
    with Rig(SmallVersion()) as rig:
        loop.recover()
        loop.add(rig.queue)
        rig.front.submit(1.0)
        turns(loop)
        assert rig.front.answers() == [good(3.0)]

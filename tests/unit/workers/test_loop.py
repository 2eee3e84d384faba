"""The worker's loop: commands, turns of the queues, sleep and wake-up, heartbeats."""

from __future__ import annotations

import threading
import time

import pytest
from loop_thread import Clock, Nap, new_clock, new_loop, new_nap, running, turns, until
from queue_rig import Rig, good
from small_version import SmallVersion

from shm.layout import WORKER_HEARTBEAT
from workers.limits import Limits
from workers.loop import Loop

clock = new_clock
loop = new_loop
nap = new_nap

MINUTE = 60_000_000_000


def test_a_command_runs_in_the_loops_thread(loop: Loop) -> None:
    ran: list[int] = []
    with running(loop):
        loop.post(lambda: ran.append(threading.get_ident()))
        until(lambda: bool(ran))
    assert ran[0] != threading.get_ident()


def test_commands_run_in_their_order_between_batches(loop: Loop) -> None:
    with Rig(SmallVersion()) as rig:
        order: list[str] = []
        rig.front.submit(1.0)
        loop.post(lambda: order.append("first"))
        loop.post(lambda: loop.add(rig.queue))
        loop.post(lambda: order.append("last"))
        assert loop.turn()
        assert order == ["first", "last"]
        assert rig.front.answers() == [good(3.0)]


def test_queues_whose_batches_take_about_the_same_take_turns(loop: Loop) -> None:
    version = SmallVersion()
    with Rig(version, most_rows=1) as one, Rig(version, most_rows=1) as other:
        loop.add(one.queue, other.queue)
        for _ in range(3):
            one.front.submit(1.0)
            other.front.submit(2.0)
        while loop.turn():
            pass
        # Later ones by what the first took, which on a busy machine may differ.
        assert sorted(version.joined[:2]) == [[1.0], [2.0]]
        assert sorted(version.joined) == [[1.0]] * 3 + [[2.0]] * 3


def test_one_ring_wakes_for_all_that_waits(loop: Loop) -> None:
    with Rig(SmallVersion(), most_rows=2) as rig:
        loop.add(rig.queue)
        for row in range(9):
            rig.front.submit(float(row))
        with running(loop):
            loop.doorbell.ring()
            until(lambda: rig.front.producer.completed == 9)
        assert rig.front.answers() == [good(2.0 * row + 1) for row in range(9)]


def test_a_queue_that_is_busy_keeps_no_other_waiting(loop: Loop) -> None:
    version = SmallVersion()
    with Rig(version, most_rows=1) as busy, Rig(version, most_rows=1) as other:
        loop.add(busy.queue, other.queue)
        for _ in range(50):
            busy.front.submit(1.0)
        assert loop.turn()
        other.front.submit(2.0)  # nobody looks at its lane for a while, and its ring may have been heard before
        give_up = time.monotonic() + 20
        while not other.front.producer.completed:
            assert loop.turn() and time.monotonic() < give_up
        assert busy.front.producer.completed < 50


def test_a_lane_that_was_quiet_is_looked_at_after_each_ring(loop: Loop) -> None:
    with Rig(SmallVersion()) as one, Rig(SmallVersion()) as other:
        loop.add(one.queue, other.queue)
        with running(loop):
            for front in (one.front, other.front, other.front, one.front, other.front):
                before = front.producer.completed
                front.submit(1.0)
                loop.doorbell.ring()
                until(lambda: front.producer.completed == before + 1)  # noqa: B023 - called in this turn of the loop only


def test_a_batch_that_is_held_back_is_what_the_loop_wakes_for(nap: Nap, clock: Clock) -> None:
    """Its requests have rung already. Once another one fills it, nothing is to be waited for."""
    loop = nap.loop
    with Rig(SmallVersion(), limits=Limits(2, timeout=MINUTE)) as one, Rig(SmallVersion(), limits=Limits(2)) as other:
        loop.add(one.queue, other.queue)
        one.front.submit(1.0, now=clock.now)
        other.front.submit(2.0)
        turns(loop)
        assert other.front.answers() == [good(5.0)]
        loop.run()
        assert nap.slept == [pytest.approx(60)]
        one.front.submit(3.0)
        turns(loop)
        assert one.front.answers() == [good(3.0), good(7.0)]
        loop.stopping = False
        loop.run()
        assert nap.slept[1:] == [None]


def test_a_batch_runs_when_its_time_is_over(loop: Loop) -> None:
    with Rig(SmallVersion(), limits=Limits(9, timeout=3_000_000)) as rig:
        loop.add(rig.queue)
        with running(loop):
            began = time.monotonic_ns()
            rig.front.submit(1.0, now=began)
            loop.doorbell.ring()
            until(lambda: rig.front.producer.completed == 1)
        assert rig.front.batches()[0].begun >= began + 3_000_000


@pytest.mark.parametrize("packed", [False, True])
def test_a_queue_that_goes_is_waited_for_no_more(nap: Nap, clock: Clock, packed: bool) -> None:
    loop = nap.loop
    with Rig(SmallVersion(), limits=Limits(2, timeout=MINUTE)) as rig:
        loop.add(rig.queue)
        lanes = list(rig.queue.lanes)
        (rig.front.submit_packed if packed else rig.front.submit)(1.0, now=clock.now)
        turns(loop)
        rig.queue.when_idle(lambda: loop.remove(rig.queue))
        loop.run()
        assert nap.slept == [None]
        assert not turns(loop)
        for lane in lanes:
            lane.drop()


def test_a_beat_shows_in_every_lane(loop: Loop) -> None:
    with Rig(SmallVersion(), fronts=2) as rig:
        loop.add(rig.queue)
        before = time.monotonic_ns()
        loop.post(loop.beat)
        loop.turn()
        for front in rig.fronts:
            assert before <= front.lane.words[WORKER_HEARTBEAT] <= time.monotonic_ns()

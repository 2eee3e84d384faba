"""The worker's loop: commands, turns of the queues, sleep and wake-up, heartbeats."""

from __future__ import annotations

import threading
import time

from loop_thread import new_loop, running, until
from queue_rig import Rig, good
from small_version import SmallVersion

from shm.layout import WORKER_HEARTBEAT
from workers.loop import Loop

loop = new_loop


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


def test_queues_take_turns_a_batch_each(loop: Loop) -> None:
    version = SmallVersion()
    with Rig(version, most_rows=1) as one, Rig(version, most_rows=1) as other:
        loop.add(one.queue, other.queue)
        for _ in range(3):
            one.front.submit(1.0)
            other.front.submit(2.0)
        assert [loop.turn() for _ in range(4)] == [True, True, True, False]
        assert version.joined == [[1.0], [2.0]] * 3


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


def test_a_beat_shows_in_every_lane(loop: Loop) -> None:
    with Rig(SmallVersion(), fronts=2) as rig:
        loop.add(rig.queue)
        before = time.monotonic_ns()
        loop.post(loop.beat)
        loop.turn()
        for front in rig.fronts:
            assert before <= front.lane.words[WORKER_HEARTBEAT] <= time.monotonic_ns()

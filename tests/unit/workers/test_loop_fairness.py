"""Queues share a worker's time, not its batches, in a time that only runs take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from loop_thread import Clock, new_clock, new_loop
from queue_rig import Rig
from small_version import Array, SmallVersion
from test_queue_pool import gated

from workers.loop import Loop

clock = new_clock
loop = new_loop

QUICK = 15_000  # ns of a run; what takes less than 2 ms stays in the loop
LONG = 1_500_000
SECOND = 1_000_000_000


class Busy:
    """A queue with runs of one row that take so long each, and clients that never tire."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.done = 0

    def ask(self) -> None:
        producer = self.rig.front.producer
        self.done += producer.completed - producer.released
        producer.release(producer.completed)
        while producer.outstanding < 8:
            self.rig.front.submit(1.0)


@pytest.fixture
def busy(clock: Clock, loop: Loop) -> Iterator[list[Busy]]:
    """A quick one and two whose runs take a hundred times as long, all in the loop; they ask when told."""

    def taking(nanoseconds: int) -> SmallVersion:
        def run(x: Array) -> Array:
            clock.now += nanoseconds
            return x

        return SmallVersion(run)

    with ExitStack() as stack:
        rigs = [
            stack.enter_context(Rig(taking(nanoseconds), most_rows=1, seconds=nanoseconds * 1e-9))
            for nanoseconds in (QUICK, LONG, LONG)
        ]
        loop.add(*(rig.queue for rig in rigs))
        yield [Busy(rig) for rig in rigs]


def work(loop: Loop, clock: Clock, busy: list[Busy], nanoseconds: int) -> list[int]:
    """All of them ask all the time; returns how many runs of each were answered meanwhile."""
    before = [one.done for one in busy]
    end = clock.now + nanoseconds
    while clock.now < end:
        for one in busy:
            one.ask()
        assert loop.turn()
    return [one.done - count for one, count in zip(busy, before, strict=True)]


def test_runs_of_a_hundred_times_the_length_get_a_hundredth_of_the_turns(loop: Loop, clock: Clock, busy: list[Busy]) -> None:
    quick, long = work(loop, clock, busy[:2], SECOND)
    assert quick * QUICK == pytest.approx(SECOND / 2, rel=0.02)
    assert long * LONG == pytest.approx(SECOND / 2, rel=0.02)


def test_all_share_alike(loop: Loop, clock: Clock, busy: list[Busy]) -> None:
    done = work(loop, clock, busy, SECOND)
    times = [count * nanoseconds for count, nanoseconds in zip(done, (QUICK, LONG, LONG), strict=True)]
    assert times == pytest.approx([SECOND / 3] * 3, rel=0.03)


def test_who_had_nothing_to_run_has_no_credit(loop: Loop, clock: Clock, busy: list[Busy]) -> None:
    """Else the two others would stand still until it had its share of the time in which it was idle."""
    quick, first, _ = busy
    work(loop, clock, [quick], SECOND // 10)
    work(loop, clock, [first], SECOND)
    done = work(loop, clock, busy, SECOND // 10)
    times = [count * nanoseconds for count, nanoseconds in zip(done, (QUICK, LONG, LONG), strict=True)]
    assert times == pytest.approx([SECOND / 30] * 3, abs=2.5 * LONG)


def test_a_quick_queue_alone_has_all_the_time(loop: Loop, clock: Clock, busy: list[Busy]) -> None:
    work(loop, clock, busy, SECOND // 10)
    (done,) = work(loop, clock, busy[:1], SECOND // 10)
    assert done * QUICK >= SECOND // 10 - 2 * LONG * 8


def test_a_queue_that_may_not_begin_holds_up_no_other(loop: Loop, clock: Clock, busy: list[Busy]) -> None:
    """All its batches are in the pool, more requests wait, and it has had the least time."""
    clock.step = 10_000  # any look at the clock takes longer than may pass until the next look at the lanes
    blocked = gated(1.0)
    quick = busy[0]
    with Rig(blocked, most_rows=1, seconds=0.1) as slow:
        loop.add(slow.queue)
        for _ in range(5):
            slow.front.submit(1.0)
        while slow.queue.in_flight < 2:
            assert loop.turn()
        quick.rig.queue.economy.spent = SECOND
        for row in range(5):
            quick.rig.front.submit(float(row))
        for _ in range(6):
            loop.turn()
        assert quick.rig.front.producer.completed == 5
        assert slow.front.producer.completed == 0

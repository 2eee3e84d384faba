"""Batches that take long: in the pool, several at once, ending in any order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from queue_rig import FORM, LONG, NOW, Rig, good
from small_version import LIMIT, SmallVersion

from ringserve.errors import Code
from ringserve.signature import DEFAULT_SIGNATURE
from shm.layout import COMPLETED
from workers.batch import Batch
from workers.limits import Closed, Limits
from workers.planner import Piece
from workers.probe import Report
from workers.queued_lane import Part
from workers.runner import Runner


def gated(*rows: float) -> SmallVersion:
    """A version that waits in each run with one of these rows until its gate is open."""
    version = SmallVersion()
    version.gates = {row: threading.Event() for row in rows}
    return version


@pytest.fixture
def often_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_short_runs_stay_in_the_loop() -> None:
    version = SmallVersion()
    with Rig(version) as rig:
        rig.front.submit(1.0)
        rig.turn()
        assert rig.posted.empty()
        assert rig.front.answers() == [good(3.0)]


def test_batches_end_in_any_order_and_are_answered_in_theirs() -> None:
    version = gated(1.0, 2.0, 3.0)
    with Rig(version, most_rows=1, seconds=LONG, most_in_flight=3) as rig:
        front = rig.front
        for row in (1.0, 2.0, 3.0):
            front.submit(row)
        assert rig.turns() == 3
        for row in (3.0, 2.0):
            version.gates[row].set()
            rig.post()
            assert front.producer.completed == 0, "the first is still running"
            assert not front.bell.wait(0)
        version.gates[1.0].set()
        rig.post()
        assert front.producer.completed == 3
        assert front.bell.wait(0)
        assert front.answers() == [good(3.0), good(5.0), good(7.0)]


def test_answers_in_another_lane_need_not_wait() -> None:
    version = gated(1.0)
    with Rig(version, fronts=2, most_rows=1, seconds=LONG) as rig:
        rig.fronts[0].submit(1.0)
        assert rig.turn()
        rig.fronts[1].submit(2.0)
        assert rig.turn()
        rig.post()
        assert rig.fronts[1].answers() == [good(5.0)]
        assert rig.fronts[0].producer.completed == 0
        version.gates[1.0].set()
        rig.post()
        assert rig.fronts[0].answers() == [good(3.0)]


def test_no_more_batches_than_allowed_are_in_flight() -> None:
    """What comes meanwhile grows the next batch."""
    version = gated(1.0, 2.0)
    with Rig(version, seconds=LONG, most_in_flight=2) as rig:
        for row in (1.0, 2.0):
            rig.front.submit(row)
            assert rig.turn()
        for row in (5.0, 6.0, 7.0):
            rig.front.submit(row)
            assert not rig.turn()
        version.gates[2.0].set()
        rig.post()
        assert rig.turn()
        version.gates[1.0].set()
        rig.work()
        assert rig.front.answers() == [good(2 * row + 1) for row in (1.0, 2.0, 5.0, 6.0, 7.0)]
        assert sorted(version.joined) == [[1.0], [2.0], [5.0, 6.0, 7.0]]
        assert version.most_at_once == 2


def test_what_is_not_run_waits_for_no_pool() -> None:
    version = gated(1.0)
    with Rig(version, most_rows=1, seconds=LONG) as rig:
        rig.front.submit(1.0)
        rig.front.submit(2.0, deadline=NOW)
        rig.front.submit(3.0)
        assert rig.turns() == 2
        assert sorted(rig.front.producer.early_numbers(0)) == [1], "answered while the others run"
        rig.post()
        version.gates[1.0].set()
        rig.post()
        assert [answer.code for answer in rig.front.answers()] == [Code.OK, Code.DEADLINE_EXCEEDED, Code.OK]


def test_a_fault_in_the_pool_is_an_answer() -> None:
    def faulty(_: object) -> object:
        raise RuntimeError("engine out of order")

    version = SmallVersion(faulty)  # type: ignore[arg-type]
    with Rig(version, seconds=LONG) as rig:
        rig.front.submit(1.0)
        rig.work()
        (answer,) = rig.front.answers()
        assert (answer.code, answer.text) == (Code.INTERNAL, "worker error: engine out of order")


def test_a_queue_that_turns_out_quick_returns_to_the_loop() -> None:
    """The first run after a load can be slow: that must not leave a hop to the pool in every request's way for ever."""
    version = SmallVersion()
    with Rig(version, seconds=LONG / 2) as rig:
        for row in range(200):
            rig.front.submit(float(row))
            rig.work()
            rig.front.answers()
        rig.front.submit(1.0)
        assert rig.turn()
        assert rig.posted.empty()
        assert rig.front.answers() == [good(3.0)]


def test_when_idle_waits_for_the_last_batch() -> None:
    version = gated(1.0, 2.0)
    ended: list[str] = []
    with Rig(version, most_rows=1, seconds=LONG) as rig:
        for row in (1.0, 2.0):
            rig.front.submit(row)
        assert rig.turns() == 2
        lanes = list(rig.queue.lanes)
        rig.queue.when_idle(lambda: ended.append("idle"))
        for row in (2.0, 1.0):
            assert ended == []
            version.gates[row].set()
            rig.post()
        assert ended == ["idle"]
        assert not rig.turn()
        assert rig.front.answers() == [good(3.0), good(5.0)]
        for lane in lanes:
            lane.drop()


def test_when_idle_is_now_where_nothing_runs() -> None:
    ended: list[str] = []
    with Rig(SmallVersion()) as rig:
        lanes = list(rig.queue.lanes)
        rig.queue.when_idle(lambda: ended.append("idle"))
        assert ended == ["idle"]
        for lane in lanes:
            lane.drop()


def test_a_lane_may_be_dropped_while_its_batch_runs() -> None:
    """The memory lives until the batch has ended; the doorbell is no longer rung."""
    version = gated(1.0)
    with Rig(version, seconds=LONG) as rig:
        rig.front.submit(1.0)
        assert rig.turn()
        (lane,) = rig.queue.lanes
        rig.queue.lanes.clear()
        lane.drop()
        version.gates[1.0].set()
        rig.post()
        assert rig.front.lane.words[COMPLETED] == 1
        assert not rig.front.bell.wait(0)


def test_runs_of_many_threads_share_the_functions(often_switching: None) -> None:
    """A function serves one thread at a time, and that there is none to spare is no error."""
    version = SmallVersion()
    runner = Runner(version, DEFAULT_SIGNATURE, Report(FORM, True, "", True, LONG, 1))
    with Rig(version, fronts=4, most_rows=1) as rig, ThreadPoolExecutor(4) as pool:
        rounds = 300

        def run(number: int) -> set[Code]:
            front, lane = rig.fronts[number], rig.queue.lanes[number]
            codes = set()
            for _ in range(rounds):
                position = front.submit(1.0)
                ticket = lane.consumer.take(1)
                row = lane.consumer.describe(position)[0]
                batch = Batch(1, 1, Closed.IDLE, 1, [Part(lane, ticket, Piece(1, row, 1))])
                runner.run(batch, Limits())
                lane.finish(ticket, 1, 2, 1)
                codes |= {answer.code for answer in front.answers()}
            return codes

        work: Callable[[int], set[Code]] = run
        found = [future.result(LIMIT) for future in [pool.submit(work, number) for number in range(4)]]
        assert found == [{Code.OK}] * 4
        assert version.runs == 4 * rounds

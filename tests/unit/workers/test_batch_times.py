"""What a worker's queue writes of its batches into the lanes: which requests, when, and how many rows in all."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from queue_rig import LONG, NOW, Record, Rig
from small_version import Array, SmallVersion, twice_and_one
from test_queue_pool import gated
from test_queue_recovery import LETHAL, SENT, Sent, lethal, work_and_die

NOT_RUN = (NOW, NOW, 0)


def test_one_batch_of_several_requests() -> None:
    inside: list[int] = []

    def slow(x: Array) -> Array:
        inside.append(time.monotonic_ns())
        return twice_and_one(x)

    with Rig(SmallVersion(slow)) as rig:
        for values in ([1.0], [2.0, 3.0], [4.0]):
            rig.front.submit(*values)
        before = time.monotonic_ns()
        rig.work()
        (record,) = rig.front.batches()
        assert (record.end, record.rows) == (3, 4)
        assert before <= record.begun <= inside[0] <= record.ended <= time.monotonic_ns()


def test_a_batch_over_several_lanes_has_the_rows_of_all() -> None:
    with Rig(SmallVersion(), fronts=3) as rig:
        for count, front in enumerate(rig.fronts, start=1):
            for _ in range(count):
                front.submit(1.0, 2.0)
        assert rig.turns() == 1
        records = [record for front in rig.fronts for record in front.batches()]
        assert [(record.end, record.rows) for record in records] == [(1, 12), (2, 12), (3, 12)]
        assert len({(record.begun, record.ended) for record in records}) == 1


def test_each_request_of_a_merged_batch_has_a_record() -> None:
    """They may have been taken in any order, and end in any."""
    with Rig(SmallVersion()) as rig:
        rig.front.submit_packed(1.0, 2.0, 3.0)
        rig.front.submit_packed()  # without rows
        rig.front.submit(4.0)
        rig.work()
        assert [(record.end, record.rows) for record in rig.front.batches()] == [(1, 4), (2, 1), (3, 4)]
        first, _, third = rig.front.batches()
        assert (first.begun, first.ended) == (third.begun, third.ended)
        assert all(0 < record.begun <= record.ended for record in rig.front.batches())


def test_what_fails_was_run() -> None:
    with Rig(SmallVersion()) as rig:
        rig.front.submit(1.0)
        rig.front.submit(-1.0)
        rig.work()
        (record,) = rig.front.batches()
        assert (record.end, record.rows) == (2, 2)
        assert NOW < record.begun <= record.ended


def test_what_nobody_waits_for_was_not_run() -> None:
    with Rig(SmallVersion()) as rig:
        front = rig.front
        front.submit(1.0, deadline=NOW)
        front.producer.abandon(front.submit(2.0))
        rig.work()
        assert front.batches() == [(1, *NOT_RUN), (2, *NOT_RUN)]


def test_batches_that_end_in_another_order() -> None:
    version = gated(1.0, 2.0)
    with Rig(version, most_rows=2, seconds=LONG) as rig:
        for row in (1.0, 1.0, 2.0):
            rig.front.submit(row)
        assert rig.turns() == 2
        version.gates[2.0].set()
        rig.post()
        assert rig.front.producer.completed == 0
        assert rig.front.producer.batch(2)[0] == 3
        version.gates[1.0].set()
        rig.post()
        first, second = rig.front.batches()
        assert (first.end, first.rows, second.end, second.rows) == (2, 2, 3, 1)
        assert first.ended > second.ended


def test_a_death_between_the_record_and_the_cursor() -> None:
    """The next worker writes anew, of batches that begin elsewhere."""
    with Rig(SmallVersion()) as rig:
        for row in range(4):
            rig.front.submit(float(row))
        consumer = rig.queue.lanes[0].consumer
        consumer.take(1)
        consumer.finish(consumer.take(3), 5, 6, 7)
        rig.start_worker()
        rig.work()
        records = rig.front.batches()
        assert [(record.end, record.rows) for record in records] == [(1, 1), (2, 1), (3, 1), (4, 1)]
        assert all(record.begun > NOW for record in records)


def test_what_killed_twice_was_not_run_the_third_time() -> None:
    with Rig(SmallVersion(lethal)) as rig:
        for row in (1.0, LETHAL, 3.0):
            rig.front.submit(row)
        assert work_and_die(rig) == 2
        assert [(record.end, record.rows) for record in rig.front.batches()] == [(1, 1), (2, 0), (3, 1)]
        assert rig.front.batches()[1] == (2, *NOT_RUN)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(SENT, max_size=8), max_size=12), st.integers(1, 8), st.booleans())
def test_each_request_is_in_one_batch_whoever_dies(bursts: list[list[Sent]], most_rows: int, in_pool: bool) -> None:
    """Over several rounds of the slots; in the pool nothing kills, since who dies there takes the test with it."""
    with Rig(SmallVersion(lethal), fronts=2, most_rows=most_rows, seconds=LONG if in_pool else 1e-5) as rig:
        for burst in bursts:
            sent = [one for one in burst if not (in_pool and one.row == LETHAL)]
            for one in sent:
                one.to(rig.fronts[one.lane])
            work_and_die(rig)
            for lane, front in enumerate(rig.fronts):
                first = front.producer.released
                records = front.batches()
                assert [record.end for record in records] == sorted({record.end for record in records})
                assert (records[-1].end if records else first) == first + sum(one.lane == lane for one in sent)
                for record, one in zip(records, [one for one in sent if one.lane == lane], strict=False):
                    assert isinstance(record, Record)
                    assert (record.rows == 0) == (record.begun == record.ended == NOW), one
                front.answers()

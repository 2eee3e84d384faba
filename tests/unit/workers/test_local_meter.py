"""What a worker counts of local clients' requests."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_client import LocalRig
from queue_rig import LONG, SPEC
from small_version import LIMIT, SmallVersion
from test_queue_pool import gated

from ringserve.servable import ServableId
from shm.counter_families import DURATION, QUEUE, REQUESTS, RUN, TIME_BOUNDS
from shm.counters import CounterTable
from workers.batch_counters import BatchCounters
from workers.local_meter import LocalMeter

ONE, TWO = ServableId("m", 1), ServableId("m", 2)
U64 = st.integers(0, 2**64 - 1)


@pytest.fixture
def table() -> Iterator[CounterTable]:
    table = CounterTable.create(1 << 20)
    yield table
    table.close()


def codes(table: CounterTable, version: str = "1", signature: str = "s") -> dict[str, int]:
    return {
        labels[-1]: cells[0]
        for family, labels, cells in table.read()
        if family == REQUESTS.name and labels[:-1] == ("m", version, signature, "predict", "SHM")
    }


def times(table: CounterTable, family: str) -> tuple[dict[int, int], int]:
    """How many by their bucket's lower bound, and the sum."""
    (cells,) = (cells for name, _, cells in table.read() if name == family)
    return {bound: count for bound, count in zip((0, *TIME_BOUNDS), cells[:-1], strict=True) if count}, cells[-1]


def test_requests_by_how_they_ended(table: CounterTable) -> None:
    meter = BatchCounters(table, "cpu:0").local_meter(ONE, "s")
    with LocalRig(SmallVersion(), counts=meter) as rig:
        for row in range(10):
            rig.client.submit(float(row))
        rig.client.submit_packed(1.0)
        rig.turns()
        assert codes(table) == {"OK": 11}
        rig.client.submit(1.0)
        rig.client.submit(-1.0)
        rig.client.submit(1.0)
        rig.turns()
        rig.client.submit(1.0, deadline=1)
        rig.turns()
        assert codes(table) == {"OK": 13, "INVALID_ARGUMENT": 1, "DEADLINE_EXCEEDED": 1}
        for family in (DURATION, QUEUE, RUN):
            assert sum(times(table, family.name)[0].values()) == 13
        assert rig.local.consumer._codes == {}


def test_what_a_front_end_counts_is_not_counted_here(table: CounterTable) -> None:
    with LocalRig(SmallVersion(), counts=LocalMeter(table, ONE, "s")) as rig:
        rig.front.submit(1.0)
        rig.client.submit(1.0)
        rig.turns()
        assert codes(table) == {"OK": 1}


def test_batches_in_the_pool(table: CounterTable) -> None:
    version = gated(1.0)
    with LocalRig(version, seconds=LONG, counts=LocalMeter(table, ONE, "s")) as rig:
        rig.client.submit(1.0)
        rig.begin()
        rig.client.submit(-2.0)
        rig.begin()
        assert rig.loop.doorbell.wait(LIMIT)
        rig.begin()
        assert codes(table) == {"INVALID_ARGUMENT": 1}
        version.gates[1.0].set()
        rig.turns()
        assert codes(table) == {"INVALID_ARGUMENT": 1, "OK": 1}


def test_times(table: CounterTable) -> None:
    meter = LocalMeter(table, ONE, "s")
    meter.ok(1_000_000, 0, 1_020_000, 1_050_000, 3)
    assert times(table, QUEUE.name) == ({18_000: 3}, 60_000)
    assert times(table, RUN.name) == ({18_000: 3}, 90_000)
    assert times(table, DURATION.name) == ({32_400: 3}, 150_000)


@settings(deadline=None, max_examples=50)
@given(st.lists(U64, min_size=1, max_size=9), st.lists(st.sampled_from([0, 0, 3, 13]), min_size=9, max_size=9))
def test_each_counts_as_it_would_alone(enqueued: list[int], ends: list[int]) -> None:
    tables = [CounterTable.create(1 << 16) for _ in range(2)]
    together, alone = (LocalMeter(table, ONE, "s") for table in tables)
    since, begun, ended = 10**12, 10**12 + 10**8, 10**12 + 10**9
    ends = ends[: len(enqueued)]
    together.finished(np.array(enqueued, "<u8"), since, ends if any(ends) else None, begun, ended)
    for at, code in zip(enqueued, ends, strict=True):
        alone.finished(np.array([at], "<u8"), since, [code] if code else None, begun, ended)
    one, other = ({(family, labels): cells for family, labels, cells in table.read()} for table in tables)
    assert one == other
    for table in tables:
        table.close()


def test_claimed_times_come_to_no_more_than_the_lane_can_hold(table: CounterTable) -> None:
    """Each request says that it was submitted when the machine was started."""
    with LocalRig(SmallVersion(), counts=LocalMeter(table, ONE, "s")) as rig:
        began = time.monotonic_ns()
        for _ in range(4):
            for row in range(SPEC.slots):
                number = rig.client.submit(float(row))
                rig.client.lane.descriptors[number % SPEC.slots]["enqueued"] = row % 2
            rig.turns()
            rig.client.answers()
        most = 2 * SPEC.slots * (time.monotonic_ns() - began) + 10**9
        for family in (DURATION, QUEUE):
            counts, total = times(table, family.name)
            assert sum(counts.values()) == 4 * SPEC.slots
            assert total <= most


def test_a_sum_that_is_full_stays_so(table: CounterTable) -> None:
    meter = LocalMeter(table, ONE, "s")
    for _ in range(4):
        meter.ok(0, 0, 2**62, 2**62, 3)
        meter.finished(np.array([0, 1], "<u8"), 0, None, 2**62, 2**62)
    assert times(table, QUEUE.name)[1] == 2**63 - 1
    assert codes(table) == {"OK": 20}


def test_a_version_that_is_gone_leaves_its_sums(table: CounterTable) -> None:
    counters = BatchCounters(table, "cpu:0")
    for servable in (ONE, TWO):
        counters.local_meter(servable, "s").ok(0, 0, 10, 20, 2)
        counters.meter(servable, "s").ran(2, 10)
    counters.retire(ONE)
    assert codes(table, "", "") == {"OK": 2}
    assert codes(table, "1") == {}
    assert codes(table, "2") == {"OK": 2}
    counters.retire(TWO)
    assert codes(table, "", "") == {"OK": 4}
    assert times(table, RUN.name) == ({10: 4}, 40) or times(table, RUN.name)[1] == 40

"""What a worker counts of its batches, in a table that outlives it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_thread import new_loop, turns
from queue_rig import FORM, LONG, NOW, SPEC, Front, Rig
from small_version import SmallVersion, WorkerDeath
from test_queue_pool import gated
from test_queue_recovery import LETHAL, lethal

from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from shm.consumer import LaneConsumer
from shm.counter_families import BATCH_RUN, BATCHES, ROWS_BOUNDS, TIME_BOUNDS
from shm.counters import CounterTable
from shm.lane import Lane
from workers.absent_version import AbsentVersion
from workers.batch_counters import GONE, BatchCounters, BatchMeter
from workers.engine import LoadedVersion
from workers.loop import Loop
from workers.probe import Report
from workers.queues import Queues
from workers.route import Route

loop = new_loop

ONE, TWO = ServableId("m", 1), ServableId("m", 2)
MICROSECOND = 1000


@pytest.fixture
def table() -> Iterator[CounterTable]:
    table = CounterTable.create(1 << 20)
    yield table
    table.close()


class Counted:
    """What a reader finds, by family and labels: of a histogram, how many fell below each bound, and the sum."""

    def __init__(self, table: CounterTable) -> None:
        self.rows = {(family, labels): cells for family, labels, cells in table.read()}

    def batches(self, version: str = "1", signature: str = DEFAULT_SIGNATURE) -> tuple[dict[int, int], int]:
        """How many batches by their bucket's lower bound, and the rows in all."""
        cells = self.rows[(BATCHES.name, ("m", version, signature, "cpu:0"))]
        return _buckets(cells, ROWS_BOUNDS), cells[-1]

    def runs(self, version: str = "1", signature: str = DEFAULT_SIGNATURE) -> tuple[dict[int, int], int]:
        cells = self.rows[(BATCH_RUN.name, ("m", version, signature, "cpu:0"))]
        return _buckets(cells, TIME_BOUNDS), cells[-1]


def _buckets(cells: tuple[int, ...], bounds: tuple[int, ...]) -> dict[int, int]:
    return {bound: count for bound, count in zip((0, *bounds), cells[:-1], strict=True) if count}


def test_a_value_at_a_bound_counts_beyond_it(table: CounterTable) -> None:
    meter = BatchCounters(table, "cpu:0").meter(ONE, "s")
    for rows, nanoseconds in ((1, 10 * MICROSECOND - 1), (2, 10 * MICROSECOND), (3, 0), (4, 18 * MICROSECOND)):
        meter.ran(rows, nanoseconds)
    counted = Counted(table)
    assert counted.batches(signature="s") == ({1: 1, 2: 2, 4: 1}, 10)
    assert counted.runs(signature="s") == ({0: 2, 10 * MICROSECOND: 1, 18 * MICROSECOND: 1}, 38 * MICROSECOND - 1)


@given(st.lists(st.tuples(st.integers(0, 2**33), st.integers(0, 2**50)), max_size=40))
def test_every_batch_counts_once(batches: list[tuple[int, int]]) -> None:
    table = CounterTable.create(1 << 16)
    meter = BatchCounters(table, "cpu:0").meter(ONE, "s")
    for rows, nanoseconds in batches:
        meter.ran(rows, nanoseconds)
    counted = Counted(table)
    for (buckets, total), values in ((counted.batches(signature="s"), 0), (counted.runs(signature="s"), 1)):
        assert sum(buckets.values()) == len(batches)
        assert total == sum(batch[values] for batch in batches)
    table.close()


def test_a_queue_counts_what_it_runs(table: CounterTable) -> None:
    meter = BatchCounters(table, "cpu:0").meter(ONE, DEFAULT_SIGNATURE)
    with Rig(SmallVersion(), fronts=2, meter=meter) as rig:
        for front in rig.fronts:  # one batch of 6 rows
            front.submit(1.0)
            front.submit(2.0, 3.0)
        rig.work()
        rig.front.submit_packed(1.0, 2.0, 3.0)
        rig.work()
        rig.front.submit(-1.0)  # an error of the model
        rig.work()
        rig.front.submit(1.0, deadline=NOW)
        rig.front.producer.abandon(rig.front.submit(1.0))
        rig.work()
        counted = Counted(table)
        assert counted.batches() == ({4: 1, 2: 1, 1: 1}, 10)
        runs, total = counted.runs()
        assert sum(runs.values()) == 3
        records = [record for record in rig.front.batches() if record.rows]
        assert total == sum(record.ended - record.begun for record in records)


def test_answers_do_not_wait_for_the_counters(table: CounterTable) -> None:
    completed: list[int] = []

    class Looking(BatchMeter):
        def ran(self, rows: int, nanoseconds: int) -> None:
            completed.append(rig.front.producer.completed)

    with Rig(SmallVersion(), meter=Looking(table, ("m", "1", DEFAULT_SIGNATURE, "cpu:0"))) as rig:
        rig.front.submit(1.0)
        rig.work()
        assert completed == [1]


def test_batches_in_the_pool_count_when_they_end(table: CounterTable) -> None:
    """In the loop's thread, which alone writes."""
    meter = BatchCounters(table, "cpu:0").meter(ONE, DEFAULT_SIGNATURE)
    version = gated(1.0)
    with Rig(version, seconds=LONG, meter=meter) as rig:
        rig.front.submit(1.0, 1.0)
        assert rig.turn()
        version.gates[1.0].set()
        ended = rig.posted.get(timeout=20)
        assert Counted(table).batches() == ({}, 0)
        ended()
        assert Counted(table).batches() == ({2: 1}, 2)


def test_the_next_worker_counts_on(table: CounterTable) -> None:
    def start() -> None:
        counters = BatchCounters(CounterTable.attach(os.dup(table.fd)), "cpu:0")
        rig._meter = counters.meter(ONE, DEFAULT_SIGNATURE)
        rig.start_worker()

    with Rig(SmallVersion(lethal)) as rig:
        start()
        rig.front.submit(1.0, 2.0)
        rig.work()
        rig.front.submit(LETHAL)
        rig.front.submit(1.0)
        for _ in range(2):
            with pytest.raises(WorkerDeath):
                rig.work()
            start()
        rig.work()
        assert Counted(table).batches() == ({2: 1, 1: 1}, 3), "what killed the worker did not end"


class House:
    """A worker's queues with lanes of `SmallVersion`."""

    def __init__(self, loop: Loop, table: CounterTable) -> None:
        self.loop = loop
        self.versions: dict[ServableId, LoadedVersion] = {ONE: SmallVersion(), TWO: SmallVersion()}
        self.queues = Queues(loop, self.versions.get, counters=BatchCounters(table, "cpu:0"))
        self.fronts: list[Front] = []

    def add(self, servable: ServableId, signature: str = DEFAULT_SIGNATURE, inputs: bool = True) -> Front:
        front = Front(SPEC)
        self.fronts.append(front)
        consumer = LaneConsumer(Lane.attach(os.dup(front.lane.segment.fd), SPEC))
        route = Route(servable, signature, FORM.inputs if inputs else None)
        report = Report(FORM, True, "", True, 1e-5, 32)
        self.queues.add(route, report, len(self.fronts), consumer, "rest", os.dup(front.bell.fd))
        return front

    def serve(self, front: Front, *rows: float) -> None:
        front.submit(*rows)
        turns(self.loop)
        assert front.producer.completed == front.producer.submitted

    def dismiss(self, servable: ServableId) -> None:
        gone: list[ServableId] = []
        self.queues.dismiss(servable, lambda: gone.append(servable))
        assert gone == [servable]


@pytest.fixture
def house(loop: Loop, table: CounterTable) -> Iterator[House]:
    house = House(loop, table)
    yield house
    for servable in house.versions:
        house.dismiss(servable)
    for front in house.fronts:
        front.close()


def test_forms_of_a_signature_count_together(house: House, table: CounterTable) -> None:
    for inputs in (True, False):
        house.serve(house.add(ONE, inputs=inputs), 1.0, 2.0)
    house.serve(house.add(ONE, "other"), 1.0)
    assert Counted(table).batches() == ({2: 2}, 4)
    assert Counted(table).batches(signature="other") == ({1: 1}, 1)


def test_what_a_gone_version_counted_is_kept_without_it(house: House, table: CounterTable) -> None:
    """Else a server that gets a new version every hour runs out of room, or a sum over versions falls."""
    house.serve(house.add(ONE), 1.0)
    house.serve(house.add(TWO), 1.0, 2.0)
    house.dismiss(ONE)
    assert Counted(table).batches(GONE, GONE) == ({1: 1}, 1)
    assert Counted(table).batches("2") == ({2: 1}, 2)
    assert len(table.read()) == 10, "five families, of the version and of those that are gone"
    house.queues.welcome(ONE)
    house.serve(house.add(ONE), 1.0, 2.0, 3.0)
    assert Counted(table).batches() == ({2: 1}, 3)
    for servable in (ONE, TWO):
        house.dismiss(servable)
    assert Counted(table).batches(GONE, GONE) == ({1: 1, 2: 2}, 6)
    assert sum(Counted(table).runs(GONE, GONE)[0].values()) == 3
    assert len(table.read()) == 5


def test_what_went_while_no_worker_was_there_is_found(house: House, table: CounterTable) -> None:
    earlier = BatchCounters(CounterTable.attach(os.dup(table.fd)), "cpu:0")
    earlier.meter(ServableId("m", 9), DEFAULT_SIGNATURE).ran(5, 1)
    house.add(ONE)
    house.add(TWO)
    house.dismiss(TWO)
    assert Counted(table).batches(GONE, GONE) == ({4: 1}, 5)


def test_words_that_are_no_workers(table: CounterTable) -> None:
    """A table that was damaged stops nobody."""
    counters = BatchCounters(table, "cpu:0")
    table.cells("batches", ("what",), 3)[0] = 1
    meter = counters.meter(ONE, "s")
    counters.retire(TWO)
    meter.ran(1, 1)
    assert Counted(table).batches(signature="s") == ({1: 1}, 1)
    assert len(table.read()) == 2


def test_refusals_for_a_version_that_is_not_there_are_no_batches(house: House, table: CounterTable) -> None:
    house.versions[ONE] = AbsentVersion("it is damaged")
    house.serve(house.add(ONE), 1.0)
    assert table.read() == []

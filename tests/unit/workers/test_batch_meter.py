"""What a worker counts of a batch besides its size and its run: why it was closed, what it was made of, who waited."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.servable import ServableId
from shm.counter_families import FAMILIES, QUEUING_BOUNDS, ROWS_BOUNDS, TIME_BOUNDS
from shm.counters import CounterTable
from workers.batch_counters import GONE, BatchCounters, BatchMeter

ONE, TWO = ServableId("m", 1), ServableId("m", 2)
WAY = ("m", "1", "s", "cpu:0")
MICROSECOND = 1000
LONGEST = (1 << 50) - 1

Found = dict[tuple[str, ...], tuple[dict[int, int], int]]


@pytest.fixture
def table() -> Iterator[CounterTable]:
    table = CounterTable.create(1 << 20)
    yield table
    table.close()


@pytest.fixture
def counters(table: CounterTable) -> BatchCounters:
    return BatchCounters(table, "cpu:0")


@pytest.fixture
def meter(counters: BatchCounters) -> BatchMeter:
    return counters.meter(ONE, "s")


def numbers(table: CounterTable, name: str) -> dict[tuple[str, ...], int]:
    return {labels: words[0] for family, labels, words in table.read() if family == name}


def histograms(table: CounterTable, name: str) -> Found:
    """By labels: how many values by their bucket's lower bound, and the sum."""
    bounds = (0, *FAMILIES[name].bounds)
    return {
        labels: ({bound: count for bound, count in zip(bounds, words[:-1], strict=True) if count}, words[-1])
        for family, labels, words in table.read()
        if family == name
    }


def test_nothing_has_words_before_it_is_counted(table: CounterTable, meter: BatchMeter) -> None:
    meter.ran(1, 1)
    assert {family for family, _, _ in table.read()} == {"batches", "batch_run"}


def test_why_batches_were_closed_and_how_long_their_oldest_request_waited(table: CounterTable, meter: BatchMeter) -> None:
    meter.batch("full", 8, 8, 10 * MICROSECOND)
    meter.batch("idle", 1, 1, 0)
    meter.batch("idle", 3, 3, 10 * MICROSECOND - 1)
    assert numbers(table, "batch_closed") == {(*WAY, "full"): 1, (*WAY, "idle"): 2}
    assert histograms(table, "executed_rows") == {WAY: ({1: 1, 2: 1, 8: 1}, 12)}
    assert histograms(table, "linger") == {WAY: ({0: 2, 10 * MICROSECOND: 1}, 20 * MICROSECOND - 1)}
    assert histograms(table, "padding") == {}, "there are no allowed sizes"


def test_padding_counts_by_the_size_that_was_run(table: CounterTable, counters: BatchCounters) -> None:
    meter = counters.meter(ONE, "s", rounds=True)
    for rows, executed in ((3, 4), (4, 4), (5, 8), (9, 9)):
        meter.batch("timeout", rows, executed, 0)
    assert histograms(table, "padding") == {
        (*WAY, "4"): ({0: 1, 1: 1}, 1),
        (*WAY, "8"): ({2: 1}, 3),
        (*WAY, "9"): ({0: 1}, 0),
    }
    assert histograms(table, "executed_rows") == {WAY: ({4: 2, 8: 2}, 25)}


def test_rows_count_once_for_each_input_tensor(table: CounterTable, meter: BatchMeter) -> None:
    meter.inputs(2, 3)
    meter.inputs(5, 1)
    assert histograms(table, "input_rows") == {WAY: ({2: 3, 4: 1}, 11)}


def test_merges_and_retries(table: CounterTable, meter: BatchMeter) -> None:
    meter.merged(18 * MICROSECOND)
    meter.retried()
    meter.retried()
    assert histograms(table, "merge") == {WAY: ({18 * MICROSECOND: 1}, 18 * MICROSECOND)}
    assert numbers(table, "retried") == {WAY: 2}


def test_refusals_are_not_of_a_device(table: CounterTable, counters: BatchCounters) -> None:
    """So that what front ends refuse and what workers do come to one sum."""
    for device in ("cpu:0", "cpu:1"):
        BatchCounters(table, device).meter(ONE, "s").rejected("expired", 2)
    counters.meter(ONE, "s").rejected("too_large", 1)
    assert numbers(table, "rejected") == {("m", "1", "s", "expired"): 4, ("m", "1", "s", "too_large"): 1}


def test_waits_count_in_upstreams_buckets(table: CounterTable, meter: BatchMeter) -> None:
    meter.queued([100 * MICROSECOND - 1, 100 * MICROSECOND, 120 * MICROSECOND, 144 * MICROSECOND])
    counts, total = histograms(table, "queuing")[WAY]
    assert counts == {0: 1, 100 * MICROSECOND: 1, 120 * MICROSECOND: 1, 144 * MICROSECOND: 1}
    assert total == 464 * MICROSECOND - 1


WAITS = st.integers(0, LONGEST) | st.sampled_from(QUEUING_BOUNDS) | st.integers(-(1 << 64), 1 << 64)


@given(st.lists(WAITS, max_size=80))
def test_every_wait_that_can_be_counts_once_however_many_come(waits: list[int]) -> None:
    """Few go another way than many; a lane may be damaged, or a client's own."""
    table = CounterTable.create(1 << 16)
    meter = BatchCounters(table, "cpu:0").meter(ONE, "s")
    meter.queued(waits)
    ((_, _, words),) = [row for row in table.read() if row[0] == "queuing"]
    good = [wait for wait in waits if 0 <= wait <= LONGEST]
    assert list(words[:-1]) == counted(good, QUEUING_BOUNDS)
    assert words[-1] == pytest.approx(sum(good), rel=1e-9)
    table.close()


def counted(values: Sequence[int], bounds: Sequence[int]) -> list[int]:
    buckets = [bisect_right(bounds, value) for value in values]
    return [buckets.count(bucket) for bucket in range(len(bounds) + 1)]


@pytest.mark.parametrize("waited", [-1, 1 << 50, 1 << 64, -(1 << 64)])
def test_a_wait_that_can_not_be_is_left_out(table: CounterTable, meter: BatchMeter, waited: int) -> None:
    meter.batch("idle", 1, 1, waited)
    assert numbers(table, "batch_closed") == {(*WAY, "idle"): 1}
    assert histograms(table, "linger") == {WAY: ({}, 0)}


BATCHES = st.tuples(
    st.sampled_from(["full", "idle", "alone"]), st.integers(0, 1 << 20), st.integers(0, 1 << 10), st.integers(0, LONGEST)
)


@given(st.lists(BATCHES, max_size=40))
def test_every_batch_counts_once(batches: list[tuple[str, int, int, int]]) -> None:
    table = CounterTable.create(1 << 18)
    meters = [BatchCounters(table, "cpu:0").meter(ONE, "s", rounds=True) for _ in range(2)]  # of two forms, say
    for number, (reason, rows, more, waited) in enumerate(batches):
        meters[number % 2].batch(reason, rows, rows + more, waited)
    assert sum(numbers(table, "batch_closed").values()) == len(batches)
    for name, values in (
        ("executed_rows", [rows + more for _, rows, more, _ in batches]),
        ("linger", [waited for *_, waited in batches]),
        ("padding", [more for _, _, more, _ in batches]),
    ):
        words = [row[2] for row in table.read() if row[0] == name]
        assert sum(sum(one[:-1]) for one in words) == len(batches), name
        assert sum(one[-1] for one in words) == sum(values), name
    assert {int(labels[-1]) for labels in histograms(table, "padding")} == {rows + more for _, rows, more, _ in batches}
    table.close()


def count_everything(meter: BatchMeter) -> None:
    meter.ran(3, 1)
    meter.batch("full", 3, 4, 1)
    meter.inputs(3, 1)
    meter.queued([1])
    meter.merged(1)
    meter.rejected("expired", 1)
    meter.retried()


OF_A_BATCH = ("batches", "batch_run", "executed_rows", "input_rows", "linger", "merge", "queuing", "retried")


def kept_of(version: str, signature: str) -> set[tuple[str, tuple[str, ...]]]:
    labels = ("m", version, signature)
    return {
        *((name, (*labels, "cpu:0")) for name in OF_A_BATCH),
        ("batch_closed", (*labels, "cpu:0", "full")),
        ("padding", (*labels, "cpu:0", "4")),
        ("rejected", (*labels, "expired")),
    }


def test_all_of_it_is_kept_without_the_version_that_is_gone(table: CounterTable, counters: BatchCounters) -> None:
    counters.local_meter(ONE, "s").ok(0, 0, 1, 2, 1)
    for servable in (ONE, TWO):
        count_everything(counters.meter(servable, "s"))
    counters.retire(ONE)
    entries = {(family, labels) for family, labels, _ in table.read()}
    local = {entry for entry in entries if "SHM" in entry[1]}
    assert {labels[:3] for _, labels in local} == {("m", GONE, GONE)}
    assert entries - local == kept_of("2", "s") | kept_of(GONE, GONE)
    counters.retire(TWO)
    rows = {(family, labels): words for family, labels, words in table.read()}
    assert rows.keys() - local == kept_of(GONE, GONE)
    assert numbers(table, "batch_closed") == {("m", GONE, GONE, "cpu:0", "full"): 2}
    assert histograms(table, "padding") == {("m", GONE, GONE, "cpu:0", "4"): ({1: 2}, 2)}
    assert numbers(table, "rejected") == {("m", GONE, GONE, "expired"): 2}


def test_the_next_worker_counts_on(table: CounterTable, counters: BatchCounters) -> None:
    for _ in range(2):
        count_everything(BatchCounters(CounterTable.attach(os.dup(table.fd)), "cpu:0").meter(ONE, "s"))
    assert {(family, labels) for family, labels, _ in table.read()} == kept_of("1", "s")
    assert numbers(table, "retried") == {WAY: 2}
    assert histograms(table, "queuing") == {WAY: ({0: 2}, 2)}


def test_a_version_that_comes_again_counts_anew(table: CounterTable, counters: BatchCounters) -> None:
    for _ in range(2):
        meter = counters.meter(ONE, "s")
        count_everything(meter)
        counters.retire(ONE)
    count_everything(counters.meter(ONE, "s"))
    assert numbers(table, "rejected") == {("m", GONE, GONE, "expired"): 2, ("m", "1", "s", "expired"): 1}
    assert histograms(table, "linger")[WAY] == ({0: 1}, 1)


def test_labels_that_no_worker_writes_are_given_back(table: CounterTable, counters: BatchCounters) -> None:
    """A damaged table stops nobody; nor does one that another release has left."""
    for family, labels in (("rejected", ("m", "1", "s")), ("padding", WAY), ("batch_closed", ("m",)), ("new", WAY)):
        table.cells(family, labels, 1)[0] = 1
    count_everything(counters.meter(ONE, "s"))
    counters.retire(TWO)
    assert {(family, labels) for family, labels, _ in table.read()} == kept_of("1", "s")


def test_upstreams_bounds() -> None:
    exact = [100_000.0]
    while len(exact) < 52:
        exact.append(exact[-1] * 1.2)
    assert list(QUEUING_BOUNDS) == pytest.approx(exact, abs=1)
    assert FAMILIES["queuing"].words == 54
    assert (FAMILIES["padding"].bounds, FAMILIES["linger"].bounds) == (ROWS_BOUNDS, TIME_BOUNDS)

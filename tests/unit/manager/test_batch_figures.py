"""What was counted of a signature's batches, for people."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.batch_figures import BatchFigures, spread
from manager.request_figures import Rows
from shm.counter_families import FAMILIES, ROWS_BOUNDS, TIME_BOUNDS

NOTHING = {"batches": 0, "rows": 0, "sizes": {}, "closed": {}, "padding_rows": 0, "retried": 0}
NO_TIMES = {"lingered": None, "ran": None, "merged": None}


def histogram(values: Sequence[int], bounds: Sequence[int] = TIME_BOUNDS) -> list[int]:
    buckets = [bisect_right(bounds, value) for value in values]
    return [*(buckets.count(bucket) for bucket in range(len(bounds) + 1)), sum(values)]


def test_a_signature_of_which_nothing_was_counted() -> None:
    figures = BatchFigures({})
    assert figures.of_signature("m", 1, "s") == {"waited": None, "rejected": {}}
    assert figures.of_device("m", 1, "s", "cpu:0") == {**NOTHING, **NO_TIMES}


def test_batches_of_one_device() -> None:
    way = ("m", "1", "s", "cpu:0")
    rows: Rows = {
        ("batches", way): histogram([1, 1, 3, 2, 6, 8192, 9000, 0], ROWS_BOUNDS),
        ("batches", ("m", "1", "s", "cpu:1")): histogram([5], ROWS_BOUNDS),
        ("batches", ("m", "2", "s", "cpu:0")): histogram([7], ROWS_BOUNDS),
        ("batch_closed", (*way, "idle")): [3],
        ("batch_closed", (*way, "full")): [7],
        ("batch_closed", (*way, "alone")): [0],
        ("batch_closed", ("m", "1", "s", "cpu:1", "idle")): [100],
        ("padding", (*way, "4")): histogram([1, 1], ROWS_BOUNDS),
        ("padding", (*way, "8")): histogram([3, 0], ROWS_BOUNDS),
        ("retried", way): [2],
        ("linger", way): histogram([1000, 3000]),
        ("batch_run", way): histogram([5_000_000]),
        ("executed_rows", way): histogram([4, 8], ROWS_BOUNDS),
    }
    found = BatchFigures(rows).of_device("m", 1, "s", "cpu:0")
    assert (found["batches"], found["rows"]) == (8, 17205)
    assert found["sizes"] == {"0": 1, "1": 2, "2-3": 2, "4-7": 1, "8192+": 2}
    assert list(found["closed"].items()) == [("full", 7), ("idle", 3)]
    assert (found["padding_rows"], found["retried"], found["merged"]) == (5, 2, None)
    assert found["lingered"] == {"count": 2, "mean_us": 2.0, "p50_us": 5.0, "p99_us": 9.9}
    assert (found["ran"]["count"], found["ran"]["mean_us"]) == (1, 5000)
    assert BatchFigures(rows).of_device("m", 1, "s", "cpu:1")["sizes"] == {"4-7": 1}


def test_requests_of_all_protocols_and_devices() -> None:
    rows: Rows = {
        ("queue", ("m", "1", "s", "predict", "REST")): histogram([1000]),
        ("queue", ("m", "1", "s", "classify", "GRPC")): histogram([3000]),
        ("queue", ("m", "1", "t", "predict", "REST")): histogram([9000]),
        ("rejected", ("m", "1", "s", "expired")): [3],
        ("rejected", ("m", "1", "s", "queue_full")): [3],
        ("rejected", ("m", "1", "t", "too_large")): [3],
        ("inflight", ("m", "cpu:0")): [3],
    }
    found = BatchFigures(rows).of_signature("m", 1, "s")
    assert found["waited"]["count"] == 2
    assert found["waited"]["mean_us"] == 2.0
    assert list(found["rejected"].items()) == [("expired", 3), ("queue_full", 3)]


def test_no_values_have_no_spread() -> None:
    assert spread([]) is None
    assert spread([0] * FAMILIES["linger"].words) is None


def test_beyond_the_last_bound_no_more_is_known() -> None:
    found = spread(histogram([1 << 49]))
    assert found is not None
    assert found["p50_us"] == found["p99_us"] == pytest.approx(TIME_BOUNDS[-1] / 1000, rel=0.01)


@given(st.lists(st.integers(0, TIME_BOUNDS[-1] - 1), min_size=1, max_size=200))
def test_quantiles_lie_in_the_bucket_that_the_values_have(values: list[int]) -> None:
    found = spread(histogram(values))
    assert found is not None
    assert found["count"] == len(values)
    assert found["mean_us"] == pytest.approx(sum(values) / len(values) / 1000, rel=0.01)
    bounds = (0, *TIME_BOUNDS)
    for name, share in (("p50_us", 0.5), ("p99_us", 0.99)):
        exact = sorted(values)[max(-int(-share * len(values) // 1), 1) - 1]
        bucket = bisect_right(TIME_BOUNDS, exact)
        assert bounds[bucket] * 0.99 <= found[name] * 1000 <= bounds[bucket + 1] * 1.01

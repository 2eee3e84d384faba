"""The histogram of latencies, against numpy on the values themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import Histogram

VALUES = st.lists(st.integers(0, 2**44 - 1), min_size=1, max_size=300)
PERCENTS = st.floats(0, 100)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(values)
    return histogram


def exact(values: list[int], percent: float) -> int:
    return int(np.percentile(np.array(values), percent, method="inverted_cdf"))


@given(VALUES, PERCENTS)
def test_a_percentile_is_numpys_to_half_a_percent(values: list[int], percent: float) -> None:
    assert filled(values).percentile(percent) == pytest.approx(exact(values, percent), rel=1 / 256)


@given(st.lists(st.integers(0, 255), min_size=1), PERCENTS)
def test_small_values_are_exact(values: list[int], percent: float) -> None:
    assert filled(values).percentile(percent) == exact(values, percent)


@given(VALUES, VALUES)
def test_adding_two_is_recording_both(first: list[int], second: list[int]) -> None:
    histogram = filled(first)
    histogram.add(filled(second))
    assert (histogram.counts == filled(first + second).counts).all()
    assert histogram.total == len(first) + len(second)


@given(VALUES)
def test_it_travels_as_json(values: list[int]) -> None:
    histogram = filled(values)
    received = Histogram.from_wire(json.loads(json.dumps(histogram.to_wire())))
    assert (received.counts == histogram.counts).all()


@given(st.integers(0, 2**44 - 2))
def test_a_larger_value_never_lies_in_a_lower_bucket(value: int) -> None:
    buckets = [int(np.flatnonzero(filled([each]).counts)[0]) for each in (value, value + 1)]
    assert buckets[0] <= buckets[1] <= buckets[0] + 1


def test_values_out_of_range_are_counted_at_its_ends() -> None:
    histogram = filled([-5, 2**60])
    assert histogram.percentile(50) == 0
    assert histogram.percentile(100) == pytest.approx(2**44, rel=1 / 128)


def test_nothing_recorded_has_no_percentile() -> None:
    histogram = filled([])
    assert histogram.total == 0
    with pytest.raises(ValueError, match="no values"):
        histogram.percentile(50)

"""Ratios of samples, and their intervals, against tables and made-up samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.ratio import ratio, student

FIGURES = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=12)
COUNTS = st.lists(st.integers(0, 5).map(float), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("freedom", "confidence", "quantile"),
    [(1, 0.95, 12.706), (1, 0.99, 63.657), (4, 0.95, 2.776), (8, 0.95, 2.306), (8, 0.5, 0.7064), (30, 0.999, 3.646)],
)
def test_students_quantiles_are_those_of_the_tables(freedom: float, confidence: float, quantile: float) -> None:
    assert student(freedom, confidence) == pytest.approx(quantile, rel=5e-4)


def test_with_much_freedom_it_is_the_normal_distribution() -> None:
    assert student(1e9, 0.95) == pytest.approx(1.960, rel=2e-3)


@given(FIGURES | COUNTS)
def test_a_sample_is_once_itself(figures: list[float]) -> None:
    found = ratio(figures, figures, 0.95)
    assert found is not None
    assert found.value == pytest.approx(1)
    assert found.low <= 1 + 1e-9
    assert found.high >= 1 - 1e-9


@given(FIGURES, FIGURES, st.floats(0.01, 100), st.floats(0.01, 100))
def test_scales_do_not_matter(before: list[float], after: list[float], first: float, second: float) -> None:
    plain = ratio(before, after, 0.95)
    scaled = ratio([first * value for value in before], [second * value for value in after], 0.95)
    assert plain is not None
    assert scaled is not None
    assert scaled.value == pytest.approx(plain.value * second / first, rel=1e-6)
    assert scaled.low == pytest.approx(plain.low * second / first, rel=1e-3)
    if math.isfinite(plain.high) and plain.high < 1e200:
        assert scaled.high == pytest.approx(plain.high * second / first, rel=1e-3)


@given(FIGURES, FIGURES)
def test_the_other_way_round_it_is_turned_over(before: list[float], after: list[float]) -> None:
    there, back = ratio(before, after, 0.9), ratio(after, before, 0.9)
    assert there is not None
    assert back is not None
    assert there.value * back.value == pytest.approx(1)
    assert there.low <= there.value <= there.high
    if there.low > 1e-200 and there.high < 1e200:
        assert there.low * back.high == pytest.approx(1)


@given(FIGURES | COUNTS, FIGURES | COUNTS)
def test_more_confidence_is_a_wider_interval(before: list[float], after: list[float]) -> None:
    narrow, wide = ratio(before, after, 0.5), ratio(before, after, 0.99)
    assert narrow is not None
    assert wide is not None
    assert wide.low <= narrow.low * (1 + 1e-9)
    assert wide.high >= narrow.high * (1 - 1e-9)


@pytest.mark.parametrize("size", [3, 5, 20])
def test_the_interval_holds_the_truth_as_often_as_it_says(size: int) -> None:
    random = np.random.default_rng(size)
    held = 0
    for _ in range(1000):
        before, after = random.lognormal(0.0, 0.05, size), random.lognormal(math.log(0.8), 0.15, size)
        found = ratio(before.tolist(), after.tolist(), 0.9)
        assert found is not None
        held += found.low <= 0.8 <= found.high
    assert 0.87 <= held / 1000 <= 0.96


def test_the_same_is_found_each_time() -> None:
    assert ratio([0.0, 1.0, 4.0], [2.0, 0.0, 9.0], 0.9) == ratio([0.0, 1.0, 4.0], [2.0, 0.0, 9.0], 0.9)


def test_counts_that_were_none() -> None:
    nothing = ratio([0.0, 0.0, 0.0], [0.0, 0.0], 0.95)
    assert nothing is not None
    assert (nothing.low, nothing.value, nothing.high) == (1, 1, 1)
    some = ratio([0.0, 0.0, 0.0], [3.0, 5.0], 0.95)
    assert some is not None
    assert some.low == math.inf
    perhaps = ratio([0.0, 0.0, 0.0], [0.0, 0.0, 5.0], 0.95)
    assert perhaps is not None
    assert (perhaps.low, perhaps.high) == (1, math.inf)


def test_one_figure_tells_nothing_of_its_spread() -> None:
    for figures in ([2.0], [0.0]):
        found = ratio(figures, [4.0, 4.0, 4.0], 0.5)
        assert found is not None
        assert (found.low, found.high) == (0, math.inf)
    assert ratio([], [1.0], 0.95) is None
    assert ratio([1.0, -1.0], [1.0, 1.0], 0.95) is None

"""How long batches take, learned from runs: the line through them, whatever their sizes and whatever goes wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.cost_model import CostModel

COSTS = [(0.02, 0.0001), (0.001, 0.0002), (0.0, 0.003), (0.00005, 0.0000001), (0.5, 0.05)]


def learned(fixed: float, each: float, sizes: list[int], runs: int = 200, noise: float = 0.0) -> CostModel:
    """From runs of these sizes in turn, after having been told something else."""
    chance = random.Random(5)
    model = CostModel(0.002, 0.001)
    for number in range(runs):
        rows = sizes[number % len(sizes)]
        model.learn(rows, (fixed + each * rows) * chance.uniform(1 - noise, 1 + noise))
    return model


def test_what_is_known_before_the_first_run() -> None:
    model = CostModel(0.01, 0.001)
    assert (model.fixed, model.each) == (0.01, 0.001)
    assert model.predict(5) == pytest.approx(0.015)
    assert CostModel(-1.0, 0.001).fixed == 0.0
    assert CostModel(0.01, 0.0).each > 0, "nothing runs for nothing"


@pytest.mark.parametrize(("fixed", "each"), COSTS)
@pytest.mark.parametrize("sizes", [[1, 2, 3, 4, 8], [1, 64], [30, 31, 40, 50], [100, 7, 512]])
def test_the_line_is_found(fixed: float, each: float, sizes: list[int]) -> None:
    model = learned(fixed, each, sizes)
    for rows in (*sizes, 20):
        assert model.predict(rows) == pytest.approx(fixed + each * rows, rel=0.02)


@pytest.mark.parametrize(("fixed", "each"), COSTS)
def test_runs_that_vary(fixed: float, each: float) -> None:
    model = learned(fixed, each, [1, 16, 64], noise=0.2)
    for rows in (1, 16, 64):
        assert model.predict(rows) == pytest.approx(fixed + each * rows, rel=0.15)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_of_one_size_both_parts_keep_their_proportion(rows: int) -> None:
    """Nothing tells one from the other."""
    model = CostModel(0.002, 0.001)
    for _ in range(100):
        model.learn(rows, 0.05)
    assert model.predict(rows) == pytest.approx(0.05, rel=0.02)
    assert model.fixed / model.each == pytest.approx(2.0)


def test_the_first_run_tells_more_than_what_was_known_before() -> None:
    model = CostModel(0.1, 0.0)
    model.learn(1, 0.001)
    assert model.predict(1) == pytest.approx(0.001)


def test_a_few_runs_do_not_tell_one_part_from_the_other() -> None:
    model = CostModel(0.01, 0.001)
    for rows, seconds in ((1, 0.02), (2, 0.01), (9, 0.03), (1, 0.01), (3, 0.012)):
        model.learn(rows, seconds)
        assert model.fixed / model.each == pytest.approx(10.0)


def test_batches_that_cost_more_than_their_rows() -> None:
    """The line begins at nothing then, and goes through the middle of what was seen."""
    model = CostModel(0.01, 0.001)
    for _ in range(100):
        for rows in (1, 32, 64):
            model.learn(rows, 0.0001 * rows * rows)
    assert model.fixed == 0
    assert model.predict(64) == pytest.approx(0.37, rel=0.02)


def test_an_outlier_does_not_stand_for_all() -> None:
    """A run that the machine held up for a second."""
    model = learned(0.001, 0.0001, [1, 8, 64])
    before = model.predict(8)
    model.learn(8, 1.0)
    assert model.predict(8) == pytest.approx(before, rel=0.06)
    for _ in range(100):
        for rows in (1, 8, 64):
            model.learn(rows, 0.001 + 0.0001 * rows)
    assert model.predict(8) == pytest.approx(before, rel=0.01)


@pytest.mark.parametrize("factor", [0.1, 3.0, 50.0])
def test_a_cost_that_changes_is_learned_anew(factor: float) -> None:
    model = learned(0.001, 0.0001, [1, 8, 64])
    for _ in range(200):
        for rows in (1, 8, 64):
            model.learn(rows, factor * (0.001 + 0.0001 * rows))
    for rows in (1, 8, 64):
        assert model.predict(rows) == pytest.approx(factor * (0.001 + 0.0001 * rows), rel=0.05)


@given(
    st.floats(0, 10),
    st.floats(0, 1),
    st.lists(st.tuples(st.integers(1, 5000), st.one_of(st.floats(0, 100), st.sampled_from([0.0, 1e-9, 1e9]))), max_size=60),
)
def test_whatever_is_measured_costs_are_never_negative(fixed: float, each: float, runs: list[tuple[int, float]]) -> None:
    model = CostModel(fixed, each)
    for rows, seconds in runs:
        model.learn(rows, seconds)
        assert 0 <= model.fixed < 1e10
        assert 0 < model.each < 1e10
        assert 0 < model.predict(1) <= model.predict(2)
        assert model.worthwhile_rows() >= 1
        assert model.rows_within(0.01) >= 0


@pytest.mark.parametrize(("fixed", "each"), [(0.02, 0.0001), (0.001, 0.001), (1.0, 0.01)])
def test_larger_batches_than_those_that_are_worth_it_save_next_to_nothing(fixed: float, each: float) -> None:
    model = CostModel(fixed, each)
    rows = model.worthwhile_rows()

    def a_row(rows: int) -> float:
        return model.predict(rows) / rows

    assert a_row(rows) / each == pytest.approx(1, abs=0.05)
    assert a_row(rows // 4) / a_row(rows) > 1.05, "which a quarter of them does not"
    assert CostModel(0.0, 0.001).worthwhile_rows() == 1


@pytest.mark.parametrize("seconds", [0.02, 0.1, 1.0])
def test_rows_within_a_time(seconds: float) -> None:
    model = CostModel(0.015, 0.0007)
    rows = model.rows_within(seconds)
    assert model.predict(rows) <= seconds < model.predict(rows + 1)
    assert CostModel(0.5, 0.001).rows_within(0.4) == 0


def test_a_model_that_has_become_slow_is_soon_known_to_be() -> None:
    model = CostModel(10e-6, 1e-6)
    for _ in range(100):
        model.learn(1, 11e-6)
    for _ in range(4):
        model.learn(1, 0.05)
    assert model.predict(1) == pytest.approx(0.05, rel=0.01)


def test_outliers_that_are_few_change_little() -> None:
    model = CostModel(10e-6, 1e-6)
    for number in range(300):
        model.learn(1, 0.05 if number % 10 < 2 else 11e-6)
    assert model.predict(1) < 25e-6

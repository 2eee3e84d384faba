"""Rows: figures beside their floor's, and what the goals say of them."""

from __future__ import annotations

import pytest

from bench.topology import Goal, Row


def throughput(*goals: Goal) -> Row:
    return Row("t", "throughput", "req/s", "higher", "floor", goals)


def latency(*goals: Goal) -> Row:
    return Row("t", "p50", "ms", "lower", "floor", goals)


def test_the_best_throughput_is_the_highest_and_the_best_latency_the_lowest() -> None:
    for row, best in ((throughput(), 4.0), (latency(), 2.0)):
        for figure in (3.0, 2.0, 4.0):
            row.add(figure)
        assert row.best(row.figures) == best


def test_ratios_are_of_the_best_and_of_the_medians() -> None:
    row = throughput()
    for figure, floor in ((10.0, 2.0), (30.0, 1.0), (20.0, 5.0)):
        row.add(figure, floor)
    assert row.best_ratio == 30 / 5
    assert row.median_ratio == 20 / 2


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (throughput(Goal("figure", 8.0)), True),
        (throughput(Goal("figure", 8.1)), False),
        (throughput(Goal("ratio", 2.0)), True),
        (throughput(Goal("ratio", 2.1)), False),
        (latency(Goal("figure", 6.0)), True),
        (latency(Goal("figure", 5.9)), False),
        (latency(Goal("ratio", 2.0)), True),
        (latency(Goal("ratio", 1.9)), False),
    ],
)
def test_a_goal_is_judged_on_the_best(row: Row, met: bool) -> None:
    row.add(8.0, 4.0)
    row.add(6.0, 3.0)
    assert row.met(row.goals[0]) is met


def test_no_goal_is_met_with_errors() -> None:
    row = throughput(Goal("figure", 1.0))
    row.add(100.0, errors=0)
    row.add(100.0, errors=1)
    assert row.errors == 1
    assert row.met(row.goals[0]) is False


def test_without_figures_there_is_nothing_to_judge() -> None:
    row = throughput(Goal("figure", 1.0), Goal("ratio", 1.0))
    assert [row.met(goal) for goal in row.goals] == [None, None]
    row.add(2.0)
    assert [row.met(goal) for goal in row.goals] == [True, None]


def test_json_has_every_repetition() -> None:
    row = latency(Goal("ratio", 2.0))
    row.add(3.0, 1.0)
    row.add(2.0, 2.0)
    assert row.to_json() == {
        "topology": "t",
        "measure": "p50",
        "unit": "ms",
        "better": "lower",
        "figures": [3.0, 2.0],
        "best": 2.0,
        "median": 2.5,
        "floor": {"name": "floor", "figures": [1.0, 2.0], "best": 1.0, "median": 1.5},
        "ratio": {"best": 2.0, "median": 2.5 / 1.5},
        "goals": [{"of": "ratio", "limit": 2.0, "met": True}],
        "errors": 0,
    }

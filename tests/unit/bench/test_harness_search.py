"""Sweeps, and the search for the highest rate below a limit, on a model of a server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.harness.outcome import Generator, Outcome, Window
from bench.harness.plan import Closed, Open, Plan
from bench.harness.search import Limit, Search
from bench.harness.sweep import numbers, sweep

MS = 1_000_000


def outcome(plan: Plan, latency_ms: float = 1.0, share: float = 1.0, **errors: int) -> Outcome:
    """All latencies are the same; a share of what an open loop sends is answered."""
    assert isinstance(plan.shape, Open)
    window = Window(int(plan.shape.rate * plan.seconds * share), dict(errors))
    window.latencies.record([int(latency_ms * MS)] * window.requests)
    return Outcome({}, plan.to_wire(), "", plan.seconds, [window], [Generator(0.1, 0.0)])


def searched(
    run: Callable[[Plan], Outcome], first: float = 100, precision: float = 0.05
) -> tuple[list[float], Search, list[str]]:
    said: list[str] = []
    plan = Plan(Open(first, "constant"), 10)
    search = Search(plan, Limit(5), precision, run, said.append)
    return [each.plan["shape"]["rate"] for each in search.outcomes()], search, said


@pytest.mark.parametrize("limit", [130.0, 777.0, 12_345.0, 25.0])
def test_the_highest_rate_is_found(limit: float) -> None:
    rates, search, _ = searched(lambda plan: outcome(plan, 1 if plan.shape.rate <= limit else 50))  # type: ignore[union-attr]
    assert search.best is not None
    assert limit / 1.06 <= search.best.plan["shape"]["rate"] <= limit
    assert len(rates) < 30


def test_it_doubles_first_and_then_halves_the_gap() -> None:
    rates, _, said = searched(lambda plan: outcome(plan, 1 if plan.shape.rate <= 500 else 50), precision=0.2)  # type: ignore[union-attr]
    assert rates[:5] == [100, 200, 400, 800, 800]  # what fails is tried once more
    assert 400 < rates[5] < 800
    assert said[:5] == [*(f"{rate}/s: kept, p99 1 ms" for rate in (100, 200, 400)), *["800/s: p99 49.9 ms"] * 2]


def test_a_single_hiccup_does_not_end_it() -> None:
    tried: list[float] = []

    def run(plan: Plan) -> Outcome:
        rate = plan.shape.rate  # type: ignore[union-attr]
        tried.append(rate)
        return outcome(plan, 50 if rate > 800 or (rate == 200 and tried.count(200) == 1) else 1)

    _, search, _ = searched(run)
    assert search.best is not None
    assert search.best.plan["shape"]["rate"] >= 760


def test_errors_and_queues_that_grow_do_not_keep_the_limit() -> None:
    plan = Plan(Open(100, "constant"), 10)
    limit = Limit(5)
    assert limit.missed(outcome(plan)) == ""
    assert limit.missed(outcome(plan, WRONG=1)) == "1 errors"
    assert limit.missed(outcome(plan, share=0.9)) == "only 90/s answered"
    assert limit.missed(outcome(plan, share=0)) == "p99 nan ms"
    unsent = outcome(plan)
    unsent.generators = [Generator(0.1, 0.0, unsent=1)]
    assert limit.missed(unsent) == "only 100/s answered"


def test_poisson_arrivals_may_be_fewer_by_chance() -> None:
    plan = Plan(Open(100, "poisson"), 10)  # 1000 arrivals, give or take 32
    assert Limit(5).missed(outcome(plan, share=0.93)) == ""
    assert Limit(5).missed(outcome(plan, share=0.85)) == "only 85/s answered"


def test_where_no_rate_keeps_the_limit_there_is_none() -> None:
    rates, search, _ = searched(lambda plan: outcome(plan, 50))
    assert search.best is None
    assert 10 <= min(rates) < 20  # of fewer than 100 requests nobody knows the p99
    assert search.beyond.startswith(f"{min(rates):g}/s: p99 49.9 ms")


def test_it_is_told_when_the_generator_is_late_and_not_the_server() -> None:
    late = outcome(Plan(Open(100, "constant"), 10), 50)
    late.generators = [Generator(0.9, 0.045)]
    late.sent.record([2 * MS])
    assert Limit(5).missed(late) == "p99 49.9 ms, by the load generator itself"
    late.sent.record([30 * MS] * 99)
    assert Limit(5).missed(late) == "p99 49.9 ms"  # the server is slow whenever it is asked


def test_an_interruption_ends_it_with_what_was_found() -> None:
    def run(plan: Plan) -> Outcome:
        found = outcome(plan)
        found.complete = plan.shape.rate < 400  # type: ignore[union-attr]
        return found

    rates, search, _ = searched(run)
    assert rates == [100, 200, 400]
    assert search.best is not None
    assert search.best.plan["shape"]["rate"] == 200


def test_a_sweep_does_all_and_then_all_again() -> None:
    plans: list[Plan] = []

    def run(plan: Plan) -> Outcome:
        plans.append(plan)
        return Outcome({}, plan.to_wire(), "", 1, [], [], complete=len(plans) < 4)

    shapes = [Closed(1), Closed(8)]
    assert len(list(sweep(Plan(Closed(1), 1, seed=5), shapes, 3, run))) == 4  # the fourth was interrupted
    assert [plan.shape for plan in plans] == [*shapes, *shapes]
    assert [plan.seed for plan in plans] == [5, 5, 6, 6]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8", [8]),
        ("1,8,32", [1, 8, 32]),
        ("1:4", [1, 2, 3, 4]),
        ("100:500:200", [100, 300, 500]),
        ("1,10:20:10", [1, 10, 20]),
        ("0.5", [0.5]),
    ],
)
def test_lists_and_ranges(text: str, found: list[float]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize("text", ["", "a", "1,", "0", "-1", "4:1", "1:9:0", "1:9:-1", "1:2:3:4", "inf", "nan", "1:1e9"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        numbers(text)

"""The overload topology counts what is answered, and how soon the others are refused."""

from __future__ import annotations

import pytest

from bench import overload
from bench.harness.outcome import Outcome, Window
from bench.harness.plan import Open, Plan, Shape
from bench.harness.request_set import RequestSet
from bench.histogram import Histogram

MS = 1_000_000


def histogram(*milliseconds: float) -> Histogram:
    histogram = Histogram()
    histogram.record([int(each * MS) for each in milliseconds])
    return histogram


def outcome(plan: Plan, answered: int, errors: dict[str, int]) -> Outcome:
    window = Window(answered, errors, histogram(*([5.0] * answered)))
    refused = sum(errors.values())
    return Outcome({}, plan.to_wire(), "", plan.seconds, [window], [], failed_after=histogram(*([2.0] * refused)))


def test_a_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[Shape] = []

    def run(_: RequestSet, plan: Plan) -> Outcome:
        shapes.append(plan.shape)
        if not isinstance(plan.shape, Open):
            return outcome(plan, 200, {})
        over = plan.shape.rate > 100
        return outcome(plan, 180 if over else 190, {"503": 150, "timeout": 1} if over else {})

    monkeypatch.setattr(overload, "finished_run", run)
    rows = overload._rows()
    overload._repetition(RequestSet("http://x", "tfs", ()), 2.0, rows)
    assert [shape.rate for shape in shapes if isinstance(shape, Open)] == [100.0, 200.0, 400.0]
    for times in (2, 4):
        goodput, refusal = rows[times, "goodput"], rows[times, "refusal"]
        assert (goodput.figures, goodput.floors, goodput.errors) == ([90.0], [100.0], 1)
        assert refusal.figures == pytest.approx([2.0], rel=0.01)


def test_overload_without_a_refusal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "finished_run", lambda _, plan: outcome(plan, 200, {}))
    with pytest.raises(RuntimeError, match="no request was refused at 2x"):
        overload._repetition(RequestSet("http://x", "tfs", ()), 2.0, overload._rows())

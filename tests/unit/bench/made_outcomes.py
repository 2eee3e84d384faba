"""Outcomes of runs that never were, with figures that are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.harness.outcome import Event, Generator, Outcome, Window
from bench.harness.plan import Closed, Plan, Shape
from bench.histogram import Histogram

ABOUT = {"url": "http://127.0.0.1:8501", "api": "tfs", "model": "half_plus_two", "rows": 1}


def window(milliseconds: Sequence[float], errors: dict[str, int] | None = None) -> Window:
    """A window in which requests took so long."""
    latencies = Histogram()
    latencies.record([round(each * 1e6) for each in milliseconds])
    return Window(len(milliseconds), errors or {}, latencies)


def outcome(windows: list[Window], shape: Shape | None = None, **fields: Any) -> Outcome:
    """A run of windows of a second each; fields as Outcome's, `about` on top of ABOUT."""
    about = {**ABOUT, **fields.pop("about", {})}
    generators = fields.pop("generators", [Generator(0.4, 0.0)])
    plan = Plan(shape or Closed(8), float(len(windows)), window=1.0)
    began = "2026-11-23T17:00:00+00:00"
    return Outcome(about, plan.to_wire(), began, float(len(windows)), windows, generators, **fields)


def steady(rate: int, median: float, windows: int = 8, seed: int = 0, **fields: Any) -> Outcome:
    """About `rate` requests in each window, whose times in ms are spread about the median as real ones are."""
    random = np.random.default_rng(seed)
    made = [
        window(list(median * random.lognormal(0.0, 0.3, size=round(rate * random.normal(1.0, 0.02)))))
        for _ in range(windows)
    ]
    return outcome(made, **fields)


def eventful(**fields: Any) -> Outcome:
    """A run with all that a run can have."""
    windows = [window([1.0, 2.0, 3.0]), window([2.0, 40.0], {"503": 2, "timeout": 1}), window([])]
    made = outcome(windows, events=[Event(1.25, "worker killed")], batch_sizes={"1": 3, "16": 5, "2": 1}, **fields)
    made.sent = window([0.5, 1.0, 1.5, 2.0, 30.0]).latencies
    return made

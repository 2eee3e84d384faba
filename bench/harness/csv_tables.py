"""Outcomes as CSV: a line for each outcome, or for each window of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.harness.outcome import PERCENTILES, Outcome, Window
from bench.harness.plan import Plan
from bench.harness.whole_file import write_whole

_PERCENTILES: Final = tuple(f"p{percent:g}_ms" for percent in PERCENTILES)
_PLAN: Final = ("kind", "clients", "rate", "arrivals", "slots", "seconds", "warmup", "timeout", "processes")
_FIGURES: Final = (
    "began",
    "seconds",
    "requests",
    "rate",
    *_PERCENTILES,
    "errors",
    "stable",
    "complete",
    "cpu",
    "late_s",
    "unsent",
)
_WINDOW: Final = ("window", "start_s", "requests", *_PERCENTILES, "errors")
#: What spreadsheets take for the beginning of a formula: texts come from servers and files of others.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_Line = Mapping[str, Any]


def write_outcomes(outcomes: Sequence[Outcome], path: Path) -> None:
    """A line for each outcome; the errors of each kind are in columns of their own. Raises OSError."""
    lines = [{**_asked(each), **_figures(each), **_errors(each.whole)} for each in outcomes]
    _write(path, [*_about_names(outcomes), *_plan_names(), *_FIGURES, *_kinds(each.whole for each in outcomes)], lines)


def write_windows(outcomes: Sequence[Outcome], path: Path) -> None:
    """A line for each window; `outcome` counts the outcomes from 0. Raises OSError."""
    lines = [
        {"outcome": number, **_asked(outcome), **_window_figures(outcome, index), **_errors(window)}
        for number, outcome in enumerate(outcomes)
        for index, window in enumerate(outcome.windows)
    ]
    kinds = _kinds(window for outcome in outcomes for window in outcome.windows)
    _write(path, ["outcome", *_about_names(outcomes), *_plan_names(), *_WINDOW, *kinds], lines)


def _write(path: Path, names: Sequence[str], lines: Iterable[_Line]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(name) for name in names])
    writer.writerows([_cell(line.get(name)) for name in names] for line in lines)
    write_whole(path, text.getvalue())


def _cell(value: Any) -> Any:
    """Absent things are empty. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if value is None or isinstance(value, bool | int | float):
        return "" if value is None else value
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _about_names(outcomes: Iterable[Outcome]) -> list[str]:
    return list(dict.fromkeys(f"about.{name}" for outcome in outcomes for name in outcome.about))


def _plan_names() -> list[str]:
    return [f"plan.{name}" for name in _PLAN]


def _kinds(windows: Iterable[Window]) -> list[str]:
    return sorted({f"errors: {kind}" for window in windows for kind in window.errors})


def _asked(outcome: Outcome) -> dict[str, Any]:
    shape = outcome.plan["shape"]
    about = {f"about.{name}": value for name, value in outcome.about.items()}
    return {**about, **{f"plan.{name}": shape.get(name, outcome.plan.get(name)) for name in _PLAN}}


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {
        **{name: getattr(outcome, name) for name in ("began", "seconds", "rate", "stable", "complete")},
        "requests": outcome.whole.requests,
        "errors": outcome.failed,
        **_percentiles(outcome.whole),
        "cpu": max((each.cpu for each in outcome.generators), default=None),  # of the busiest
        "late_s": max((each.late for each in outcome.generators), default=None),
        "unsent": sum(each.unsent for each in outcome.generators),
    }


def _window_figures(outcome: Outcome, index: int) -> dict[str, Any]:
    window = outcome.windows[index]
    start = index * Plan.from_wire(outcome.plan).window
    found = {"window": index, "start_s": start, "requests": window.requests, "errors": sum(window.errors.values())}
    return {**found, **_percentiles(window)}


def _percentiles(window: Window) -> dict[str, float]:
    if not window.latencies.total:
        return {}
    return {
        name: window.latencies.percentile(percent) / 1e6 for name, percent in zip(_PERCENTILES, PERCENTILES, strict=True)
    }


def _errors(window: Window) -> dict[str, int]:
    return {f"errors: {kind}": count for kind, count in window.errors.items()}

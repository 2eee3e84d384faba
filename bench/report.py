"""Results as a table for people and as JSON for tools."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.harness.whole_file import write_whole
from bench.topology import Goal, Row

_HEADINGS: Final = ("topology", "measure", "best", "median", "floor", "best", "median", "ratio", "median", "goal", "")
_LEFT: Final = frozenset((0, 1, 4, 9, 10))  # columns of words
_VERDICTS: Final = {True: "met", False: "MISSED", None: "?"}


@dataclass(slots=True)
class Report:
    """Everything that one run of the benchmark found."""

    about: Mapping[str, Any]
    rows: list[Row] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # topologies that could not be measured, and why
    complete: bool = False
    skipped: dict[str, str] = field(default_factory=dict)  # topologies that can't be measured here, and why

    def to_json(self) -> dict[str, Any]:
        return {
            **self.about,
            "complete": self.complete,
            "failures": self.failures,
            "skipped": self.skipped,
            "results": [row.to_json() for row in self.rows],
        }

    def write(self, path: Path) -> None:
        """A reader sees the file as it was before or as it is after, never in between."""
        write_whole(path, json.dumps(self.to_json(), indent=2) + "\n")

    def table(self) -> str:
        """One line a row; the ratio is of the best figures, and beside it of the medians."""
        lines = [list(_HEADINGS), *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
        text = [_joined(line, widths) for line in lines]
        text.insert(1, "  ".join("-" * width for width in widths).rstrip())
        text += [f"{name}: not measured: {reason}" for name, reason in self.failures.items()]
        text += [f"{name}: skipped: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(text)


def _joined(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column in _LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _cells(row: Row) -> list[str]:
    figures, floors = _best_and_median(row, row.figures), _best_and_median(row, row.floors)
    ratios = [f"{ratio:.2f}x" if ratio is not None else "" for ratio in (row.best_ratio, row.median_ratio)]
    goals = ", ".join(_goal(row, goal) for goal in row.goals)
    verdicts = ", ".join(_VERDICTS[row.met(goal)] for goal in row.goals)
    errors = f"{row.errors} errors" if row.errors else ""
    last = " ".join(word for word in (verdicts, errors) if word)
    floor = row.floor_name if row.floors else ""
    measure = f"{row.measure}, {row.unit}" + (f" ({row.generator})" if row.generator else "")
    return [row.topology, measure, *figures, floor, *floors, *ratios, goals, last]


def _best_and_median(row: Row, figures: Sequence[float]) -> list[str]:
    return [number(row.best(figures)), number(statistics.median(figures))] if figures else ["", ""]


def _goal(row: Row, goal: Goal) -> str:
    sign = ">=" if row.better == "higher" else "<="
    return f"{sign} {goal.limit:g}x" if goal.of == "ratio" else f"{sign} {goal.limit:,.12g} {row.unit}"


def number(value: float) -> str:
    """Three digits that count, or all those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"

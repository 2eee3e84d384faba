"""What `bench compare` reads: a report of named topologies or outcomes of the load harness, as measures with figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from bench.harness.outcome import Outcome
from bench.harness.outcome_words import shape_of
from bench.harness.plan import Plan
from bench.harness.results import ResultsError, read_json_lines
from bench.harness.wire_form import Count, misfit

_ROW: Final = {**dict.fromkeys(("topology", "measure", "unit", "better"), str), "figures": list, "errors": Count}
_FLOOR: Final = {"name": str, "figures": list}
_WINDOW_PERCENTS: Final = (50.0, 90.0, 99.0)
_SHORTEST: Final = 0.5  # of a window: less of it says nothing
#: What may differ between two runs that are compared: where the server was, and how exactly answers were looked at.
_ASIDE: Final = ("url", "tolerance")


@dataclass(frozen=True, slots=True)
class Measure:
    """Figures of one kind; of a floor in the same repetitions where there is one."""

    name: str
    measure: str
    unit: str
    better: str
    figures: tuple[float, ...]
    floor_name: str = ""
    floors: tuple[float, ...] = ()
    errors: int = 0  # requests that failed or were answered wrongly
    generator: str = ""

    @property
    def beside_floor(self) -> tuple[float, ...]:
        """Each figure as a multiple of its floor; empty where a repetition has none."""
        if len(self.floors) != len(self.figures) or not all(floor > 0 for floor in self.floors):
            return ()
        return tuple(figure / floor for figure, floor in zip(self.figures, self.floors, strict=True))


@dataclass(frozen=True, slots=True)
class Compared:
    """A file's measures, by name, measure and, where there are several of these, number."""

    kind: Literal["topologies", "outcomes"]
    measures: Mapping[tuple[str, str, int], Measure]
    facts: Mapping[str, Any] = field(default_factory=dict)  # machine and settings, where the file tells
    missing: Mapping[str, str] = field(default_factory=dict)  # topologies without figures, and why
    complete: bool = True


def read_compared(path: Path) -> Compared:
    """Raises ResultsError for a file that can't be read or is neither."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError):  # several lines of JSON, or what is no JSON: reading lines says which
        report = None
    if isinstance(report, dict) and "results" in report:
        return _report(report, path)
    outcomes = read_json_lines(path)
    if not outcomes:
        raise ResultsError(f"{path} holds no results")
    complete = all(outcome.complete for outcome in outcomes)
    return Compared("outcomes", _numbered(list(_outcome_measures(outcomes))), complete=complete)


def _report(report: dict[str, Any], path: Path) -> Compared:
    rows = report["results"]
    if found := misfit(rows, [_ROW], "results"):
        raise ResultsError(f"{path}: not a report of topologies: {found}")
    measures = [_row_measure(row, f"{path}: results[{at}]") for at, row in enumerate(rows)]
    facts = {name: report[name] for name in ("machine", "settings") if isinstance(report.get(name), dict)}
    missing = {
        str(name): str(why)
        for each in ("failures", "skipped")
        if isinstance(report.get(each), dict)
        for name, why in report[each].items()
    }
    return Compared("topologies", _numbered(measures), facts, missing, report.get("complete") is not False)


def _row_measure(row: dict[str, Any], where: str) -> Measure:
    floor = row.get("floor") or {"name": "", "figures": []}
    if found := misfit(floor, _FLOOR, f"{where}.floor"):
        raise ResultsError(found)
    if row["better"] not in ("higher", "lower"):
        raise ResultsError(f"{where}.better is neither higher nor lower")
    figures, floors = _finite(row["figures"], where), _finite(floor["figures"], f"{where}.floor")
    names = (row["topology"], row["measure"], row["unit"], row["better"])
    return Measure(*names, figures, floor["name"], floors, row["errors"], str(row.get("generator", "")))


def _finite(values: Sequence[Any], where: str) -> tuple[float, ...]:
    if any(type(value) not in (int, float) for value in values):
        raise ResultsError(f"{where}: its figures are not numbers")
    return tuple(float(value) for value in values if math.isfinite(value))


def _numbered(measures: Sequence[Measure]) -> dict[tuple[str, str, int], Measure]:
    """A report may hold a measure several times, beside several floors, in the same order each time."""
    found: dict[tuple[str, str, int], Measure] = {}
    for measure in measures:
        number = sum((measure.name, measure.measure) == key[:2] for key in found)
        found[measure.name, measure.measure, number] = measure
    return found


def _outcome_measures(outcomes: Sequence[Outcome]) -> Iterator[Measure]:
    """Windows are the figures; those of runs that are alike are put together."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(_name(outcome), []).append(outcome)
    for name, group in groups.items():
        failed = sum(outcome.failed for outcome in group)
        rates = [rate for outcome in group for rate in _window_rates(outcome)]
        yield Measure(name, "throughput", "req/s", "higher", tuple(rates), errors=failed)
        for percent in _WINDOW_PERCENTS:
            times = [time for outcome in group for time in _window_times(outcome, percent)]
            yield Measure(name, f"p{percent:g}", "ms", "lower", tuple(times), errors=failed)


def _name(outcome: Outcome) -> str:
    """What was asked and how, whatever the server's address."""
    scheme = str(outcome.about.get("url", "")).partition("://")[0]
    facts = [f"{name} {value}" for name, value in sorted(outcome.about.items()) if name not in _ASIDE]
    return ", ".join(word for word in (scheme, *facts, shape_of(outcome)) if word)


def _window_rates(outcome: Outcome) -> Iterator[float]:
    length = Plan.from_wire(outcome.plan).window
    for at, window in enumerate(outcome.windows):
        span = min(length, outcome.seconds - at * length)
        if span >= _SHORTEST * length:
            yield window.requests / span


def _window_times(outcome: Outcome, percent: float) -> Iterator[float]:
    length = Plan.from_wire(outcome.plan).window
    for at, window in enumerate(outcome.windows):
        if window.latencies.total and outcome.seconds - at * length >= _SHORTEST * length:
            yield window.latencies.percentile(percent) / 1e6

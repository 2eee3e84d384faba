"""Several runs on a page: their figures side by side, and throughput against latency."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from bench.harness.html_outcome import percentile_line
from bench.harness.html_parts import figure, table
from bench.harness.markup import Markup, element
from bench.harness.outcome import PERCENTILES, Outcome
from bench.harness.outcome_words import BUSY, differences, names_of, shape_of
from bench.harness.plot_axis import fitting_axis, linear_axis, percentile_axis
from bench.harness.plots import Series, legend, line_plot
from bench.report import number

_PLOTTED = (50.0, 99.0)


def figures_table(outcomes: Sequence[Outcome]) -> Markup:
    """A line for each run."""
    percentiles = [f"{'max' if percent == 100 else f'p{percent:g}'}, ms" for percent in PERCENTILES]
    headings = ["run", "remarks", "answers", "answers/s", *percentiles, "failed", "generator"]
    rows = [_row(name, outcome) for name, outcome in zip(names_of(outcomes), outcomes, strict=True)]
    if not any(row[1] for row in rows):
        headings, rows = [headings[0], *headings[2:]], [[row[0], *row[2:]] for row in rows]
    return table(
        "Figures of all runs" if len(outcomes) > 1 else "Figures of the run", headings, rows, words=len(headings) - 11
    )


def sweep_section(outcomes: Sequence[Outcome], prefix: str) -> Markup | None:
    """Throughput against latency, and all percentiles in one plot; None where there is but one run with answers."""
    answered = [outcome for outcome in outcomes if outcome.whole.requests]
    if len(answered) < 2:
        return None
    plots = [_throughput(answered, f"{prefix}t"), _percentiles(answered, f"{prefix}p")]
    return element("div", *plots, class_="plots")


def _row(name: str, outcome: Outcome) -> list[str]:
    figures = [outcome.percentile(percent) for percent in PERCENTILES]
    cpu = max((each.cpu for each in outcome.generators), default=math.nan)
    states = ("busy generator", cpu > BUSY), ("drifting", not outcome.stable), ("interrupted", not outcome.complete)
    return [
        *(name, ", ".join(state for state, holds in states if holds)),
        *(f"{outcome.whole.requests:,}", number(outcome.rate)),
        *(number(value) if math.isfinite(value) else "" for value in figures),
        *(f"{outcome.failed:,}", f"{cpu:.0%}" if math.isfinite(cpu) else ""),
    ]


def _throughput(outcomes: Sequence[Outcome], prefix: str) -> Markup:
    """A line for each percentile of runs that differ in nothing but how much load there was."""
    title = "Throughput against latency"
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        key = json.dumps([outcome.about, outcome.plan["shape"]["kind"]], sort_keys=True, default=str)
        groups.setdefault(key, []).append(outcome)
    names = differences([each[0] for each in groups.values()])
    lines = []
    for name, group in zip(names, groups.values(), strict=True):
        ordered = sorted(group, key=_load)  # in the order of the load: past its limit a server's throughput may fall
        for percent in _PLOTTED:
            points = [(each.rate, each.percentile(percent)) for each in ordered]
            said = [
                f"{shape_of(each)}: {number(each.rate)}/s, p{percent:g} {number(value)} ms"
                for each, (_, value) in zip(ordered, points, strict=True)
            ]
            lines.append(Series(f"{name + ', ' if name else ''}p{percent:g}", points, said))
    x = linear_axis("answers/s", [rate for line in lines for rate, _ in line.points])
    y = fitting_axis("latency, ms", [value for line in lines for _, value in line.points])
    rows = [
        [name, number(each.rate), *(number(each.percentile(p)) for p in _PLOTTED)]
        for name, each in zip(names_of(outcomes), outcomes, strict=True)
    ]
    figures = table(title, ["run", "answers/s", *(f"p{p:g}, ms" for p in _PLOTTED)], rows)
    return figure(title, line_plot(title, x, y, lines, prefix=prefix), figures, legend([line.name for line in lines]))


def _percentiles(outcomes: Sequence[Outcome], prefix: str) -> Markup:
    title = "Latency by percentile, all runs"
    names = names_of(outcomes)
    lines = [percentile_line(name, each.whole.latencies) for name, each in zip(names, outcomes, strict=True)]
    x = percentile_axis(max(each.whole.latencies.total for each in outcomes))
    y = fitting_axis("latency, ms", [value for line in lines for _, value in line.points])
    rows = [
        [name, *(number(each.percentile(percent)) for percent in PERCENTILES)]
        for name, each in zip(names, outcomes, strict=True)
    ]
    figures = table(f"{title}, ms", ["run", *(f"{percent:g} %" for percent in PERCENTILES)], rows)
    return figure(title, line_plot(title, x, y, lines, prefix=prefix), figures, legend(names))


def _load(outcome: Outcome) -> float:
    shape = outcome.plan["shape"]
    return float(shape.get("clients", shape.get("rate", 0)))

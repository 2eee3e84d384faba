"""The plots of the page: throughput against the 99th percentile, an SVG file for each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.harness.html_style import CSS
from bench.harness.markup import Markup, element, stylesheet
from bench.harness.plot_axis import fitting_axis
from bench.harness.plots import COLOURS, Series, line_plot
from bench.peers.findings import Finding

_WIDTH, _PLOT_HEIGHT, _LINE_HEIGHT = 640, 300, 18
_COLUMNS: Final = 3  # of the legend


def throughput_plot(found: Sequence[Finding], title: str) -> str:
    """The text of an SVG file. A line for each server, a point for each count of clients that was answered."""
    series = []
    for finding in found:
        levels = [level for level in finding.levels if level.requests]
        notes = [f"{finding.row}, {level.clients} clients: {level.rate:,.1f}/s, p99 {level.p99:.3g} ms" for level in levels]
        series.append(Series(finding.row, [(level.rate, level.p99) for level in levels], notes))
    rates = fitting_axis("requests/s", [x for each in series for x, _ in each.points])
    times = fitting_axis("p99, ms", [y for each in series for _, y in each.points])
    plot = line_plot(title, rates, times, series)
    lines = -(-len(series) // _COLUMNS)
    height = _PLOT_HEIGHT + lines * _LINE_HEIGHT + 8
    ground = element("rect", width=_WIDTH, height=height, style="fill: var(--card)")
    inner = element("svg", plot, width=_WIDTH, height=_PLOT_HEIGHT)
    names = [_name(each.name, index) for index, each in enumerate(series)]
    whole = element(
        "svg",
        *(stylesheet(CSS), ground, inner, *names),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height}",
        class_="plot",
    )
    return f"{whole}\n"


def _name(name: str, index: int) -> Markup:
    """In the legend, beside its line."""
    x = 20 + index % _COLUMNS * (_WIDTH // _COLUMNS)
    y = _PLOT_HEIGHT + index // _COLUMNS * _LINE_HEIGHT + 10
    kind = f"s{index % COLOURS} d{index // COLOURS % 3}"
    line = element("line", x1=x, y1=y, x2=x + 26, y2=y, class_=kind, stroke_width=2)
    return element("g", line, element("text", name, x=x + 32, y=y + 4))

"""One run on a page: its plots with their figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from bench.harness.html_parts import figure, notes, table
from bench.harness.markup import Markup, element, joined
from bench.harness.outcome import PERCENTILES, Outcome, Window
from bench.harness.outcome_words import warnings_of
from bench.harness.plan import Plan
from bench.harness.plot_axis import fitting_axis, linear_axis, percentile_axis
from bench.harness.plots import Mark, Series, bar_plot, legend, line_plot
from bench.histogram import Histogram
from bench.report import number

_POINTS: Final = 120  # of a line of percentiles
_MOST_BARS: Final = 32


def outcome_section(outcome: Outcome, prefix: str) -> Markup:
    """Warnings, plots and tables. `prefix` makes the ids of its plots unique on the page."""
    plots = [_percentiles(outcome, f"{prefix}p"), _over_time(outcome, f"{prefix}t"), _rates(outcome, f"{prefix}r")]
    if outcome.batch_sizes:
        plots.append(_batches(outcome, f"{prefix}b"))
    errors = _errors(outcome.whole) if outcome.failed else None
    grid = element("div", *(plot for plot in plots if plot), class_="plots")
    return joined(notes(list(warnings_of(outcome))), grid, errors, _generators(outcome))


def percentile_line(name: str, latencies: Histogram) -> Series:
    """Points (log10(1 / (1 - p)), ms), up to one request in all, where the slowest one is."""
    high = math.log10(max(latencies.total, 10))
    steps = [high * step / _POINTS for step in range(_POINTS)]
    points = [(step, latencies.percentile(100 * (1 - 10**-step)) / 1e6) for step in steps]
    return Series(name, [*points, (high, latencies.percentile(100.0) / 1e6)])


def _percentiles(outcome: Outcome, prefix: str) -> Markup | None:
    latencies = outcome.whole.latencies
    if not latencies.total:
        return None
    lines = [percentile_line("latency", latencies)]
    columns = [latencies]
    if outcome.plan["shape"]["kind"] == "open" and outcome.sent.total:
        lines = [percentile_line("from when it was due", latencies), percentile_line("from when it was sent", outcome.sent)]
        columns.append(outcome.sent)
    title = "Latency by percentile"
    y = fitting_axis("latency, ms", [value for line in lines for _, value in line.points])
    plot = line_plot(title, percentile_axis(latencies.total), y, lines, prefix=prefix)
    rows = [[f"{percent:g} %", *(number(each.percentile(percent) / 1e6) for each in columns)] for percent in PERCENTILES]
    names = [line.name for line in lines]
    figures = table(f"{title}, ms", ["percentile", *names], rows)
    return figure(title, plot, figures, legend(names) if len(names) > 1 else None)


def _over_time(outcome: Outcome, prefix: str) -> Markup | None:
    if not outcome.whole.requests:
        return None
    title, length = "Latency over time", Plan.from_wire(outcome.plan).window
    percents = (50.0, 99.0)
    lines = [
        Series(
            f"p{percent:g}",
            [((at + 0.5) * length, _percentile(window, percent)) for at, window in enumerate(outcome.windows)],
        )
        for percent in percents
    ]
    x = linear_axis("seconds", [len(outcome.windows) * length])
    y = fitting_axis("latency, ms", [value for line in lines for _, value in line.points])
    plot = line_plot(title, x, y, lines, _marks(outcome), prefix)
    rows = [
        [number(at * length), *(_figure(_percentile(window, percent)) for percent in percents), f"{window.requests:,}"]
        for at, window in enumerate(outcome.windows)
    ]
    figures = table(title, ["from second", *(f"{line.name}, ms" for line in lines), "answers"], rows)
    return figure(title, plot, figures, legend([line.name for line in lines]), _events(outcome))


def _rates(outcome: Outcome, prefix: str) -> Markup | None:
    """The last window may be cut short: what came in it is divided by the time that it had."""
    length = Plan.from_wire(outcome.plan).window
    spans = [max(min(length, outcome.seconds - at * length), 0.0) for at in range(len(outcome.windows))]
    held = [
        (at, window, span) for at, (window, span) in enumerate(zip(outcome.windows, spans, strict=True)) if span > length / 4
    ]
    if not held:
        return None
    lines = [Series("right answers", [((at + 0.5) * length, window.requests / span) for at, window, span in held])]
    if outcome.failed:
        lines.append(
            Series("failed", [((at + 0.5) * length, sum(window.errors.values()) / span) for at, window, span in held])
        )
    title = "Throughput over time"
    x = linear_axis("seconds", [len(outcome.windows) * length])
    y = linear_axis("requests/s", [value for line in lines for _, value in line.points])
    plot = line_plot(title, x, y, lines, _marks(outcome), prefix)
    names = [line.name for line in lines]
    rows = [[number(at * length), *(number(line.points[row][1]) for line in lines)] for row, (at, _, _) in enumerate(held)]
    figures = table(title, ["from second", *(f"{name}/s" for name in names)], rows)
    return figure(title, plot, figures, legend(names) if len(names) > 1 else None, _events(outcome))


def _batches(outcome: Outcome, prefix: str) -> Markup:
    bars, total = _grouped(outcome.batch_sizes), max(sum(outcome.batch_sizes.values()), 1)
    title = "Batch sizes"
    y = linear_axis("batches, %", [100 * count / total for _, count in bars])
    drawn = [(rows, 100 * count / total, f"{rows} rows: {count:,} batches") for rows, count in bars]
    figures = table(
        title, ["rows", "batches", "share"], [[rows, f"{count:,}", f"{count / total:.1%}"] for rows, count in bars]
    )
    return figure(title, bar_plot(title, "rows of a batch", y, drawn, prefix), figures)


def _grouped(sizes: dict[str, int]) -> list[tuple[str, int]]:
    """By size; in ranges that double where there are too many to be told apart."""
    if not all(size.isdecimal() for size in sizes):
        return list(sizes.items())
    ordered = sorted((int(size), count) for size, count in sizes.items())
    if len(ordered) <= _MOST_BARS:
        return [(str(size), count) for size, count in ordered]
    groups: dict[int, int] = {}
    for size, count in ordered:
        groups[size.bit_length()] = groups.get(size.bit_length(), 0) + count
    return [(f"{1 << bits - 1}-{(1 << bits) - 1}" if bits > 1 else str(bits), count) for bits, count in groups.items()]


def _errors(whole: Window) -> Markup:
    """Bars in a table: the kinds can be long texts."""
    total = sum(whole.errors.values())
    ordered = sorted(whole.errors.items(), key=lambda entry: -entry[1])
    rows = [
        [kind, element("span", class_="share", style=f"width:{240 * count / total:.0f}px", aria_hidden="true"), f"{count:,}"]
        for kind, count in ordered
    ]
    return joined(
        element("h3", "Errors"), table("Requests that failed, by kind", ["kind", "share", "requests"], rows, words=2)
    )


def _generators(outcome: Outcome) -> Markup:
    rows = [
        [str(number_), f"{each.cpu:.0%}", number(each.late * 1e3), f"{each.unsent:,}"]
        for number_, each in enumerate(outcome.generators, 1)
    ]
    headings = ["process", "share of a processor", "late, p99, ms", "never sent"]
    return joined(element("h3", "Generators"), table("How the load generators fared", headings, rows))


def _marks(outcome: Outcome) -> Sequence[Mark]:
    return [
        Mark(event.seconds, str(at), f"{event.seconds:.2f} s: {event.what}") for at, event in enumerate(outcome.events, 1)
    ]


def _events(outcome: Outcome) -> Markup | None:
    if not outcome.events:
        return None
    return element(
        "ol", *(element("li", f"{event.seconds:.2f} s: {event.what}") for event in outcome.events), class_="events"
    )


def _percentile(window: Window, percent: float) -> float:
    return window.latencies.percentile(percent) / 1e6 if window.latencies.total else math.nan


def _figure(value: float) -> str:
    return number(value) if math.isfinite(value) else ""

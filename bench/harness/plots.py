"""Plots as SVG: lines and bars, coloured by the page's style sheet, so that they can be read in the dark, too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.harness.markup import Markup, element, joined
from bench.harness.plot_axis import Axis

_WIDTH, _HEIGHT = 640.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 20.0, 34.0, 46.0
_MOST_DOTS: Final = 60  # points of a line that are marked each
#: Lines and fills that the style sheet knows; beyond, they come again with other dashes.
COLOURS: Final = 6


@dataclass(frozen=True, slots=True)
class Series:
    """Points of a line, by x; where y is not a number the line has a gap. `notes` are shown where one is pointed at."""

    name: str
    points: Sequence[tuple[float, float]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at x, by its number."""

    x: float
    label: str
    note: str


def line_plot(
    title: str, x: Axis, y: Axis, series: Sequence[Series], marks: Sequence[Mark] = (), prefix: str = ""
) -> Markup:
    """An SVG element with a title and a description for those who can't see it. `prefix` makes its ids unique."""
    what = f"{y.title} against {x.title}: {', '.join(each.name for each in series)}"
    lines = [_line(each, index, x, y) for index, each in enumerate(series)]
    return _svg(title, what, prefix, _grid(x, y), *(_mark(mark, x) for mark in marks), *lines)


def bar_plot(title: str, x_title: str, y: Axis, bars: Sequence[tuple[str, float, str]], prefix: str = "") -> Markup:
    """Bars side by side: (label, height, note) each."""
    room = (_WIDTH - _LEFT - _RIGHT) / max(len(bars), 1)
    width = min(room * 0.72, 56.0)
    every = math.ceil(len(bars) / 16)  # labels that fit
    drawn = []
    for index, (label, height, note) in enumerate(bars):
        middle, top = _LEFT + room * (index + 0.5), _y(y, height)
        area = {"x": middle - width / 2, "y": top, "width": width, "height": _HEIGHT - _BOTTOM - top}
        drawn.append(element("rect", element("title", note), class_="bar", **area))
        if index % every == 0:
            drawn.append(_text(label, middle, _HEIGHT - _BOTTOM + 18, "middle"))
    drawn.append(_text(x_title, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "middle", "axis"))
    return _svg(title, f"{y.title} by {x_title}", prefix, _rows(y), *drawn)


def legend(names: Iterable[str]) -> Markup:
    """Which line is whose: beside a plot, in text."""
    entries = []
    for index, name in enumerate(names):
        sample = element("line", x1=0, y1=5, x2=26, y2=5, class_=_class(index))
        entries.append(element("li", element("svg", sample, width=26, height=10, aria_hidden="true"), name))
    return element("ul", *entries, class_="legend")


def _svg(title: str, what: str, prefix: str, *contents: Markup) -> Markup:
    names = f"{prefix}title", f"{prefix}what"
    heads = element("title", title, id=names[0]), element("desc", what, id=names[1])
    box = f"0 0 {_WIDTH:g} {_HEIGHT:g}"
    return element("svg", *heads, *contents, viewBox=box, role="img", aria_labelledby=" ".join(names), class_="plot")


def _grid(x: Axis, y: Axis) -> Markup:
    bottom = _HEIGHT - _BOTTOM
    columns = []
    for value, label in x.ticks:
        place = _x(x, value)
        columns.append(element("line", x1=place, x2=place, y1=_TOP, y2=bottom, class_="grid"))
        columns.append(_text(label, place, bottom + 18, "middle"))
    title = _text(x.title, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "middle", "axis")
    return joined(_rows(y), *columns, title)


def _rows(y: Axis) -> Markup:
    rows = []
    for value, label in y.ticks:
        place = _y(y, value)
        rows.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=place, y2=place, class_="grid"))
        rows.append(_text(label, _LEFT - 8, place + 4, "end"))
    return joined(*rows, _text(y.title, 4, 12, "start", "axis"))


def _line(series: Series, index: int, x: Axis, y: Axis) -> Markup:
    parts, gap = [], True
    for across, up in series.points:
        if math.isfinite(up):
            parts.append(f"{'M' if gap else 'L'}{_x(x, across):.1f} {_y(y, up):.1f}")
        gap = not math.isfinite(up)
    path = element("path", d="".join(parts), class_=_class(index), fill="none") if parts else None
    dots = []
    if len(series.points) <= _MOST_DOTS:
        for number, (across, up) in enumerate(series.points):
            if math.isfinite(up):
                note = element("title", series.notes[number]) if series.notes else None
                dots.append(element("circle", note, cx=_x(x, across), cy=_y(y, up), r=3, class_=_class(index)))
    return element("g", element("title", series.name), path, *dots)


def _mark(mark: Mark, x: Axis) -> Markup:
    place = _x(x, mark.x)
    line = element("line", x1=place, x2=place, y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="event")
    return element("g", element("title", mark.note), line, _text(mark.label, place, _TOP - 6, "middle", "event"))


def _text(text: str, x: float, y: float, anchor: str, kind: str = "tick") -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def _class(index: int) -> str:
    return f"s{index % COLOURS} d{index // COLOURS % 3}"


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _TOP - _BOTTOM)

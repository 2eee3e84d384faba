"""TensorFlow Serving's text format of metrics, which is Prometheus' 0.0.4 with habits of its own: lines that dashboards
and scrapers written for it expect to the byte. (`prometheus_client` writes other braces, numbers and an order of its own.)
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

#: The values of one metric by its labels' values. A counter's is one number; a histogram's are the counts of its buckets,
#: the last without an upper bound, and then the sum of what was counted.
Series = Mapping[tuple[str, ...], Sequence[int]]


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Bounds of buckets, each the one before it times `factor`, multiplied one by one as upstream does."""
    bounds = [first]
    while len(bounds) < count:
        bounds.append(bounds[-1] * factor)
    return tuple(bounds)


#: Of all upstream's latencies, in microseconds.
LATENCY: Final = exponential(10.0, 1.8, 33)


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` is upstream's internal one, a path. A metric with `bounds` is a histogram.

    `late`: upstream knows it only from its first value on; of others the type is told before.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    late: bool = False

    def empty(self) -> list[int]:
        """Values to add to."""
        return [0] * (len(self.bounds) + 2 if self.bounds else 1)

    def observe(self, values: list[int], value: int) -> None:
        """Count a value in a histogram. One that equals a bound belongs into the bucket above it, as upstream."""
        values[bisect_right(self.bounds, value)] += 1
        values[-1] += value


def expose(metrics: Mapping[Metric, Series]) -> str:
    """The page: metrics in the order of their internal names, each with its series in the order of its labels' values."""
    lines: list[str] = []
    for metric in sorted(metrics, key=lambda metric: metric.name):
        series = metrics[metric]
        if series or not metric.late:
            lines += _lines(metric, series)
    return "\n".join(lines) + "\n"


def first_cell(metric: Metric, series: Series) -> int:
    """The number of the first series, in the order of the page. Upstream takes it to be an integer whatever the metric is:
    where there is none, and of a histogram, it is 0.
    """
    return 0 if metric.bounds or not series else series[min(series)][0]


_NO_WORD: Final = re.compile("[^a-zA-Z0-9_]")


def _lines(metric: Metric, series: Series) -> Iterator[str]:
    name = _NO_WORD.sub(":", metric.name)
    yield f"# TYPE {name} {metric.kind}"
    bounds = [f"{bound:.6g}" for bound in metric.bounds] + ["+Inf"]
    for values in sorted(series):
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(metric.labels, values, strict=True))
        if metric.bounds:
            yield from _histogram(name, labels, bounds, series[values])
        else:
            (number,) = series[values]
            yield f"{name}{{{labels}}} {number}"


def _histogram(name: str, labels: str, bounds: Sequence[str], values: Sequence[int]) -> Iterator[str]:
    *counts, total = values
    before = labels + "," if labels else ""
    below = 0
    for bound, count in zip(bounds, counts, strict=True):
        below += count
        yield f'{name}_bucket{{{before}le="{bound}"}} {below}'
    yield f"{name}_sum{{{labels}}} {total:.6g}"
    yield f"{name}_count{{{labels}}} {below}"


def _escaped(value: str) -> str:
    """Upstream leaves line ends as they are, so that a request for a model whose name has one would spoil the whole page."""
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text.encode(errors="replace").decode()  # of a folder's name that is no UTF-8

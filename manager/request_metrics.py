"""The figures of requests and batches as Prometheus' metrics. docs/metrics.md lists them."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

from manager.request_figures import Rows
from shm.counter_families import (
    BATCH_CLOSED,
    BATCH_RUN,
    BATCHES,
    DURATION,
    ENQUEUED,
    EXECUTED_ROWS,
    FAMILIES,
    INFLIGHT,
    INPUT_ROWS,
    LINGER,
    MERGE,
    PADDING,
    QUEUE,
    REJECTED,
    REQUESTS,
    RETRIED,
    RING_OCCUPANCY,
    RUN,
    Family,
)

_NS: Final = 1e9
_MILLIONTHS: Final = 1e6


class RequestFigure(NamedTuple):
    """A metric and the counters that it is made of, whose words are divided by `unit`."""

    name: str
    kind: str
    help: str
    family: Family
    unit: float = 1.0

    @property
    def labels(self) -> tuple[str, ...]:
        return self.family.labels


REQUEST_FIGURES: Final = (
    RequestFigure("ringserve_requests_total", "counter", "Requests, by how they ended.", REQUESTS),
    RequestFigure("ringserve_request_duration_seconds", "histogram", "How long successful requests took.", DURATION, _NS),
    RequestFigure("ringserve_queue_duration_seconds", "histogram", "How long they waited for a batch.", QUEUE, _NS),
    RequestFigure("ringserve_run_duration_seconds", "histogram", "How long their batches ran.", RUN, _NS),
    RequestFigure("ringserve_batch_rows", "histogram", "Rows of the batches that ran.", BATCHES),
    RequestFigure("ringserve_batch_run_seconds", "histogram", "How long batches ran.", BATCH_RUN, _NS),
    RequestFigure(
        "ringserve_batch_wait_seconds", "histogram", "How long a batch's oldest request waited for it.", LINGER, _NS
    ),
    RequestFigure("ringserve_batch_merge_seconds", "histogram", "How long batches were gathered and split.", MERGE, _NS),
    RequestFigure("ringserve_batches_closed_total", "counter", "Batches, by why they were not held open.", BATCH_CLOSED),
    RequestFigure("ringserve_batch_retries_total", "counter", "Failed batches whose requests were run apart.", RETRIED),
    RequestFigure(
        "ringserve_batch_executed_rows", "histogram", "Tracks the batch size distribution on processing.", EXECUTED_ROWS
    ),
    RequestFigure("ringserve_batch_padding_rows", "histogram", "Tracks the padding size distribution on batches.", PADDING),
    RequestFigure(
        "ringserve_batch_input_rows", "histogram", "Tracks the batch size distribution on the inputs.", INPUT_ROWS
    ),
    RequestFigure(
        "ringserve_batch_rejected_requests_total", "counter", "Requests that were answered without a batch.", REJECTED
    ),
    RequestFigure("ringserve_inflight_requests", "gauge", "Requests in lanes, not answered yet.", INFLIGHT),
    RequestFigure("ringserve_enqueued_requests", "gauge", "Of those, the ones that no batch has begun with.", ENQUEUED),
    RequestFigure(
        "ringserve_ring_occupancy_ratio", "gauge", "Share of the fullest lane that is occupied.", RING_OCCUPANCY, _MILLIONTHS
    ),
)


def text(rows: Rows) -> str:
    """All figures in Prometheus' text format 0.0.4, with whatever samples there are.

    Written by hand: 200 models have 30,000 lines, which take prometheus_client 0.4 s and this a 20th of that.
    """
    by_family: dict[str, list[tuple[str, list[int]]]] = {}
    for (family, labels), words in sorted(rows.items()):
        known = FAMILIES.get(family)
        if known is not None:
            pairs = ",".join(f'{name}="{_escaped(label)}"' for name, label in zip(known.labels, labels, strict=True))
            by_family.setdefault(family, []).append((pairs, words))
    lines: list[str] = []
    for figure in REQUEST_FIGURES:
        lines.append(f"# HELP {figure.name} {figure.help}\n# TYPE {figure.name} {figure.kind}\n")
        write = _write_histogram if figure.kind == "histogram" else _write_number
        for pairs, words in by_family.get(figure.family.name, ()):
            write(lines, figure, pairs, words)
    return "".join(lines)


def _write_number(lines: list[str], figure: RequestFigure, pairs: str, words: list[int]) -> None:
    lines.append(f"{figure.name}{{{pairs}}} {_number(words[0], figure)}\n")


def _write_histogram(lines: list[str], figure: RequestFigure, pairs: str, words: list[int]) -> None:
    bucket = f'{figure.name}_bucket{{{pairs},le="'
    count = 0
    for bound, number in zip(_bounds(figure), words, strict=False):  # the last word is the sum
        count += number
        lines.append(f'{bucket}{bound}"}} {count}\n')
    lines.append(f"{figure.name}_sum{{{pairs}}} {_number(words[-1], figure)}\n{figure.name}_count{{{pairs}}} {count}\n")


def _number(word: int, figure: RequestFigure) -> str:
    return str(word) if figure.unit == 1 else repr(word / figure.unit)


@functools.cache
def _bounds(figure: RequestFigure) -> list[str]:
    """Six digits each, as upstream's page has them."""
    return [repr(float(f"{bound / figure.unit:.6g}")) for bound in figure.family.bounds] + ["+Inf"]


def _escaped(label: str) -> str:
    """Half a surrogate pair, which a client may have sent, has no UTF-8."""
    printable = label.encode("utf-8", "replace").decode()
    return printable.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

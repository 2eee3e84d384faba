"""The server's figures under TensorFlow Serving's names, for the dashboards that were made for those."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from manager.load_record import LoadRecord
from manager.request_figures import Rows
from manager.upstream_exposition import LATENCY, Metric, Series, exponential, expose, first_cell
from shm.counter_families import (
    BATCH_RUN,
    BATCHES,
    DURATION,
    EXECUTED_ROWS,
    INPUT_ROWS,
    PADDING,
    QUEUING,
    REQUESTS,
    RUN,
)

_SECONDS: Final = 1.0

_EXAMPLES: Final = exponential(1.0, 2.0, 15)
_ROWS: Final = exponential(1.0, 2.0, 14)
_QUEUING: Final = exponential(100.0, 1.2, 52)  # microseconds

#: Protocols that upstream has too: it can't have counted requests of others.
_ENTRY_POINTS: Final = ("REST", "GRPC")
#: The name of the batches' thread pool, which upstream's server leaves empty.
_NO_POOL: Final = ("",)
_APIS: Final = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}

_SERVING: Final = "/tensorflow/serving/"
_BATCHING: Final = f"{_SERVING}batching_session/"
_CORE: Final = "/tensorflow/core/"

_REQUESTS: Final = Metric(f"{_SERVING}request_count", "counter", ("model_name", "status"))
_REQUEST_LATENCY: Final = Metric(f"{_SERVING}request_latency", "histogram", ("model_name", "API", "entrypoint"), LATENCY)
_RUN_LATENCY: Final = Metric(f"{_SERVING}runtime_latency", "histogram", ("model_name", "API", "runtime"), LATENCY)
_BATCHES: Final = Metric(f"{_BATCHING}wrapped_run_count", "counter")
_BATCH_ROWS: Final = Metric(f"{_BATCHING}processed_batch_size", "histogram", bounds=_ROWS, late=True)
_INPUT_ROWS: Final = Metric(f"{_BATCHING}input_batch_size", "histogram", bounds=_ROWS, late=True)
_PADDING: Final = Metric(f"{_BATCHING}padding_size", "histogram", ("execution_batch_size",), _ROWS, late=True)
_QUEUING_LATENCY: Final = Metric(f"{_BATCHING}queuing_latency", "histogram", ("thread_pool_name",), _QUEUING)
_GRAPH_RUNS: Final = Metric(f"{_CORE}graph_runs", "counter")
_GRAPH_RUN_TIME: Final = Metric(f"{_CORE}graph_run_time_usecs", "counter")

#: Known to upstream from the start, and so shown with their types; docs/metrics.md says why they have no values here.
_WITHOUT_SERIES: Final = (
    Metric(f"{_SERVING}request_example_counts", "histogram", ("model",), _EXAMPLES),
    Metric(f"{_SERVING}request_example_count_total", "counter", ("model",)),
    Metric(f"{_SERVING}mlmd_map", "gauge", ("model_name", "version")),
    Metric(f"{_SERVING}request_log_count", "counter", ("model_name", "status_code")),
)

_Sample = tuple[tuple[str, ...], Sequence[int]]


class UpstreamPage:
    """Made anew once a second at most: the loop that it takes time from has more to do."""

    def __init__(self, count: Callable[[], Rows], loads: LoadRecord, clock: Callable[[], float] = time.monotonic) -> None:
        """`count` returns the rows of `RequestFigures`."""
        self._count = count
        self._loads = loads
        self._clock = clock
        self._text = ""
        self._due = -math.inf

    def text(self) -> str:
        if self._clock() >= self._due:
            self._text = expose(self._metrics())
            self._due = self._clock() + _SECONDS
        return self._text

    def first_cells(self, names: Iterable[str]) -> dict[str, int]:
        """As they are now, what upstream's reload looks at of the metrics with these internal names (`first_cell`); 0 of
        those that there are not.
        """
        cells = {metric.name: first_cell(metric, series) for metric, series in self._metrics().items()}
        return {name: cells.get(name, 0) for name in names}

    def _metrics(self) -> dict[Metric, Series]:
        return {**request_metrics(self._count()), **self._loads.metrics()}


def request_metrics(rows: Rows) -> dict[Metric, Series]:
    """Upstream's metrics of requests and their runs, from the counts that front ends and workers keep."""
    families: dict[str, dict[tuple[str, ...], Sequence[int]]] = {}
    for (family, labels), words in rows.items():
        if any(words):  # upstream shows a series from its first value on
            families.setdefault(family, {})[labels] = words
    batches = families.get(BATCHES.name, {})
    executed = {**batches, **families.get(EXECUTED_ROWS.name, {})}  # as they were gathered, where it is not known
    runs = families.get(BATCH_RUN.name, {}).values()
    return {
        **{metric: {} for metric in _WITHOUT_SERIES},
        _REQUESTS: _summed(_requests(families.get(REQUESTS.name, {}))),
        _REQUEST_LATENCY: _in_microseconds(_summed(_request_latency(families.get(DURATION.name, {})))),
        _RUN_LATENCY: _in_microseconds(_summed(_run_latency(families.get(RUN.name, {})))),
        _BATCHES: _summed(((), [sum(words[:-1])]) for words in batches.values()),
        _BATCH_ROWS: _summed(((), words) for words in executed.values()),
        _INPUT_ROWS: _summed(((), words) for words in families.get(INPUT_ROWS.name, {}).values()),
        _PADDING: _summed((labels[-1:], words) for labels, words in families.get(PADDING.name, {}).items()),
        _QUEUING_LATENCY: _in_microseconds(_summed((_NO_POOL, words) for words in families.get(QUEUING.name, {}).values())),
        _GRAPH_RUNS: _summed(((), [sum(words[:-1])]) for words in runs),
        _GRAPH_RUN_TIME: _in_microseconds(_summed(((), words[-1:]) for words in runs)),
    }


def _summed(samples: Iterator[_Sample]) -> dict[tuple[str, ...], list[int]]:
    sums: dict[tuple[str, ...], list[int]] = {}
    for labels, words in samples:
        before = sums.get(labels)
        sums[labels] = list(words) if before is None else [a + b for a, b in zip(before, words, strict=True)]
    return sums


def _requests(family: Mapping[tuple[str, ...], Sequence[int]]) -> Iterator[_Sample]:
    for (model, _, _, api, entry_point, code), words in family.items():
        if _is_upstreams(api, entry_point):
            yield (model, code), words


def _request_latency(family: Mapping[tuple[str, ...], Sequence[int]]) -> Iterator[_Sample]:
    for (model, _, _, api, entry_point), words in family.items():
        if _is_upstreams(api, entry_point):
            name = api if entry_point == "REST" else _APIS[api]
            yield (model, name, entry_point), words


def _is_upstreams(api: str, entry_point: str) -> bool:
    """Does upstream count these requests? Over gRPC neither those for metadata and states nor multi-inference."""
    return entry_point in _ENTRY_POINTS and (entry_point == "REST" or api in _APIS)


def _run_latency(family: Mapping[tuple[str, ...], Sequence[int]]) -> Iterator[_Sample]:
    """Whoever asked: upstream times the run itself, which knows nothing of protocols."""
    for (model, _, _, api, _), words in family.items():
        if api in _APIS:
            yield (model, _APIS[api], "TF1"), words


def _in_microseconds(sums: Mapping[tuple[str, ...], list[int]]) -> Series:
    """The same with the sums, which come last, in microseconds instead of nanoseconds."""
    return {labels: [*words[:-1], words[-1] // 1000] for labels, words in sums.items()}

"""The server's figures as Prometheus reads them, made of its description and of what its processes have counted.

docs/metrics.md lists them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psutil

from manager.model_view import has_ended, has_failed
from manager.request_figures import Rows
from manager.request_metrics import text
from ringserve.channel import Message
from ringserve.servable import State

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_Samples = Iterator[tuple[tuple[str, ...], float]]

_SECONDS: Final = 1.0
_STATES: Final = tuple(state.name for state in State if state is not State.UNKNOWN)


class Figure(NamedTuple):
    """A metric: `kind` is "gauge" or "counter"; a counter's name ends in _total."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


FIGURES: Final = tuple(
    Figure(f"ringserve_{name}", kind, text, labels)
    for name, kind, text, labels in (
        ("version_state", "gauge", "1 for the state that a version is in, 0 for others.", ("model", "version", "state")),
        ("version_load_seconds", "gauge", "How long a loaded version took to load.", ("model", "version")),
        ("version_loads_total", "counter", "Loads that have ended, ok or failed.", ("model", "result")),
        ("warm_up_seconds", "gauge", "How long the warm-up of a version took.", ("model", "version", "source")),
        ("warm_up_requests", "gauge", "Requests that warmed up a version.", ("model", "version", "source")),
        ("label_weight", "gauge", "A version's share of a label's requests.", ("model", "label", "version")),
        (
            "shadow_requests_total",
            "counter",
            "Copies of requests for a shadow: compared, differed (of those compared), failed, dropped.",
            ("model", "version", "outcome"),
        ),
        ("worker_up", "gauge", "1 when a worker takes requests.", ("worker",)),
        ("worker_restarts_total", "counter", "Processes that replaced one of a worker's that had ended.", ("worker",)),
        ("frontend_restarts_total", "counter", "The same of a front end.", ("frontend",)),
        ("process_resident_bytes", "gauge", "Resident memory, with what is shared.", ("process",)),
        ("model_memory_reserved_bytes", "gauge", "Memory reserved for versions.", ()),
        ("model_memory_limit_bytes", "gauge", "The limit of that memory; 0 is none.", ()),
        ("config_reloads_total", "counter", "Changes of the model config: ok, refused or incomplete.", ("result",)),
    )
)


def render(description: Message, rows: Rows) -> str:
    """All figures, in Prometheus' text format 0.0.4. `rows`: what `RequestFigures` found."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - 0.1 s, and many servers are not asked

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Described(description))
    return generate_latest(registry).decode() + text(rows)


class MetricsPage:
    """What `render` says, made anew once a second at most: the loop that it takes time from has more to do."""

    def __init__(
        self, describe: Callable[[], Message], count: Callable[[], Rows], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`count` returns the rows of `RequestFigures`."""
        self._describe = describe
        self._count = count
        self._clock = clock
        self._text = ""
        self._due = -math.inf

    def text(self) -> str:
        if self._clock() >= self._due:
            self._text = render(self._describe(), self._count())
            self._due = self._clock() + _SECONDS
        return self._text


class _Described:
    """A collector, as prometheus_client calls what yields metrics."""

    def __init__(self, description: Message) -> None:
        self._description = description

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the registry need not look for names that clash."""
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - as above

        for figure in FIGURES:
            family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            metric = family(figure.name, figure.help, labels=figure.labels)
            for labels, value in _SAMPLES[figure.name](self._description):
                metric.add_metric(labels, value)
            yield metric


def _versions(description: Message) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Those that have not ended, and of each model the last that failed: the others only grow in number."""
    for model in description["models"]:
        if has_ended(model):
            continue
        entries = [entry for entry in model["versions"] if entry["state"] != State.END.name]
        failed = [entry for entry in model["versions"] if has_failed(entry)]
        for entry in entries + sorted(failed, key=lambda entry: entry["since"])[-1:]:
            yield model["name"], str(entry["version"]), entry


def _states(description: Message) -> _Samples:
    for model, version, entry in _versions(description):
        for state in _STATES:
            yield (model, version, state), float(entry["state"] == state)


def _load_seconds(description: Message) -> _Samples:
    for model, version, entry in _versions(description):
        if entry["load_seconds"] is not None:
            yield (model, version), entry["load_seconds"]


def _loads(description: Message) -> _Samples:
    gone = {model["name"] for model in description["models"] if has_ended(model)}
    for load in description["loads"]:
        if load["model"] not in gone:
            yield (load["model"], load["result"]), load["count"]


def _warm_up(description: Message, what: str) -> _Samples:
    for model, version, entry in _versions(description):
        if entry["warm_up"]:
            yield (model, version, entry["warm_up"]["source"]), entry["warm_up"][what]


def _label_weights(description: Message) -> _Samples:
    for model in description["models"]:
        for label, shares in model["labels"].items():
            total = sum(weight for _, weight in shares) or 1.0
            for version, weight in shares:
                yield (model["name"], label, str(version)), weight / total


def _shadow_requests(description: Message) -> _Samples:
    for model in description["models"]:
        for version, _, counts in model["shadows"]:
            for outcome, count in counts.items():
                yield (model["name"], str(version), outcome), count


def _workers_up(description: Message) -> _Samples:
    for worker in description["workers"]:
        yield (worker["device"],), float(worker["state"] == "ready")


def _worker_restarts(description: Message) -> _Samples:
    for worker in description["workers"]:
        yield (worker["device"],), worker["restarts"]


def _frontend_restarts(description: Message) -> _Samples:
    for frontend in description["frontends"]:
        yield (frontend["title"],), frontend["restarts"]


def _resident(description: Message) -> _Samples:
    yield ("supervisor",), psutil.Process(os.getpid()).memory_info().rss
    for process in (*description["workers"], *description["frontends"]):
        if process["rss_bytes"] is not None:
            yield (process["title"],), process["rss_bytes"]


def _memory(description: Message, what: str) -> _Samples:
    yield (), description["memory"][what]


def _reloads(description: Message) -> _Samples:
    for result, count in description["reloads"].items():
        yield (result,), count


_SAMPLES: Final = {
    f"ringserve_{name}": samples
    for name, samples in {
        "version_state": _states,
        "version_load_seconds": _load_seconds,
        "version_loads_total": _loads,
        "warm_up_seconds": lambda description: _warm_up(description, "seconds"),
        "warm_up_requests": lambda description: _warm_up(description, "requests"),
        "label_weight": _label_weights,
        "shadow_requests_total": _shadow_requests,
        "worker_up": _workers_up,
        "worker_restarts_total": _worker_restarts,
        "frontend_restarts_total": _frontend_restarts,
        "process_resident_bytes": _resident,
        "model_memory_reserved_bytes": lambda description: _memory(description, "reserved_bytes"),
        "model_memory_limit_bytes": lambda description: _memory(description, "limit_bytes"),
        "config_reloads_total": _reloads,
    }.items()
}

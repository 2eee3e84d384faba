"""The figures of requests: summed over processes, and written so that Prometheus reads them."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from manager.metrics import FIGURES
from manager.request_figures import RequestFigures, Rows
from manager.request_metrics import REQUEST_FIGURES, RequestFigure, text
from shm.counter_families import FAMILIES
from shm.counters import CounterTable

WAY = ("m", "1", "serving_default", "predict", "REST")


def counted(*tables: dict[tuple[str, tuple[str, ...]], list[int]]) -> RequestFigures:
    made = []
    for rows in tables:
        table = CounterTable.create(1 << 18)
        for (family, labels), words in rows.items():
            table.cells(family, labels, len(words))[:] = memoryview(b"".join(w.to_bytes(8, "little") for w in words)).cast(
                "Q"
            )
        made.append(table)
    return RequestFigures(made)


def test_several_processes_count_as_one() -> None:
    run = [1] * 35
    figures = counted(
        {
            ("run", WAY): run,
            ("requests", (*WAY, "OK")): [3],
            ("ring_occupancy", ("m", "cpu:0")): [7],
            ("inflight", ("m", "c")): [1],
        },
        {
            ("run", WAY): run,
            ("requests", (*WAY, "OK")): [4],
            ("ring_occupancy", ("m", "cpu:0")): [5],
            ("inflight", ("m", "c")): [2],
        },
        {("other", ()): [9]},
    )
    assert figures.rows() == {
        ("run", WAY): [2] * 35,
        ("requests", (*WAY, "OK")): [7],
        ("ring_occupancy", ("m", "cpu:0")): [7],
        ("inflight", ("m", "c")): [3],
        ("other", ()): [9],
    }


def test_rows_that_no_process_of_ours_writes_are_left_out() -> None:
    figures = counted({("run", WAY): [1] * 34, ("run", WAY[1:]): [1] * 35}, {("new", ()): [1, 2]}, {("new", ()): [1]})
    rows = figures.rows()
    assert rows == {("new", ()): [1, 2]}
    assert text(rows) == text({})


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
COUNTS = st.integers(0, 1 << 50)


@st.composite
def some_rows(draw: st.DrawFn) -> Rows:
    rows: Rows = {}
    for family in draw(st.lists(st.sampled_from(list(FAMILIES.values())), max_size=5)):
        labels = tuple(draw(TEXT) for _ in family.labels)
        rows[family.name, labels] = draw(st.lists(COUNTS, min_size=family.words, max_size=family.words))
    return rows


class Collector:
    """The same figures as prometheus_client writes them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        return [self._metric(figure) for figure in REQUEST_FIGURES]

    def _metric(self, figure: RequestFigure) -> Metric:
        found = [(labels, words) for (family, labels), words in self._rows.items() if family == figure.family.name]
        if figure.kind == "histogram":
            histogram = HistogramMetricFamily(figure.name, figure.help, labels=figure.labels)
            bounds = [str(float(f"{bound / figure.unit:.6g}")) for bound in figure.family.bounds]
            for labels, words in found:
                buckets = list(zip([*bounds, "+Inf"], accumulate(words[:-1]), strict=True))
                histogram.add_metric(labels, buckets, words[-1] / figure.unit)
            return histogram
        make = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
        metric = make(figure.name, figure.help, labels=figure.labels)
        for labels, words in found:
            metric.add_metric(labels, words[0] / figure.unit)
        return metric


def parsed(page: str) -> dict[str, object]:
    return {
        family.name: (
            family.type,
            family.documentation,
            {(s.name, *sorted(s.labels.items())): s.value for s in family.samples},
        )
        for family in text_string_to_metric_families(page)
    }


@given(some_rows())
def test_what_is_written_is_what_prometheus_client_writes(rows: Rows) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(rows))
    assert parsed(text(rows)) == parsed(generate_latest(registry).decode())


def test_a_histogram_in_seconds() -> None:
    words = [0] * 35
    words[0], words[2], words[33], words[34] = 2, 1, 1, 1_500_000_000
    lines = text({("duration", WAY): words}).splitlines()
    labels = 'model="m",version="1",signature="serving_default",api="predict",entrypoint="REST"'
    name = "ringserve_request_duration_seconds"
    assert f'{name}_bucket{{{labels},le="1e-05"}} 2' in lines
    assert f'{name}_bucket{{{labels},le="3.24e-05"}} 3' in lines
    assert f'{name}_bucket{{{labels},le="1474.76"}} 3' in lines
    assert f'{name}_bucket{{{labels},le="+Inf"}} 4' in lines
    assert f"{name}_sum{{{labels}}} 1.5" in lines
    assert f"{name}_count{{{labels}}} 4" in lines


def test_half_a_surrogate_pair_comes_out_as_something_else() -> None:
    page = text({("requests", ("\ud800", "", "", "", "REST", "OK")): [1]})
    assert 'model="?"' in page
    page.encode()


def listed() -> list[tuple[str, list[str]]]:
    """The metrics of the documentation's tables, with their labels."""
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    cells = [line.split("|") for line in page.splitlines() if line.startswith("| `ringserve_")]
    return [(cell[1].strip(" `"), re.findall(r"`([^`]+)`", cell[2])) for cell in cells]


def test_the_documentation_has_every_figure_and_no_other() -> None:
    requests = [(figure.name, list(figure.labels)) for figure in REQUEST_FIGURES]
    assert listed() == requests + [(figure.name, list(figure.labels)) for figure in FIGURES]

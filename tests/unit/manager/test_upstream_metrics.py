"""The server's figures under TensorFlow Serving's names."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from manager.load_record import LoadRecord
from manager.request_figures import Rows
from manager.upstream_exposition import LATENCY, exponential
from manager.upstream_metrics import UpstreamPage
from shm.counter_families import BATCH_RUN, BATCHES, FAMILIES, QUEUING_BOUNDS, ROWS_BOUNDS, TIME_BOUNDS

EMPTY: Final = """\
# TYPE :tensorflow:cc:saved_model:load_attempt_count counter
# TYPE :tensorflow:cc:saved_model:load_latency counter
# TYPE :tensorflow:core:graph_run_time_usecs counter
# TYPE :tensorflow:core:graph_runs counter
# TYPE :tensorflow:serving:batching_session:queuing_latency histogram
# TYPE :tensorflow:serving:batching_session:wrapped_run_count counter
# TYPE :tensorflow:serving:mlmd_map gauge
# TYPE :tensorflow:serving:model_warmup_latency histogram
# TYPE :tensorflow:serving:model_warmup_records_read counter
# TYPE :tensorflow:serving:request_count counter
# TYPE :tensorflow:serving:request_example_count_total counter
# TYPE :tensorflow:serving:request_example_counts histogram
# TYPE :tensorflow:serving:request_latency histogram
# TYPE :tensorflow:serving:request_log_count counter
# TYPE :tensorflow:serving:runtime_latency histogram
"""


class Figures:
    """Counts that a test makes."""

    def __init__(self) -> None:
        self.counts: Rows = {}

    def rows(self) -> Rows:
        return self.counts

    def count(self, family: str, labels: str, *words: int) -> None:
        """A single number, or the first buckets of a histogram and its sum. `labels`: separated by commas."""
        whole = list(words) if len(words) == 1 else [*words[:-1], *[0] * (FAMILIES[family].words - len(words)), words[-1]]
        key = tuple(labels.split(","))
        assert (len(key), len(whole)) == (len(FAMILIES[family].labels), FAMILIES[family].words)
        self.counts[family, key] = whole


@pytest.fixture
def figures() -> Figures:
    return Figures()


def page(figures: Figures) -> str:
    return UpstreamPage(figures.rows, LoadRecord()).text()


def lines(figures: Figures, name: str) -> list[str]:
    """Those of one metric, without zeros' noise: of its buckets only each that has more than the one before it."""
    found = [line for line in page(figures).splitlines() if re.match(rf":tensorflow:{name}(_bucket|_sum|_count)?{{", line)]
    return [
        line
        for n, line in enumerate(found)
        if "_bucket{" not in line or int(line.split()[-1]) > (int(found[n - 1].split()[-1]) if 'le="10"' not in line else 0)
    ]


def test_a_server_that_has_done_nothing_shows_the_types(figures: Figures) -> None:
    assert page(figures) == EMPTY
    figures.count("requests", "m,1,s,predict,REST,OK", 0)
    figures.count("batches", "m,1,s,cpu:0", 0, 0)
    figures.count("batch_run", "m,1,s,cpu:0", 0, 0)
    figures.count("executed_rows", "m,1,s,cpu:0", 0, 0)
    figures.count("padding", "m,1,s,cpu:0,4", 0, 0)
    figures.count("input_rows", "m,1,s,cpu:0", 0, 0)
    figures.count("queuing", "m,1,s,cpu:0", 0, 0)
    assert page(figures) == EMPTY, "no series before their first value"


def test_requests_are_summed_over_what_upstream_does_not_tell_apart(figures: Figures) -> None:
    figures.count("requests", "m,1,s,predict,REST,OK", 2)
    figures.count("requests", "m,2,s,predict,REST,OK", 3)
    figures.count("requests", "m,2,t,classify,GRPC,OK", 4)
    figures.count("requests", "m,,,,REST,OK", 5)  # status, metadata, OPTIONS
    figures.count("requests", "m,2,s,predict,REST,INVALID_ARGUMENT", 6)
    figures.count("requests", ",,,,REST,INVALID_ARGUMENT", 7)
    assert lines(figures, "serving:request_count") == [
        ':tensorflow:serving:request_count{model_name="",status="INVALID_ARGUMENT"} 7',
        ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 6',
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 14',
    ]


def test_requests_that_upstream_does_not_count(figures: Figures) -> None:
    for labels in ("m,,,,GRPC", "m,1,s,predict,ZMQ"):
        figures.count("requests", f"{labels},OK", 9)
        figures.count("duration", labels, 9, 9000)
    assert page(figures) == EMPTY


def test_latencies_of_requests(figures: Figures) -> None:
    figures.count("duration", "m,1,s,predict,REST", 0, 2, 0, 29_999)
    figures.count("duration", "m,1,t,predict,REST", 0, 0, 1, 20_999)
    figures.count("duration", "m,1,s,predict,GRPC", 1, 0, 5_000)
    figures.count("duration", "m,,,,REST", 1, 0, 0, 7_000)
    one, two, three = (
        f'model_name="m",API="{api}",entrypoint="{entry}"'
        for api, entry in (("", "REST"), ("Predict", "GRPC"), ("predict", "REST"))
    )
    latency = ":tensorflow:serving:request_latency"
    assert lines(figures, "serving:request_latency") == [
        f'{latency}_bucket{{{one},le="10"}} 1',
        f"{latency}_sum{{{one}}} 7",
        f"{latency}_count{{{one}}} 1",
        f'{latency}_bucket{{{two},le="10"}} 1',
        f"{latency}_sum{{{two}}} 5",
        f"{latency}_count{{{two}}} 1",
        f'{latency}_bucket{{{three},le="18"}} 2',
        f'{latency}_bucket{{{three},le="32.4"}} 3',
        f"{latency}_sum{{{three}}} 50",
        f"{latency}_count{{{three}}} 3",
    ]


def test_latencies_of_runs_whoever_asked(figures: Figures) -> None:
    figures.count("run", "m,1,s,predict,REST", 1, 3_000)
    figures.count("run", "m,2,s,predict,ZMQ", 0, 1, 12_000)
    figures.count("run", "m,2,s,regress,GRPC", 1, 4_000)
    assert [line for line in lines(figures, "serving:runtime_latency") if "_bucket" not in line] == [
        ':tensorflow:serving:runtime_latency_sum{model_name="m",API="Predict",runtime="TF1"} 15',
        ':tensorflow:serving:runtime_latency_count{model_name="m",API="Predict",runtime="TF1"} 2',
        ':tensorflow:serving:runtime_latency_sum{model_name="m",API="Regress",runtime="TF1"} 4',
        ':tensorflow:serving:runtime_latency_count{model_name="m",API="Regress",runtime="TF1"} 1',
    ]


def test_batches(figures: Figures) -> None:
    figures.count("batches", "m,1,s,cpu:0", 0, 3, 2, 8)
    figures.count("batches", "n,1,s,cpu:1", 0, 0, 0, 1, 4)
    figures.count("batch_run", "m,1,s,cpu:0", 5, 0, 20_999)
    figures.count("batch_run", "n,1,s,cpu:1", 1, 0, 1_001)
    sizes = ":tensorflow:serving:batching_session:processed_batch_size"
    found = [line for line in page(figures).splitlines() if line.startswith((sizes, f"# TYPE {sizes}"))]
    below = {"1": 0, "2": 3, "4": 5, **{str(1 << i): 6 for i in range(3, 14)}, "+Inf": 6}
    assert found == [
        f"# TYPE {sizes} histogram",
        *(f'{sizes}_bucket{{le="{bound}"}} {count}' for bound, count in below.items()),
        f"{sizes}_sum{{}} 12",
        f"{sizes}_count{{}} 6",
    ]
    assert ":tensorflow:serving:batching_session:wrapped_run_count{} 6\n" in page(figures)
    assert ":tensorflow:core:graph_runs{} 6\n" in page(figures)
    assert ":tensorflow:core:graph_run_time_usecs{} 22\n" in page(figures)


def test_batches_that_were_padded(figures: Figures) -> None:
    figures.count("batches", "m,1,s,cpu:0", 0, 0, 2, 5)
    figures.count("executed_rows", "m,1,s,cpu:0", 0, 0, 0, 2, 8)
    figures.count("batches", "n,1,s,cpu:0", 0, 1, 1)  # of which nothing else is known
    figures.count("padding", "m,1,s,cpu:0,4", 0, 1, 1, 3)
    figures.count("padding", "m,1,t,cpu:1,4", 2, 0, 0)
    figures.count("padding", "m,,,cpu:0,16", 1, 0, 0)
    figures.count("input_rows", "m,1,s,cpu:0", 0, 2, 1, 4)
    figures.count("input_rows", "m,2,s,cpu:0", 0, 1, 1)
    batching = ":tensorflow:serving:batching_session"
    assert lines(figures, "serving:batching_session:processed_batch_size")[-2:] == [
        f"{batching}:processed_batch_size_sum{{}} 9",
        f"{batching}:processed_batch_size_count{{}} 3",
    ]
    assert [line for line in page(figures).splitlines() if line.startswith(f"{batching}:padding_size_")] == [
        *histogram(f"{batching}:padding_size", 'execution_batch_size="16"', {"1": 1}, 0),
        *histogram(f"{batching}:padding_size", 'execution_batch_size="4"', {"1": 2, "2": 3, "4": 4}, 3),
    ]
    assert [line for line in page(figures).splitlines() if line.startswith(f"{batching}:input_batch_size_")] == [
        *histogram(f"{batching}:input_batch_size", "", {"1": 0, "2": 3, "4": 4}, 5),
    ]


def histogram(name: str, labels: str, below: dict[str, int], total: int) -> list[str]:
    """Its lines, given how many fell below the first bounds; below the others no more."""
    before = f"{labels}," if labels else ""
    count = list(below.values())[-1]
    bounds = [*(str(1 << n) for n in range(14)), "+Inf"]
    return [
        *(f'{name}_bucket{{{before}le="{bound}"}} {below.get(bound, count)}' for bound in bounds),
        f"{name}_sum{{{labels}}} {total}",
        f"{name}_count{{{labels}}} {count}",
    ]


def test_how_long_requests_were_queued(figures: Figures) -> None:
    """The thread pool of upstream's server has no name."""
    figures.count("queuing", "m,1,s,cpu:0", 1, 0, 1, 222_999)
    figures.count("queuing", "m,,,cpu:1", 0, 1, 110_001)
    name = ":tensorflow:serving:batching_session:queuing_latency"
    found = [line for line in page(figures).splitlines() if line.startswith(f"{name}_")]
    assert found[:4] == [
        f'{name}_bucket{{thread_pool_name="",le="100"}} 1',
        f'{name}_bucket{{thread_pool_name="",le="120"}} 2',
        f'{name}_bucket{{thread_pool_name="",le="144"}} 3',
        f'{name}_bucket{{thread_pool_name="",le="172.8"}} 3',
    ]
    assert found[-4:] == [
        f'{name}_bucket{{thread_pool_name="",le="1.09205e+06"}} 3',
        f'{name}_bucket{{thread_pool_name="",le="+Inf"}} 3',
        f'{name}_sum{{thread_pool_name=""}} 333',
        f'{name}_count{{thread_pool_name=""}} 3',
    ]
    assert len(found) == 55


def test_stored_bounds_are_those_that_are_printed() -> None:
    assert [bound / 1000 for bound in TIME_BOUNDS] == pytest.approx(LATENCY, abs=0.001)
    assert [1 << i for i in range(14)] == list(ROWS_BOUNDS)
    assert BATCHES.bounds == ROWS_BOUNDS
    assert BATCH_RUN.bounds == TIME_BOUNDS
    assert [bound / 1000 for bound in QUEUING_BOUNDS] == pytest.approx(exponential(100.0, 1.2, 52), abs=0.001)


def test_loads_are_there_too(figures: Figures) -> None:
    loads = LoadRecord(lambda: 0)

    async def answer() -> dict[str, Any]:
        return {"warm_up": {"source": "file", "records": 3, "seconds": 0.0}}

    asyncio.run(loads.watch("/models/m/1", answer()))
    text = UpstreamPage(figures.rows, loads).text()
    assert ':tensorflow:cc:saved_model:load_attempt_count{model_path="/models/m/1",status="success"} 1\n' in text
    assert ':tensorflow:cc:saved_model:load_latency{model_path="/models/m/1"} 0\n' in text
    assert ':tensorflow:serving:model_warmup_records_read{model_path="/models/m/1",status="OK"} 3\n' in text
    assert ':tensorflow:serving:model_warmup_latency_count{model_path="/models/m/1",status="OK"} 1\n' in text


def test_the_page_is_made_once_a_second_at_most(figures: Figures) -> None:
    now = [100.0]
    made = UpstreamPage(figures.rows, LoadRecord(), lambda: now[0])
    first = made.text()
    figures.count("requests", "m,1,s,predict,REST,OK", 1)
    now[0] += 0.9
    assert made.text() is first
    now[0] += 0.2
    assert 'model_name="m"' in made.text()


def test_prometheus_reads_the_whole_page(figures: Figures) -> None:
    for family in FAMILIES.values():
        labels = ",".join(
            "REST" if label == "entrypoint" else "predict" if label == "api" else "x" for label in family.labels
        )
        figures.count(family.name, labels, *([1] if not family.bounds else [1, 2_000]))
    text = page(figures)
    read = {family.name for family in text_string_to_metric_families(text)}
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert read == {name.removesuffix("_total") for name in told}  # prometheus_client takes it off counters' names
    assert len(told) == len(EMPTY.splitlines()) + 3, "three are there from their first values on"

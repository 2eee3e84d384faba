"""What is counted of requests and their batches, under our names and under upstream's."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from end_to_end.conftest import DATA, write_config
from end_to_end.running_server import RunningServer
from end_to_end.scraped_metrics import MONITORING, Samples, clean, labelled, total, upstream
from end_to_end.waiting import wait_until

LIMIT = 10  # seconds: pages are a second old at most
REQUESTS = "ringserve_requests_total"
REQUEST_COUNT = ":tensorflow:serving:request_count"
REGRESS = {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}
CLASSIFY = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}


@pytest.fixture(scope="module")
def counted(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Each test asks models, or in ways, that no other one does."""
    folder = tmp_path_factory.mktemp("metrics")
    monitoring = folder / "monitoring.config"
    monitoring.write_text(MONITORING)
    served = {
        "default": DATA / "saved_model_half_plus_two_cpu",
        "half_plus_two": models / "half_plus_two",
        "slow": models / "slow",
        r"od\"d\\": models / "half_plus_two_2d",  # od"d\ in a text proto
    }
    config = write_config(folder / "models.config", served)
    with RunningServer(config, f"--monitoring_config_file={monitoring}") as server:
        yield server


def wait_for(server: RunningServer, name: str, value: float, **labels: str) -> Samples:
    page = upstream if name.startswith(":") else clean
    seen: list[Samples] = []

    def found() -> bool:
        seen[:] = [page(server)]
        return total(seen[0], name, **labels) >= value

    wait_until(found, LIMIT, lambda: f"{value} of {name} {labels}, but {total(seen[0], name, **labels)}")
    assert total(seen[0], name, **labels) == value
    return seen[0]


def test_every_kind_of_request(counted: RunningServer) -> None:
    none = {"version": "", "signature": "", "api": ""}
    asked: list[tuple[str, str, Any, dict[str, str], str, int]] = [
        ("POST", ":predict", {"instances": [2.0]},
         {"version": "123", "signature": "serving_default", "api": "predict"}, "OK", 5),
        ("POST", "/versions/123:predict", {"signature_name": "regress_x2_to_y3", "inputs": [2.0]},
         {"version": "123", "signature": "regress_x2_to_y3", "api": "predict"}, "OK", 2),
        ("POST", ":classify", CLASSIFY, {"version": "123", "signature": "classify_x_to_y", "api": "classify"}, "OK", 3),
        ("POST", ":regress", REGRESS, {"version": "123", "signature": "regress_x_to_y", "api": "regress"}, "OK", 4),
        ("POST", ":predict", "{", {**none, "api": "predict"}, "INVALID_ARGUMENT", 2),
        ("POST", ":predict", {"inputs": [2.0], "signature_name": "nope"},
         {"version": "123", "signature": "", "api": "predict"}, "INVALID_ARGUMENT", 1),
        ("POST", "/versions/7:predict", {"inputs": [2.0]}, {**none, "api": "predict"}, "NOT_FOUND", 2),
        ("GET", "", None, none, "OK", 3),
        ("GET", "/metadata", None, none, "OK", 1),
        ("GET", "/versions/7", None, none, "NOT_FOUND", 1),
    ]  # fmt: skip
    for verb, path, body, _, _, times in asked:
        for _ in range(times):
            counted.ask(verb, f"/v1/models/default{path}", body)
    expected: Samples = {}
    for _, _, _, labels, code, times in asked:
        key = labelled(**labels, code=code, model="default", entrypoint="REST")
        expected[REQUESTS, key] = expected.get((REQUESTS, key), 0) + times
    page = wait_for(counted, REQUESTS, sum(expected.values()), model="default")
    assert {key: value for key, value in page.items() if key[0] == REQUESTS and ("model", "default") in key[1]} == expected
    page = wait_for(counted, REQUEST_COUNT, sum(expected.values()), model_name="default")
    by_status = {"OK": 18.0, "INVALID_ARGUMENT": 3.0, "NOT_FOUND": 3.0}
    for status, value in by_status.items():
        assert page[REQUEST_COUNT, labelled(model_name="default", status=status)] == value
    latency = ":tensorflow:serving:request_latency_count"
    for api, value in {"predict": 7.0, "classify": 3.0, "regress": 4.0, "": 4.0}.items():
        assert page[latency, labelled(model_name="default", API=api, entrypoint="REST")] == value
    runtime = ":tensorflow:serving:runtime_latency_count"
    for api, value in {"Predict": 7.0, "Classify": 3.0, "Regress": 4.0}.items():
        assert page[runtime, labelled(model_name="default", API=api, runtime="TF1")] == value


def test_requests_that_name_no_model(counted: RunningServer) -> None:
    asked = [("GET", "/v1/models", 2), ("PUT", "/v1/models/default", 1), ("POST", "/v1/a", 3), ("OPTIONS", "/v1/a", 2)]
    for verb, path, times in asked:
        for _ in range(times):
            assert counted.ask(verb, path).status == 400
    assert counted.ask("OPTIONS", "/v1/a", headers={"Origin": "http://a"}).status == 200
    page = wait_for(counted, REQUEST_COUNT, 9, model_name="")
    assert page[REQUEST_COUNT, labelled(model_name="", status="INVALID_ARGUMENT")] == 6
    assert page[REQUEST_COUNT, labelled(model_name="", status="FAILED_PRECONDITION")] == 2
    assert page[REQUEST_COUNT, labelled(model_name="", status="OK")] == 1


def test_what_is_no_part_of_the_api_is_not_counted(counted: RunningServer) -> None:
    before = total(wait_for(counted, REQUESTS, 0, model="none"), REQUESTS)
    for path in ("/livez", "/readyz", "/metrics", "/", "/nothing"):
        counted.get(path)
    counted.ask("POST", "/v1/models/last:predict", {"inputs": 1})
    page = wait_for(counted, REQUESTS, 1, model="last", code="NOT_FOUND")
    assert total(page, REQUESTS) == before + 1


def test_names_with_quotes(counted: RunningServer) -> None:
    assert counted.predict("od%22d%5C", {"instances": [[2.0]]}).status == 200
    wait_for(counted, REQUESTS, 1, model='od"d\\')
    wait_for(counted, REQUEST_COUNT, 1, model_name='od\\"d\\\\')


def test_histograms(counted: RunningServer) -> None:
    """Of all rows that were sent, each is in a batch, and of all requests each is in a bucket."""
    rows = [1, 2, 3, 10, 100, 1]
    for count in rows:
        assert counted.predict("half_plus_two", {"instances": [1.0] * count}).status == 200
    wait_for(counted, REQUESTS, len(rows), model="half_plus_two", code="OK")
    page = wait_for(counted, "ringserve_batch_rows_sum", sum(rows), model="half_plus_two")
    labels = {
        "model": "half_plus_two",
        "version": "2",
        "signature": "serving_default",
        "api": "predict",
        "entrypoint": "REST",
    }
    for name in ("request_duration", "queue_duration", "run_duration"):
        check_histogram(page, f"ringserve_{name}_seconds", labels, len(rows))
    (batches,) = (
        value
        for (name, has), value in page.items()
        if name == "ringserve_batch_rows_count" and ("model", "half_plus_two") in has
    )
    assert 1 <= batches <= len(rows)
    assert total(page, "ringserve_batch_rows_sum", model="half_plus_two") == sum(rows)
    assert total(page, "ringserve_batch_run_seconds_count", model="half_plus_two") == batches
    whole = page["ringserve_request_duration_seconds_sum", labelled(**labels)]
    parts = [page[f"ringserve_{name}_duration_seconds_sum", labelled(**labels)] for name in ("queue", "run")]
    assert 0 < sum(parts) < whole < 30
    upstreams = {"model_name": "half_plus_two", "API": "predict", "entrypoint": "REST"}
    page = wait_for(counted, ":tensorflow:serving:request_latency_count", len(rows), model_name="half_plus_two")
    check_histogram(page, ":tensorflow:serving:request_latency", upstreams, len(rows))
    assert page[":tensorflow:serving:request_latency_sum", labelled(**upstreams)] == pytest.approx(whole * 1e6, rel=1e-3)


def check_histogram(page: Samples, name: str, labels: dict[str, str], count: int) -> None:
    buckets = {
        float(dict(has)["le"]): value
        for (other, has), value in page.items()
        if other == f"{name}_bucket" and labels.items() <= dict(has).items()
    }
    bounds = sorted(buckets)
    assert len(bounds) == 34
    assert bounds[-1] == math.inf
    assert all(right / left == pytest.approx(1.8, rel=1e-4) for left, right in itertools.pairwise(bounds[:-1]))
    values = [buckets[bound] for bound in bounds]
    assert values == sorted(values), "cumulative"
    assert values[-1] == page[f"{name}_count", labelled(**labels)] == count
    assert page[f"{name}_sum", labelled(**labels)] > 0


def test_requests_in_flight(counted: RunningServer) -> None:
    """They are looked at once a second, which is longer than a request may take."""
    seen = threading.Event()

    def in_flight() -> float:
        return total(clean(counted), "ringserve_inflight_requests", model="slow")

    def keep_asking(number: int) -> set[int]:
        statuses = {counted.predict("slow", {"instances": [float(number)]}).status}
        while not seen.is_set():
            statuses.add(counted.predict("slow", {"instances": [float(number)]}).status)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking, number) for number in range(4)]
        try:
            assert wait_until(in_flight, LIMIT, "requests in flight") <= 4
            (enqueued,) = (
                value
                for (name, has), value in clean(counted).items()
                if name == "ringserve_enqueued_requests" and ("model", "slow") in has
            )
            assert 0 <= enqueued < 4, "at least one runs, and is waited for"
        finally:
            seen.set()
        assert [future.result() for future in asking] == [{200}] * 4
    wait_until(lambda: in_flight() == 0, LIMIT, "none in flight")
    assert total(clean(counted), "ringserve_enqueued_requests") == 0

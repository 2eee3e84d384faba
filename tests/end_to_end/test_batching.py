"""Batches as TensorFlow Serving's parameters want them, counted from outside: what its own tests expect, over all protocols.

A batch that is not full waits for ever here, unless a test says otherwise: so what is answered was in a full one.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end.batched_models import FLAGS, NEVER, BatchCount, batched, most, sizes, split
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.model_config_file import ModelConfigFile
from end_to_end.running_server import RunningServer
from end_to_end.scraped_metrics import MONITORING, Samples, clean, labelled, total, upstream
from end_to_end.waiting import wait_until
from ringserve import Client, Code, ServingError

LIMIT = 20
RUNS = ":tensorflow:serving:batching_session:wrapped_run_count"
AT_ONCE = "batch_timeout_micros { value: 0 }"
SOON_SECONDS = 0.3
SOON = f"batch_timeout_micros {{ value: {SOON_SECONDS * 1e6:.0f} }}"
PAD = "pad_variable_length_inputs: true"

#: The model, and the parameters, of each name.
MODELS = {
    "fours": ("half_plus_two", most(4)),
    "tens": ("half_plus_two", most(10)),
    "splits": ("half_plus_two", split(2, of=4)),
    "singly": ("half_plus_two", split(1, of=4)),
    "cut": ("half_plus_two", split(2, of=3)),
    "cut_soon": ("half_plus_two", split(2, of=3, more=SOON)),
    "none": ("half_plus_two", ""),
    "pads": ("half_plus_two", most(2, f"{NEVER} {PAD}")),
    "soon": ("half_plus_two", most(2, SOON)),
    "at_once": ("half_plus_two", most(3, AT_ONCE)),
    "even_sizes": ("half_plus_two", sizes(2, 4, more=AT_ONCE)),
    "odd_sizes": ("half_plus_two", sizes(1, 3, 4, more=AT_ONCE)),
    "sixes": ("two_inputs", most(6)),
    "signatures": ("identity", most(2)),
    "last_too_large": ("half_plus_two", most(4, "allowed_batch_sizes: 2 allowed_batch_sizes: 8")),
    "unsorted": ("half_plus_two", sizes(8, 2, 4)),
}

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Each model has parameters of its own."""
    folder = tmp_path_factory.mktemp("batching")
    entries = [batched(name, models / model, folder / name, text) for name, (model, text) in MODELS.items()]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    (folder / "monitoring.config").write_text(MONITORING)
    monitoring = f"--monitoring_config_file={folder}/monitoring.config"
    with RunningServer(config, *FLAGS, monitoring, grpc=True, zmq=True, shm=True) as running:
        yield running


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Client]:
    with Client(client_url(server, request.param), timeout=LIMIT) as client:
        yield client
    gc.collect()  # errors that were caught have a lane in their frames: with them it stays


@pytest.fixture
def grpc(server: RunningServer) -> Iterator[Client]:
    """For what has nothing to do with the protocol."""
    with Client(client_url(server, "grpc"), timeout=LIMIT) as client:
        yield client


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def numbers(count: int, first: int) -> Array:
    return np.arange(first, first + count, dtype=np.float32)


def halves(x: Array) -> Array:
    return x / np.float32(2) + np.float32(2)


def submit(client: Client, model: str, *inputs: Array, **words: Any) -> list[Future[Any]]:
    return [client.submit(model, {"x": x}, **words) for x in inputs]


def check(asked: Sequence[Future[Any]], inputs: Sequence[Array]) -> None:
    """Everybody has the answer to their own numbers."""
    for future, x in zip(asked, inputs, strict=True):
        np.testing.assert_array_equal(future.result(LIMIT)["y"], halves(x))


def ask(client: Client, model: str, *inputs: Array) -> None:
    check(submit(client, model, *inputs), inputs)


@pytest.mark.parametrize(
    ("model", "rows", "batches"),
    [("fours", 2, 5), ("tens", 2, 2), ("splits", 3, 15), ("splits", 4, 20), ("singly", 2, 20), ("none", 2, 10)],
)
def test_ten_requests(server: RunningServer, client: Client, model: str, rows: int, batches: int) -> None:
    count = BatchCount(server, model)
    ask(client, model, *(numbers(rows, 10 * first) for first in range(10)))
    found = count.new(10 * rows)
    assert found.batches == batches
    assert set(found.closed) == {"alone" if model == "none" else "full"}


def test_two_requests_fill_a_batch(server: RunningServer, client: Client) -> None:
    count = BatchCount(server, "fours")
    asked = submit(client, "fours", floats(100, 42), floats(71.5, 18.3))
    assert asked[0].result(LIMIT)["y"].tolist() == [52, 23]
    np.testing.assert_array_equal(asked[1].result(LIMIT)["y"], floats(37.75, 11.15))
    assert count.new(4).batches == 1


@pytest.mark.parametrize("protocol", ["zmq", "shm"])  # which keep the order of requests
def test_a_request_that_does_not_fit_closes_the_batch(server: RunningServer, protocol: str) -> None:
    """Nothing behind it goes into the room that is left before it."""
    count = BatchCount(server, "fours")
    with Client(client_url(server, protocol), timeout=LIMIT) as client:
        ask(client, "fours", *(numbers(rows, 10 * rows) for rows in (3, 2, 2)))
    found = count.new(7)
    assert (found.batches, found.sizes) == (2, {"2-3": 1, "4-7": 1})


@pytest.mark.parametrize("protocol", PROTOCOLS[:3])  # a local client's requests are merged where they have columns
def test_padding(server: RunningServer, protocol: str) -> None:
    """What is missing is filled with the first number of the request that misses it, and stays in its answer."""
    small, large = np.arange(1, 5, dtype="f4").reshape(1, 2, 2), np.arange(5, 14, dtype="f4").reshape(1, 3, 3)
    count = BatchCount(server, "pads")
    with Client(client_url(server, protocol), timeout=LIMIT) as client:
        asked = submit(client, "pads", small, large)
        filled = np.array([[[2.5, 3, 2.5], [3.5, 4, 2.5], [2.5, 2.5, 2.5]]], "f4")
        np.testing.assert_array_equal(asked[0].result(LIMIT)["y"], filled)
        np.testing.assert_array_equal(asked[1].result(LIMIT)["y"], halves(large))
    assert count.new(2).batches == 1


def test_shapes_that_differ_never_share_a_batch(server: RunningServer, client: Client) -> None:
    """Where nothing is padded; TensorFlow Serving fails both."""
    count = BatchCount(server, "soon")
    ask(client, "soon", np.ones((1, 2, 2), "f4"), np.full((1, 3, 3), 5, "f4"))
    assert count.new(2).batches == 2


def test_shapes_that_differ_where_requests_are_cut(grpc: Client) -> None:
    ask(grpc, "cut_soon", np.arange(3, dtype="f4").reshape(3, 1, 1), np.ones((1, 2), "f4"))


def test_large_requests(server: RunningServer, client: Client) -> None:
    with pytest.raises(ServingError) as caught:
        client.predict("at_once", {"x": numbers(4, 0)})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "Task size 4 is larger than maximum input batch size 3"
    ask(client, "at_once", floats(1), numbers(3, 5))
    count = BatchCount(server, "cut")
    ask(client, "cut", floats(1), numbers(3, 5))
    assert count.new(4).batches == 2


@pytest.mark.parametrize(("model", "padding"), [("even_sizes", 0), ("odd_sizes", 1)])
def test_allowed_sizes(server: RunningServer, client: Client, model: str, padding: int) -> None:
    """Rows that fill a batch up are nobody's answer."""
    count = BatchCount(server, model)
    ask(client, model, floats(100, 42))
    found = count.new(2)
    assert (found.batches, found.padding) == (1, padding)


def test_metrics(server: RunningServer, grpc: Client) -> None:
    """On the page with upstream's names, which counts all models together, and on ours."""
    ran = sum(
        batches for name in MODELS if server.states(name) == {1: "AVAILABLE"} for batches in [all_batches(server, name)]
    )
    wait_until(lambda: upstream(server)[RUNS, ()] == ran, LIMIT, f"{ran} batches on the page")
    before, ours = upstream(server), clean(server)
    ask(grpc, "odd_sizes", floats(100, 42))
    wait_until(lambda: upstream(server)[RUNS, ()] == ran + 1, LIMIT, "one batch more on the page")

    def more(name: str, **labels: str) -> float:
        key = f":tensorflow:serving:batching_session:{name}", labelled(**labels)
        return upstream(server)[key] - before[key]

    assert (more("input_batch_size_count"), more("input_batch_size_sum")) == (1, 2)
    assert (more("processed_batch_size_count"), more("processed_batch_size_sum")) == (1, 3)
    sizes_of = {"execution_batch_size": "3"}
    assert (more("padding_size_count", **sizes_of), more("padding_size_sum", **sizes_of)) == (1, 1)
    assert more("queuing_latency_count", thread_pool_name="") == 1

    def more_of_ours(now: Samples, name: str) -> float:
        return total(now, name, model="odd_sizes") - total(ours, name, model="odd_sizes")

    wait_until(lambda: more_of_ours(clean(server), "ringserve_batch_rows_count") == 1, LIMIT, "one batch more")
    now = clean(server)
    names = ("ringserve_batch_rows_sum", "ringserve_batch_executed_rows_sum", "ringserve_batch_padding_rows_sum")
    assert [more_of_ours(now, name) for name in names] == [2, 3, 1]


def all_batches(server: RunningServer, model: str) -> int:
    (version,) = server.admin.call("explain", model=model)["versions"]
    return sum(device["batches"] for signature in version["signatures"] for device in signature["devices"])


def test_inputs_and_outputs_in_any_order(server: RunningServer, client: Client) -> None:
    count = BatchCount(server, "sixes")
    a, b = np.arange(6, dtype="f4").reshape(2, 3), np.array([10, 20], "i4")
    orders = [
        ({"a": a, "b": b}, ["sum", "count"]),
        ({"b": b + 1, "a": a + 1}, ["count", "sum"]),
        ({"b": b + 2, "a": a + 2}, ["sum", "count"]),
    ]
    asked = [client.submit("sixes", inputs, outputs=outputs) for inputs, outputs in orders]
    for more, future in enumerate(asked):
        answer = future.result(LIMIT)
        np.testing.assert_array_equal(answer["sum"], a + b[:, None] + 2 * more)
        np.testing.assert_array_equal(answer["count"], b + more)
    assert count.new(6).batches == 1


def test_some_of_the_outputs(server: RunningServer, client: Client) -> None:
    """Each caller gets those that were asked for, whoever it shares a batch with."""
    count = BatchCount(server, "sixes")
    a, b = np.ones((2, 3), "f4"), np.array([10, 20], "i4")
    chosen = (["sum"], ["sum"], ["count"])
    asked = [client.submit("sixes", {"a": a, "b": b}, outputs=outputs) for outputs in chosen]
    assert [list(future.result(LIMIT)) for future in asked] == list(map(list, chosen))
    assert asked[2].result()["count"].tolist() == [10, 20]
    assert count.new(6).batches == 1


def test_signatures_have_queues_of_their_own(server: RunningServer, client: Client) -> None:
    x = np.ones((1, 2))
    waiting = client.submit("signatures", {"x": x.astype("i1")}, signature="int8")
    full = [client.submit("signatures", {"x": x.astype("f8")}, signature="double") for _ in range(2)]
    assert all(future.result(LIMIT)["y"].tolist() == x.tolist() for future in full)
    assert not waiting.done()
    client.predict("signatures", {"x": x.astype("i1")}, signature="int8")
    assert waiting.result(LIMIT)["y"].dtype == "i1"


def test_a_batch_that_is_not_full_waits_as_long_as_it_may(server: RunningServer, client: Client) -> None:
    count = BatchCount(server, "soon")
    began = time.monotonic()
    ask(client, "soon", floats(1))
    assert time.monotonic() - began > SOON_SECONDS * 0.9
    assert count.new(1).closed == {"timeout": 1}
    ask(client, "soon", floats(1), floats(2))
    assert count.new(2).closed == {"full": 1}


def test_the_first_request_of_a_batch_sets_its_time(server: RunningServer, client: Client) -> None:
    """One that does not fit closes the batch before it, and waits from then on."""
    count = BatchCount(server, "soon")
    first, second = submit(client, "soon", floats(1), floats(2, 3))
    second.result(LIMIT)
    check([first, second], [floats(1), floats(2, 3)])
    assert count.new(3).batches == 2


def test_sizes_that_no_version_can_have(server: RunningServer) -> None:
    code, text = server.version_error("last_too_large", 1)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Last entry in allowed_batch_sizes must match max_batch_size; last entry was 8; expected 4")
    code, text = server.version_error("unsorted", 1)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("allowed_batch_sizes entries must be monotonically increasing")


def test_checks_before_the_queue(client: Client) -> None:
    with pytest.raises(ServingError) as caught:
        client.predict("sixes", {"a": np.ones((2, 3), "f4"), "b": np.ones(1, "i4")})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "Batching Run() input tensors must have equal 0th-dimension size"
    with pytest.raises(ServingError) as caught:
        client.predict("fours", {"x": np.float32(1)})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "Batching Run() input tensors must have at least one dimension"

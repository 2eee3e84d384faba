"""How much may wait by `max_enqueued_batches`, to the row, while a batch runs that does not end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end import gated_folder, process_facts
from end_to_end.batched_models import FLAGS, BatchCount
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.model_config_file import ModelConfigFile
from end_to_end.recorded_runs import RecordedRuns, recorded
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from ringserve import Client, Code, ServingError

LIMIT = 30
FULL = "The batch scheduling queue to which this task was submitted is full; "
BATCHES = "max_enqueued_batches { value: 3 }"
SPLIT = "max_execution_batch_size { value: 2 } enable_large_batch_splitting { value: true }"
MODELS = {
    "twos": f"max_batch_size {{ value: 2 }} {BATCHES}",
    "cut": f"max_batch_size {{ value: 4 }} {SPLIT} {BATCHES}",
    "other": f"max_batch_size {{ value: 2 }} {BATCHES}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("full")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    """One batch runs at a time."""
    entries = [recorded(name, folder / name, text) for name, text in MODELS.items()]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    (folder / "batching.config").write_text("num_batch_threads { value: 1 }")
    flags = *FLAGS, f"--batching_parameters_file={folder}/batching.config"
    with RunningServer(config, *flags, grpc=True, zmq=True, environment=gated_folder.ENVIRONMENT) as running:
        yield running


@pytest.fixture(params=PROTOCOLS[:3])  # a local client's requests pass no front end, which would count them
def client(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Client]:
    wait_for_lanes(server, 0)
    with Client(client_url(server, request.param), timeout=LIMIT) as client:
        yield client


def wait_for_lanes(server: RunningServer, requests: int) -> None:
    """Until so many are under way."""
    worker = server.process("worker cpu:0")
    wait_until(lambda: process_facts.requests_in_lanes(worker) == requests, LIMIT, f"{requests} requests in lanes")


class Asking:
    """Requests of so many rows each, one after the other."""

    def __init__(self, server: RunningServer, client: Client, model: str) -> None:
        self._server = server
        self._client = client
        self._model = model
        self._asked: list[Any] = []
        self._right: list[list[float]] = []

    def taken(self, *rows: int) -> None:
        for count in rows:
            x = np.arange(count, dtype="f4") + len(self._asked)
            self._asked.append(self._client.submit(self._model, {"x": x}))
            self._right.append((x / 2 + 2).tolist())
            wait_for_lanes(self._server, len(self._asked))

    def refused(self, rows: int, text: str) -> None:
        with pytest.raises(ServingError) as caught:
            self._client.predict(self._model, {"x": np.zeros(rows, "f4")})
        assert (caught.value.code, caught.value.message) == (Code.UNAVAILABLE, FULL + text)

    def check(self) -> None:
        assert [future.result(LIMIT)["y"].tolist() for future in self._asked] == self._right


def test_whole_requests(server: RunningServer, folder: Path, client: Client) -> None:
    runs, asking = RecordedRuns(folder / "twos"), Asking(server, client, "twos")
    text = "currently 3 batches enqueued and max_enqueued_batches is 3"
    with runs.held():
        asking.taken(2)
        runs.wait_for(1)
        asking.taken(1, 1, 1, 1, 1)
        asking.refused(2, text)
        asking.taken(1)
        asking.refused(1, text)
    asking.check()
    assert [len(rows) for rows in runs.rows] == [2, 2, 2, 2]


def test_requests_that_are_cut(server: RunningServer, folder: Path, client: Client) -> None:
    runs, asking = RecordedRuns(folder / "cut"), Asking(server, client, "cut")
    figures = "num_enqueued_batches=3, max_enqueued_batches=3, open_batch_size={}, max_execution_batch_size=2"
    with runs.held():
        asking.taken(2)
        runs.wait_for(1)
        asking.taken(4, 1)
        asking.refused(3, f"task size is 3 but scheduling capacity is only 1 ({figures.format(1)})")
        asking.taken(1)
        asking.refused(1, f"task size is 1 but scheduling capacity is only 0 ({figures.format(2)})")
    asking.check()
    assert [len(rows) for rows in runs.rows] == [2, 2, 2, 2]


def test_a_full_queue_is_one_models_alone(server: RunningServer, folder: Path, client: Client) -> None:
    runs, asking = RecordedRuns(folder / "twos"), Asking(server, client, "twos")
    count = BatchCount(server, "other")
    with runs.held():
        asking.taken(2)
        runs.wait_for(1)
        asking.taken(2, 2, 2)
        asking.refused(1, "currently 3 batches enqueued and max_enqueued_batches is 3")
        others = [client.submit("other", {"x": np.ones(2, "f4")}) for _ in range(3)]
        wait_for_lanes(server, 4 + len(others))
    asking.check()
    assert [future.result(LIMIT)["y"].tolist() for future in others] == [[2.5, 2.5]] * 3
    assert count.new(6).batches == 3

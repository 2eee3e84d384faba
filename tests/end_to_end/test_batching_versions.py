"""Batches of versions: by the server's parameters where versions' own do not count, never of two, run when one goes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end import grpc_questions, process_facts, zmq_questions
from end_to_end.batched_models import FLAGS, BatchCount, batched, most, split
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.grpc_load import GrpcLoad
from end_to_end.load import Load
from end_to_end.local_load import LocalLoad, newest
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import either, publish
from end_to_end.waiting import wait_until
from end_to_end.zmq_load import ZmqLoad
from ringserve import Client

LIMIT = 20
SIZE = 4  # of a batch
GOING = [f"going_{protocol}" for protocol in PROTOCOLS]


def start(models: Path, folder: Path, *names: str) -> RunningServer:
    """Models of two versions, which have parameters of their own; batches that are not full wait for ever."""
    entries = [batched(name, models / "half_plus_two", folder / name, most(10), versions=(1, 2)) for name in names]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    (folder / "batching.config").write_text(most(SIZE))
    parameters = f"--batching_parameters_file={folder}/batching.config"
    return RunningServer(config, "--enable_batching", parameters, grpc=True, zmq=True, shm=True)


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with start(models, tmp_path_factory.mktemp("versions"), "half", *GOING) as running:
        yield running


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(protocol: str, server: RunningServer) -> Iterator[Client]:
    with Client(client_url(server, protocol), timeout=LIMIT) as client:
        yield client


def ask(client: Client, count: int, version: int, rows: int = 1, model: str = "half") -> list[Future[Any]]:
    return [client.submit(model, {"x": np.full(rows, number, "f4")}, version=version) for number in range(count)]


def check(asked: list[Future[Any]], version: int, rows: int = 1) -> None:
    for number, future in enumerate(asked):
        assert future.result(LIMIT)["y"].tolist() == [number / 2 + version + 1] * rows


def wait_for_lanes(server: RunningServer, requests: int) -> None:
    """Until so many wait, and no others."""
    worker = server.process("worker cpu:0")
    wait_until(lambda: process_facts.requests_in_lanes(worker) == requests, LIMIT, f"{requests} requests in lanes")


def test_parameters_of_a_version_do_not_count(server: RunningServer, client: Client) -> None:
    count = BatchCount(server, "half")
    check(ask(client, 10, 1, rows=2), 1, rows=2)
    found = count.new(20)
    assert (found.batches, found.sizes) == (5, {"4-7": 5})


def test_versions_never_share_a_batch(server: RunningServer, client: Client) -> None:
    counts = {version: BatchCount(server, "half", version=version) for version in (1, 2)}
    waiting = ask(client, SIZE - 1, 1)
    check(ask(client, SIZE, 2), 2)
    assert not any(future.done() for future in waiting)
    client.predict("half", {"x": np.zeros(1, "f4")}, version=1)
    check(waiting, 1)
    assert [counts[version].new(SIZE).batches for version in (1, 2)] == [1, 1]


def test_what_a_version_holds_back_runs_when_it_goes(server: RunningServer, client: Client, protocol: str) -> None:
    model = f"going_{protocol}"
    count = BatchCount(server, model, version=2)
    wait_for_lanes(server, 0)
    going, staying = ask(client, SIZE - 1, 1, model=model), ask(client, SIZE - 1, 2, model=model)
    wait_for_lanes(server, 2 * len(going))
    server.admin.call("unload", model=model, version=1, timeout=LIMIT)
    check(going, 1)
    assert server.states(model)[1] == "END"
    assert not any(future.done() for future in staying)
    client.predict(model, {"x": np.zeros(1, "f4")}, version=2)
    check(staying, 2)
    assert count.new(SIZE).closed == {"full": 1}


def test_what_is_held_back_runs_when_the_server_stops(models: Path, tmp_path: Path) -> None:
    with start(models, tmp_path, "half") as server, Client(client_url(server, "grpc"), timeout=LIMIT) as client:
        asked = ask(client, SIZE - 1, 1)
        wait_for_lanes(server, len(asked))
        assert server.stop() == 0
        check(asked, 1)


def test_nothing_is_lost_while_versions_change(models: Path, tmp_path: Path) -> None:
    """Batches that are never full wait for 30 ms, among them those of a version that goes."""
    for version in (1, 2):
        publish(models / "half_plus_two" / str(version), tmp_path / "source" / str(version))
        parameters = split(8, of=512, more="batch_timeout_micros { value: 30000 }")
        (tmp_path / "source" / str(version) / "batching_params.pbtxt").write_text(parameters)
    base = tmp_path / "half_plus_two"
    publish(tmp_path / "source" / "1", base / "1")
    config = ModelConfigFile(tmp_path / "models.config").write(entry("half_plus_two", base))
    address = "tcp://127.0.0.1:{}"
    with RunningServer(config, *FLAGS, grpc=True, zmq=True, shm=True) as server, ExitStack() as stack:
        rest = stack.enter_context(Load(server.port, 16, either))
        grpc = stack.enter_context(GrpcLoad(server.grpc_port, 2, 8, grpc_questions.halves("half_plus_two", 2.0, 3.0)))
        zmq_halves = zmq_questions.halves("half_plus_two", 2.0, 3.0)
        zmq = stack.enter_context(ZmqLoad([address.format(server.zmq_port)], 2, 16, zmq_halves))
        local = stack.enter_context(LocalLoad(client_url(server, "shm"), 2, newest))
        publish(tmp_path / "source" / "2", base / "2")
        server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"})
        rest.wait_for_answers(100)
        shutil.rmtree(base / "2")
        server.wait_for_states("half_plus_two", {1: "AVAILABLE", 2: "END"})
        rest.wait_for_answers(100)
        rest_outcome, grpc_outcome, zmq_outcome, local_outcome = rest.stop(), grpc.stop(), zmq.stop(), local.stop()
    assert (rest_outcome.wrong, rest_outcome.dropped) == ([], 0)
    assert (grpc_outcome.wrong, grpc_outcome.failed) == ([], {})
    assert (zmq_outcome.wrong, zmq_outcome.failed, zmq_outcome.lost) == ([], {}, 0)
    assert (local_outcome.wrong, local_outcome.failed) == ([], {})
    assert min(local_outcome.by_version[version] for version in (1, 2)) > 0

"""Who dies while a batch waits for more: the others in it are answered, and whoever comes later."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end import process_facts
from end_to_end.batched_models import FLAGS, NEVER, BatchCount, batched, most, sizes, split
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.model_config_file import ModelConfigFile
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from ringserve import Client, Code, ServingError

LIMIT = 30
SIZE = 4  # of a batch
MODELS = {
    "plain": most(SIZE),
    "padded": most(SIZE, f"{NEVER} pad_variable_length_inputs: true"),
    "cut": split(SIZE, of=8),
    "sized": sizes(SIZE),
}


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("faults")
    entries = [batched(name, models / "half_plus_two", folder / name, text) for name, text in MODELS.items()]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    with RunningServer(config, *FLAGS, grpc=True, zmq=True, shm=True) as running:
        yield running
        gc.collect()  # errors that were caught have a lane in their frames: with them it stays


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    """None of those that die."""
    wait_for_lanes(server, 0)
    with Client(client_url(server, "zmq"), timeout=LIMIT) as client:
        yield client


def ask(client: Client, model: str, first: int, end: int = SIZE) -> list[Future[Any]]:
    return [client.submit(model, {"x": np.array([number], "f4")}) for number in range(first, end)]


def check(asked: Sequence[Future[Any]]) -> None:
    assert [future.result(LIMIT)["y"].tolist() for future in asked] == [[number / 2 + 2] for number in range(len(asked))]


def wait_for_lanes(server: RunningServer, requests: int) -> None:
    """Until the worker has so many."""
    worker = server.process("worker cpu:0")
    wait_until(lambda: process_facts.requests_in_lanes(worker) == requests, LIMIT, f"{requests} requests in lanes")


@pytest.mark.parametrize("model", MODELS)
def test_a_local_client(server: RunningServer, client: Client, model: str) -> None:
    count = BatchCount(server, model)
    with Client(client_url(server, "shm"), timeout=LIMIT) as leaving:
        asked = ask(leaving, model, 0, 2)
        wait_for_lanes(server, 2)
        staying = ask(client, model, 0, 1)
        wait_for_lanes(server, 3)
    for future in asked:
        with pytest.raises(ServingError):
            future.result(LIMIT)
    wait_for_lanes(server, 1)
    check(staying + ask(client, model, 1))
    assert count.new(SIZE).batches == 1


def test_the_worker(server: RunningServer) -> None:
    """The next one has what waited, and what came meanwhile."""
    wait_for_lanes(server, 0)
    clients = {protocol: Client(client_url(server, protocol), timeout=LIMIT) for protocol in PROTOCOLS[:3]}
    waiting = {}
    for number, model in enumerate(MODELS):
        waiting[model] = ask(clients[PROTOCOLS[number % 3]], model, 0, SIZE - 1)
    wait_for_lanes(server, len(MODELS) * (SIZE - 1))
    os.kill(server.process("worker cpu:0"), signal.SIGKILL)
    for number, model in enumerate(MODELS):
        waiting[model] += ask(clients[PROTOCOLS[(number + 1) % 3]], model, SIZE - 1)
    for asked in waiting.values():
        check(asked)
    for client in clients.values():
        client.close()


def test_a_front_end(server: RunningServer, client: Client) -> None:
    counts = {model: BatchCount(server, model) for model in MODELS}
    with Client(client_url(server, "grpc"), timeout=LIMIT) as other:
        asked = [future for model in MODELS for future in ask(other, model, 0, 2)]
        wait_for_lanes(server, len(asked))
        staying = {model: ask(client, model, 0, 1) for model in MODELS}
        wait_for_lanes(server, len(asked) + len(staying))
        os.kill(server.process("frontend grpc 0"), signal.SIGKILL)
        for future in asked:
            with pytest.raises(ServingError) as caught:
                future.result(LIMIT)
            assert caught.value.code is Code.UNAVAILABLE
    wait_for_lanes(server, len(staying))
    for model, count in counts.items():
        check(staying[model] + ask(client, model, 1))
        assert count.new(SIZE).batches == 1

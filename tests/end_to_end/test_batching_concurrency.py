"""Clients of all protocols at once, random shapes, types, versions and texts: everybody gets the answer to their own."""

from __future__ import annotations

import gc
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from end_to_end import local_load, process_facts, test_concurrency
from end_to_end.batched_models import FLAGS, Batches, batched, most, sizes, split
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.load import Asking, Load, Outcome, halves
from end_to_end.local_load import LocalLoad, Question, one_row, same, text, two_inputs
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until

VERSIONS = 'model_version_policy { all {} } version_labels { key: "v1" value: 1 } version_labels { key: "v2" value: 2 }'
LABELS = "--allow_version_labels_for_unavailable_models"
THREADS = 3  # of each protocol's client
JSON_CLIENTS = 24
ANSWERS = 200  # of each client, at least
SOON = "batch_timeout_micros { value: 1000 }"
PARAMETERS = {
    "half_plus_two": split(16, of=64, more=SOON),
    "half_plus_two_2d": sizes(4, 16, 64, more=SOON),
    "identity": sizes(8, 64, more=SOON),
    "two_inputs": most(64, SOON),
    "text": sizes(8, 64, more=SOON),
    "data_dependent": most(64, SOON),
    "dynamic_image": split(2, of=8, more=SOON),
}


def some_halves(chance: random.Random) -> Question:
    """Of any shape that has rows, of one of two versions."""
    version = chance.choice([1, 2])
    shape = chance.choice([(3,), (1,), (chance.randint(1, 60),), (2, 1), (*local_load.any_shape(chance), 2)])
    x = local_load.numbers(chance, *shape)
    return Question("half_plus_two", {"x": x}, lambda inputs, _: local_load.half(inputs, version), {"version": version})


def sometimes_low(asking: local_load.Asking) -> local_load.Asking:
    """The same, now and then of low priority; never asked row by row, which takes long over some protocols."""

    def ask(chance: random.Random) -> Question:
        question = asking(chance)
        return question._replace(words={**question.words, "priority": chance.choice(["low", "high", "high"])})

    return ask


def image(chance: random.Random) -> Question:
    """With one colour, which is the mean of any part of it."""
    colour = local_load.numbers(chance, 1, 1, 1, 3)
    rows, height, width = (chance.randint(1, 4) for _ in range(3))
    right = {"mean": np.repeat(colour.reshape(1, 3), rows, axis=0)}
    x = np.broadcast_to(colour % 256, (rows, height, width, 3)).copy()
    right["mean"] %= 256
    return Question("dynamic_image", {"x": x}, lambda *_: right)


#: What is answered the same whatever shares its batch: parameters have all batched.
_ROW_WISE = (some_halves, some_halves, one_row, two_inputs, text, text, same, image)
ROW_WISE = [sometimes_low(asking) for asking in _ROW_WISE]
JSON_ROW_WISE: tuple[Asking, ...] = (
    halves("half_plus_two", 3.0),
    test_concurrency.one_column,
    test_concurrency.two_inputs,
    test_concurrency.text,
    test_concurrency.data_dependent,
    test_concurrency.dynamic_image,
)


@pytest.fixture(scope="module")
def adaptive(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Of two workers."""
    names = [*(name for name in PARAMETERS if name != "half_plus_two"), "batch_dependent"]
    entries = [entry(name, models / name) for name in names]
    entries.append(entry("half_plus_two", models / "half_plus_two", VERSIONS))
    config = ModelConfigFile(tmp_path_factory.mktemp("adaptive") / "models.config").write(*entries)
    with RunningServer(config, LABELS, "--devices=cpu:2", grpc=True, zmq=True, shm=True) as running:
        yield running
        gc.collect()  # errors that were caught have a lane in their frames: with them it stays


@pytest.fixture(scope="module")
def static(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("static")
    entries = []
    for name, parameters in PARAMETERS.items():
        versions = (1, 2) if name == "half_plus_two" else (1,)
        entries.append(batched(name, models / name, folder / name, parameters, versions))
    config = ModelConfigFile(folder / "models.config").write(*entries)
    with RunningServer(config, *FLAGS, "--rest_frontends=2", grpc=True, zmq=True, shm=True) as running:
        yield running
        gc.collect()  # errors that were caught have a lane in their frames: with them it stays


class Crowd:
    """A client of each protocol, in several threads, and clients that send JSON."""

    def __init__(
        self, stack: ExitStack, server: RunningServer, asking: Sequence[local_load.Asking], json_asking: Sequence[Asking]
    ) -> None:
        self._json = stack.enter_context(Load(server.port, JSON_CLIENTS, *json_asking))
        self._loads: dict[str, LocalLoad] = {
            protocol: stack.enter_context(LocalLoad(client_url(server, protocol), THREADS, *asking, seed=seed))
            for seed, protocol in enumerate(PROTOCOLS)
        }

    def wait_for_answers(self, more: int) -> None:
        self._json.wait_for_answers(more, 60)
        for load in self._loads.values():
            load.wait_for_answers(more, 60)

    def stop(self) -> dict[str, local_load.Outcome]:
        """By protocol; nobody may have a wrong answer, or none."""
        json: Outcome = self._json.stop()
        assert (json.wrong, json.dropped) == ([], 0)
        outcomes = {protocol: load.stop() for protocol, load in self._loads.items()}
        assert {protocol: outcome.wrong for protocol, outcome in outcomes.items()} == {name: [] for name in outcomes}
        return outcomes


def check_rest(server: RunningServer) -> None:
    """Nothing is left behind, and requests did share batches."""
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 10, "the lanes empty")
    assert "never should" not in server.log
    for model in ("half_plus_two_2d", "text", "two_inputs"):
        found = Batches.of(server, model)
        assert found.batches < found.rows, model
        assert set(found.sizes) - {"1"}, model


def test_adaptive_batches(adaptive: RunningServer) -> None:
    # Not so many rows that the lanes could be full, which only local clients wait for.
    everything = [asking for asking in local_load.EVERYTHING if asking is not local_load.many_rows]
    asking = [*map(sometimes_low, (*everything, local_load.newest)), image]
    with ExitStack() as stack:
        crowd = Crowd(stack, adaptive, asking, test_concurrency.EVERYTHING)
        crowd.wait_for_answers(ANSWERS)
        outcomes = crowd.stop()
    assert {protocol: outcome.failed for protocol, outcome in outcomes.items()} == {name: {} for name in outcomes}
    check_rest(adaptive)


def test_batches_by_parameters(static: RunningServer) -> None:
    with ExitStack() as stack:
        crowd = Crowd(stack, static, ROW_WISE, JSON_ROW_WISE)
        crowd.wait_for_answers(ANSWERS)
        outcomes = crowd.stop()
    assert {protocol: outcome.failed for protocol, outcome in outcomes.items()} == {name: {} for name in outcomes}
    check_rest(static)
    assert Batches.of(static, "half_plus_two_2d").padding > 0


def test_a_worker_dies_among_batches(static: RunningServer) -> None:
    """Nothing is lost: the next worker runs what waits. Only local clients' lanes end with their worker."""
    with ExitStack() as stack:
        crowd = Crowd(stack, static, ROW_WISE, JSON_ROW_WISE)
        crowd.wait_for_answers(100)
        before = static.process("worker cpu:0")
        os.kill(before, signal.SIGKILL)
        crowd.wait_for_answers(100)
        assert static.process("worker cpu:0") != before
        outcomes = crowd.stop()
    local = outcomes.pop("shm").failed
    assert {text.partition(":")[0] for text in local} <= {"UNAVAILABLE"}, local
    assert {protocol: outcome.failed for protocol, outcome in outcomes.items()} == {name: {} for name in outcomes}
    wait_until(lambda: process_facts.requests_in_lanes(static.pid) == 0, 10, "the lanes empty")
    assert "never should" not in static.log

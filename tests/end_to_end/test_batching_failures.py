"""Requests that the model fails, among others in the same batches, over all protocols: only the guilty get the error."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end.batched_models import FLAGS, Batches, batched, most, sizes, split
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.load import Load, Question
from end_to_end.model_config_file import ModelConfigFile
from end_to_end.running_server import RunningServer
from ringserve import Client, Code, ServingError

LIMIT = 30
REQUESTS = 480  # of each client
AT_ONCE = 60  # of those
SOON = "batch_timeout_micros { value: 2000 }"
MODELS = {
    "static": most(32, SOON),
    "padded": most(32, f"{SOON} pad_variable_length_inputs: true"),
    "sized": sizes(4, 16, 32, more=SOON),
    "cut": split(5, of=32, more=SOON),
}
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def by_parameters(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("failures")
    entries = [batched(name, models / "fails_on_negative", folder / name, text) for name, text in MODELS.items()]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    with RunningServer(config, *FLAGS, grpc=True, zmq=True, shm=True) as running:
        yield running
        gc.collect()  # errors that were caught have a lane in their frames: with them it stays


@pytest.fixture(scope="module")
def adaptive(models: Path) -> Iterator[RunningServer]:
    flags = "--model_name=adaptive", f"--model_base_path={models}/fails_on_negative"
    with RunningServer(*flags, grpc=True, zmq=True, shm=True) as running:
        yield running
        gc.collect()  # errors that were caught have a lane in their frames: with them it stays


class Asker(threading.Thread):
    """A client with many requests on their way, a tenth of which have a row that fails; the rest is answered with roots."""

    def __init__(self, url: str, model: str, seed: int) -> None:
        super().__init__(name=f"asker {url}")
        self._url = url
        self._model = model
        self._chance = random.Random(seed)
        self.wrong: list[str] = []
        self.guilty = 0

    def run(self) -> None:
        with Client(self._url, timeout=LIMIT) as client:
            for _ in range(REQUESTS // AT_ONCE):
                asked = [self._ask(client) for _ in range(AT_ONCE)]
                for roots, future in asked:
                    self._check(roots, future)

    def _ask(self, client: Client) -> tuple[Array | None, Future[Any]]:
        """The right answer; None: an error."""
        roots = np.array([self._chance.randrange(1000) for _ in range(self._chance.randint(1, 4))], "f4")
        x = roots * roots
        is_guilty = self._chance.random() < 0.1
        if is_guilty:
            x[self._chance.randrange(len(x))] = -1
            self.guilty += 1
        return None if is_guilty else roots, client.submit(self._model, {"x": x})

    def _check(self, roots: Array | None, future: Future[Any]) -> None:
        try:
            got = future.result(LIMIT)["y"]
        except ServingError as error:
            if roots is not None or error.code is not Code.INVALID_ARGUMENT or "negative input" not in error.message:
                self.wrong.append(f"{error}, not {roots}")
            return
        if roots is None or not np.array_equal(got, roots):
            self.wrong.append(f"{got}, not {roots}")


def roots_as_json(model: str) -> Any:
    def ask(chance: random.Random) -> Question:
        numbers = [float(chance.randrange(100)) for _ in range(chance.randint(1, 4))]
        answer = {"predictions": numbers}
        return Question(f"/v1/models/{model}:predict", {"instances": [number**2 for number in numbers]}, answer)

    return ask


def check(server: RunningServer, model: str) -> None:
    before = Batches.of(server, model)
    askers = [Asker(client_url(server, protocol), model, seed) for seed, protocol in enumerate(PROTOCOLS)]
    with ExitStack() as stack:
        load = stack.enter_context(Load(server.port, 8, roots_as_json(model)))  # innocent, over REST as JSON
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        outcome = load.stop()
    assert (outcome.wrong, outcome.dropped) == ([], 0)
    assert [asker.wrong for asker in askers] == [[]] * len(askers)
    assert sum(asker.guilty for asker in askers) > 100
    found = Batches.of(server, model) - before
    assert found.retried > 10, "the guilty were not among others"
    assert "never should" not in server.log


def test_adaptive_batches(adaptive: RunningServer) -> None:
    check(adaptive, "adaptive")


@pytest.mark.parametrize("model", MODELS)
def test_batches_by_parameters(by_parameters: RunningServer, model: str) -> None:
    check(by_parameters, model)


def test_a_request_that_is_cut_fails_as_a_whole(by_parameters: RunningServer) -> None:
    """Whichever of its parts has failed, and none of those who shared a batch with one."""
    with Client(client_url(by_parameters, "grpc"), timeout=LIMIT) as client:
        for bad in range(0, 16, 3):
            x = np.full(16, 4, "f4")
            x[bad] = -1
            guilty, *others = [client.submit("cut", {"x": numbers}) for numbers in (x, *[np.full(3, 9, "f4")] * 4)]
            with pytest.raises(ServingError, match="negative input"):
                guilty.result(LIMIT)
            assert all(other.result(LIMIT)["y"].tolist() == [3.0] * 3 for other in others)

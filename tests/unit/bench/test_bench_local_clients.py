"""The topologies of clients on the server's machine: a real server, asked by the generators as it is when measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pytest

from bench.half_plus_two import predict
from bench.image_bodies import random_image
from bench.library_client import Images, Rows, Way, library_load
from bench.processes import process_ids
from bench.served_models import serve_locally, shm_path, zmq_path
from bench.server import Server, free_port
from bench.zmq_client import zmq_load
from bench.zmq_messages import MODEL


class Answering:
    """A client that keeps what it is asked, and gives one answer."""

    def __init__(self, answer: Any) -> None:
        self.asked: list[Any] = []
        self._answer = answer

    def predict(self, _: str, inputs: Any, **__: Any) -> Any:
        self.asked.append(inputs)
        return self._answer


class Failing(dict[str, Any]):
    errors = ("no",)


@pytest.mark.parametrize("rows", [1, 4])
def test_rows_are_looked_at_all(rows: int) -> None:
    client: Any = Answering(None)
    asked = Rows(client, rows)
    for number in (0, 7, 7_919 + 3):
        asked.predict(number)
        sent = client.asked[-1]["x"]
        assert sent.shape == (rows,)
        assert sent[0] == number % 7_919
        assert asked.is_right(number, {"y": sent / 2 + 2})
        assert not asked.is_right(number + 1, {"y": sent / 2 + 2})
        assert not asked.is_right(number, {"y": sent[:0]})
        assert not asked.is_right(number, Failing(y=sent / 2 + 2))


def test_images_are_looked_at() -> None:
    client: Any = Answering(None)
    asked = Images(client, "mean", 4)
    asked.predict(0)
    mean = float(random_image(4).mean(dtype=np.float64))
    assert np.array_equal(client.asked[0]["image"], random_image(4))
    assert asked.is_right(0, {"mean": np.array([mean])})
    assert not asked.is_right(0, {"mean": np.array([mean * 1.01])})


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[tuple[Server, Path]]:
    """Version 1 alone: what the benchmark serves."""
    target = predict(free_port())
    with TemporaryDirectory(prefix="ringserve-test-") as name:
        folder = Path(name)
        base = folder / "half_plus_two"
        base.mkdir()
        (base / "1").symlink_to(models / "half_plus_two" / "1")
        with Server(serve_locally(base, target.port, folder), target) as server:
            server.until_answered()
            yield server, folder


@pytest.mark.parametrize("way", ["predict", "submit", "submit_each"])
@pytest.mark.parametrize("scheme", ["zmq+ipc", "shm"])
def test_the_library_asks(served: tuple[Server, Path], scheme: str, way: Way) -> None:
    path = (shm_path if scheme == "shm" else zmq_path)(served[1])
    load = library_load(f"{scheme}://{path}", way, 0.1, 4, 8 if way == "submit_each" else 1)
    assert load.errors == 0
    assert load.requests > 4
    assert math.isfinite(load.p50)


@pytest.mark.parametrize(("window", "rows"), [(1, 1), (32, 1), (4, 64)])
def test_pyzmq_asks(served: tuple[Server, Path], window: int, rows: int) -> None:
    load = zmq_load(f"ipc://{zmq_path(served[1])}", MODEL, window, 0.1, rows)
    assert load.errors == 0
    assert load.requests >= window * rows


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the load generator ended with 1"):
        library_load(f"shm://{tmp_path}/none", "predict", 0.1)


def test_the_worker_is_found(served: tuple[Server, Path]) -> None:
    (worker,) = process_ids(served[0].pid, "worker")
    assert "worker cpu:0" in psutil.Process(worker).cmdline()[0]

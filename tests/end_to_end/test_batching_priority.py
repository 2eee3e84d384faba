"""Which request is next where many wait: by priority, by deadline, and who is late not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end import gated_folder, process_facts
from end_to_end.batched_models import Batches
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.model_config_file import ModelConfigFile
from end_to_end.recorded_runs import RecordedRuns, recorded
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from ringserve import Client, Code

LIMIT = 30
REMOTE = PROTOCOLS[:3]  # a local client's answers come in the order of its requests
LONG = 0.5  # seconds after which a low request is let through now and then
ONE_BY_ONE = "max_batch_size { value: 1 } max_enqueued_batches { value: 1000 } num_batch_threads { value: 1 }"


def start(folder: Path, *flags: str) -> RunningServer:
    """One row runs at a time. The runs of `slow` take 50 ms."""
    entries = [recorded("quick", folder / "quick"), recorded("slow", folder / "slow", seconds=0.05)]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    (folder / "batching.config").write_text(ONE_BY_ONE)
    batching = "--enable_batching", f"--batching_parameters_file={folder}/batching.config"
    return RunningServer(config, *batching, *flags, grpc=True, zmq=True, shm=True, environment=gated_folder.ENVIRONMENT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("priority")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with start(folder) as running:
        yield running


def submit(client: Client, numbers: Sequence[float], model: str = "quick", **words: Any) -> list[Future[Any]]:
    return [client.submit(model, {"x": np.array([number], "f4")}, **words) for number in numbers]


def check(asked: Sequence[Future[Any]], numbers: Sequence[float]) -> None:
    assert [future.result(LIMIT)["y"].tolist() for future in asked] == [[number / 2 + 2] for number in numbers]


def wait_for_lanes(server: RunningServer, requests: int) -> None:
    """Until so many are under way, and no others."""
    worker = server.process("worker cpu:0")
    wait_until(lambda: process_facts.requests_in_lanes(worker) == requests, LIMIT, f"{requests} requests in lanes")


@pytest.mark.parametrize("protocol", REMOTE)
def test_low_requests_let_others_go_first(server: RunningServer, folder: Path, protocol: str) -> None:
    runs = RecordedRuns(folder / "quick")
    low, high = [100.0 + number for number in range(12)], [float(number) for number in range(1, 13)]
    with Client(client_url(server, protocol), timeout=LIMIT) as client:
        wait_for_lanes(server, 0)
        with runs.held():
            first = submit(client, [0])
            runs.wait_for(1)
            came = time.monotonic()
            patient = submit(client, low, priority="low")
            wait_for_lanes(server, 1 + len(low))
            urgent = submit(client, high)
            wait_for_lanes(server, 1 + len(low) + len(high))
        check([*first, *patient, *urgent], [0, *low, *high])
    order = [number for (number,) in runs.rows]
    assert order[0] == 0
    assert sorted(order) == sorted([0, *low, *high])
    # One batch in four may be of low ones meanwhile, which have waited long then.
    before = [run for run in runs.all[1 : 1 + len(high)] if run.rows[0] in low]
    assert len(before) <= len(high) // 4
    assert all(run.at - came > LONG for run in before)


def test_low_requests_do_not_wait_for_ever(server: RunningServer, folder: Path) -> None:
    """Though others always wait."""
    runs = RecordedRuns(folder / "slow")
    stopping = threading.Event()

    def hurry(number: int) -> None:
        with Client(client_url(server, "grpc"), timeout=LIMIT) as client:
            while not stopping.is_set():
                client.predict("slow", {"x": np.array([number], "f4")})

    threads = [threading.Thread(target=hurry, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    try:
        runs.wait_for(len(threads))
        with Client(client_url(server, "http"), timeout=LIMIT) as client:
            patient = submit(client, [100], "slow", priority="low")
            check(patient, [100])
        order = [number for (number,) in runs.rows]
        runs.wait_for(len(order) + len(threads))
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def test_low_requests_fill_up_the_batches_of_others(tmp_path: Path) -> None:
    config = ModelConfigFile(tmp_path / "models.config").write(recorded("fours", tmp_path / "fours"))
    (tmp_path / "batching.config").write_text(ONE_BY_ONE.replace("value: 1 }", "value: 4 }", 1))
    batching = "--enable_batching", f"--batching_parameters_file={tmp_path}/batching.config"
    with (
        RunningServer(config, *batching, grpc=True, environment=gated_folder.ENVIRONMENT) as server,
        Client(client_url(server, "grpc"), timeout=LIMIT) as client,
    ):
        runs = RecordedRuns(tmp_path / "fours")
        with runs.held():
            first = submit(client, [0], "fours")
            runs.wait_for(1)
            patient = submit(client, [100, 101, 102], "fours", priority="low")
            wait_for_lanes(server, 4)
            urgent = submit(client, [1, 2, 3], "fours")
            wait_for_lanes(server, 7)
        check([*first, *patient, *urgent], [0, 100, 101, 102, 1, 2, 3])
    _, second, third = runs.rows
    assert sorted(second)[:3] == [1, 2, 3]
    assert sorted([*second, *third]) == [1, 2, 3, 100, 101, 102]


def test_a_model_that_has_much_to_run_keeps_no_other_waiting(server: RunningServer, folder: Path) -> None:
    """From the only thread, though all of it came before."""
    many, one = RecordedRuns(folder / "slow"), RecordedRuns(folder / "quick")
    with Client(client_url(server, "grpc"), timeout=LIMIT) as client:
        wait_for_lanes(server, 0)
        with many.held():
            first = submit(client, [0], "slow")
            many.wait_for(1)
            others = submit(client, [1, 2, 3, 4, 5], "slow")
            wait_for_lanes(server, 6)
            alone = submit(client, [100])
            wait_for_lanes(server, 7)
        check([*first, *others, *alone], [0, 1, 2, 3, 4, 5, 100])
    (turn,) = one.all
    assert turn.at < many.all[2].at


@pytest.mark.parametrize("protocol", REMOTE)
def test_who_is_late_is_not_run(server: RunningServer, folder: Path, protocol: str) -> None:
    runs = RecordedRuns(folder / "quick")
    rejected = not_run(server)
    with Client(client_url(server, protocol), timeout=LIMIT) as client:
        wait_for_lanes(server, 0)
        with runs.held():
            first = submit(client, [0])
            runs.wait_for(1)
            late, patient = submit(client, [-1, -2, -3], timeout=0.3), submit(client, [1, 2])
            codes = [future.exception(LIMIT) for future in late]
        check([*first, *patient], [0, 1, 2])
    assert {getattr(error, "code", None) for error in codes} <= {Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED}
    assert sorted(number for (number,) in runs.rows) == [0, 1, 2]
    wait_until(lambda: not_run(server) == rejected + len(late), LIMIT, lambda: f"{len(late)} counted, not {not_run(server)}")


def not_run(server: RunningServer) -> int:
    """Late ones; those too whose clients left when it was over for them, a moment before it was for the server."""
    found = Batches.of(server, "quick").rejected
    return found["expired"] + found["cancelled"]


@pytest.fixture(scope="module")
def by_deadline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server, and the folder of its models."""
    folder = tmp_path_factory.mktemp("edf")
    with start(folder, "--order=edf") as running:
        yield running, folder


@pytest.mark.parametrize("protocol", REMOTE)
def test_the_earlier_deadline_comes_first(by_deadline: tuple[RunningServer, Path], protocol: str) -> None:
    """Among requests of one priority."""
    server, folder = by_deadline
    runs = RecordedRuns(folder / "quick")
    seconds, low = [23.0, 20.0, 29.0, 17.0, 26.0], 14.0
    with Client(client_url(server, protocol), timeout=LIMIT) as client:
        wait_for_lanes(server, 0)
        with runs.held():
            first = submit(client, [0])
            runs.wait_for(1)
            came = time.monotonic()
            patient = submit(client, [low], priority="low", timeout=low)
            wait_for_lanes(server, 2)
            asked = [submit(client, [number], timeout=number)[0] for number in seconds]
            wait_for_lanes(server, 2 + len(seconds))
        check([*first, *patient, *asked], [0, low, *seconds])
    order = [number for (number,) in runs.rows]
    assert [number for number in order if number != low] == [0, *sorted(seconds)]
    assert order[-1] == low or runs.all[order.index(low)].at - came > LONG

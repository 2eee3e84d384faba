"""Batches without a flag for them: what a trial at load has proven to treat rows one by one is joined, nothing else."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import prediction_logs as logs
import pytest

from end_to_end import gated_folder, process_facts
from end_to_end.batched_models import BatchCount, Batches, explained
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.conftest import Serve
from end_to_end.grpc_load import GrpcLoad, Question
from end_to_end.grpc_questions import PREDICT, differs, halves, predict_message
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.recorded_runs import RecordedRuns, recorded
from end_to_end.running_server import RunningServer
from end_to_end.scraped_metrics import clean, total
from end_to_end.test_cli import ringserve
from end_to_end.waiting import wait_until
from ringserve import Client, Code

LIMIT = 30
MODELS = ("text", "batch_dependent", "half_plus_two", "slow")
QUICK_REQUESTS = 200
LANE = 4096  # requests that it holds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("automatic")


@pytest.fixture(scope="module")
def server(models: Path, folder: Path) -> Iterator[RunningServer]:
    entries = [entry(name, models / name) for name in MODELS]
    entries += [recorded("recorded", folder / "recorded")]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    with RunningServer(config, grpc=True, zmq=True, shm=True, environment=gated_folder.ENVIRONMENT) as running:
        yield running


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Client]:
    with Client(client_url(server, request.param), timeout=LIMIT) as client:
        yield client


def wait_for_lanes(server: RunningServer, requests: int) -> None:
    """Until so many are under way, and no others."""
    worker = server.process("worker cpu:0")
    wait_until(lambda: process_facts.requests_in_lanes(worker) == requests, LIMIT, f"{requests} requests in lanes")


def ask(client: Client, count: int, model: str = "recorded") -> list[Future[Any]]:
    return [client.submit(model, {"x": np.array([number, 1], "f4")}) for number in range(count)]


def check(asked: list[Future[Any]]) -> None:
    assert [future.result(LIMIT)["y"].tolist() for future in asked] == [
        [number / 2 + 2, 2.5] for number in range(len(asked))
    ]


def test_what_waits_shares_a_batch(server: RunningServer, folder: Path, client: Client) -> None:
    runs = RecordedRuns(folder / "recorded")
    wait_for_lanes(server, 0)
    with runs.held():
        first = ask(client, 1)
        runs.wait_for(1)
        others = ask(client, 20)
        wait_for_lanes(server, 21)
    check(first)
    check(others)
    assert len(runs.rows) <= 3, "another may have begun beside the first, no more"
    assert sum(map(len, runs.rows)) == 42


def test_low_requests_have_half_of_a_lane(server: RunningServer, folder: Path) -> None:
    """Others find room beside them."""
    runs = RecordedRuns(folder / "recorded")
    wait_for_lanes(server, 0)
    numbers = np.arange(LANE, dtype="f4")
    with Client(server.zmq_url, timeout=LIMIT) as client:
        with runs.held():
            first = ask(client, 1)
            runs.wait_for(1)
            low = client.submit_each("recorded", {"x": numbers}, priority="low")
            wait_for_lanes(server, 1 + LANE // 2)
            high = ask(client, 20)
            wait_for_lanes(server, 1 + LANE // 2 + len(high))
        check(first)
        check(high)
        found = low.result(LIMIT)
    assert {error.code for error in found.errors.values()} == {Code.UNAVAILABLE}
    assert len(found.errors) == LANE // 2
    answered = [index for index in range(LANE) if index not in found.errors]
    np.testing.assert_array_equal(found["y"][answered], numbers[answered] / 2 + 2)


@pytest.mark.parametrize("protocol", PROTOCOLS[:3])  # local clients' texts are run one by one
def test_texts_that_wait_share_a_batch(server: RunningServer, folder: Path, protocol: str) -> None:
    """Those of one shape."""
    runs = RecordedRuns(folder / "recorded")
    wait_for_lanes(server, 0)
    with Client(client_url(server, protocol), timeout=LIMIT) as client:
        with runs.held():
            first = client.submit("recorded", {"x": [["a"]]}, signature="text")
            runs.wait_for(1)
            words = [[f"w{number}", "ä"] for number in range(20)]
            pairs = [client.submit("recorded", {"x": [pair]}, signature="text") for pair in words]
            single = client.submit("recorded", {"x": [["z"]]}, signature="text")
            wait_for_lanes(server, 22)
        assert first.result(LIMIT)["y"].tolist() == [[b"A"]]
        assert single.result(LIMIT)["y"].tolist() == [[b"Z"]]
        for (word, _), future in zip(words, pairs, strict=True):
            assert future.result(LIMIT)["y"].tolist() == [[word.upper().encode(), "ä".encode()]]
    assert len(runs.rows) <= 4, "another may have begun beside the first, no more"
    assert all(len({len(row) for row in rows}) == 1 for rows in runs.rows)


def test_texts_under_load(server: RunningServer) -> None:
    """Of TensorFlow, from clients that come and go as they like."""

    def question(chance: random.Random) -> Question:
        words = ["".join(chance.choices("abcdefgh", k=chance.randrange(40))).encode() for _ in range(chance.randint(1, 3))]
        upper, lengths = [word.upper() for word in words], np.array([len(word) for word in words], "i4")
        message = predict_message("text", x=words)
        return Question(
            "text", PREDICT, message, lambda answer: differs(answer, length=lengths, upper=upper, upper_bytes=upper)
        )

    with GrpcLoad(server.grpc_port, 4, 16, question) as load:
        load.wait_for_answers(1000)
        outcome = load.stop()
    assert (outcome.wrong, outcome.failed) == ([], {})
    wait_until(lambda: Batches.of(server, "text").rows > 1000, LIMIT, "all counted")
    found = Batches.of(server, "text")
    assert found.sizes["4-7"] + found.sizes["8-15"] + found.sizes["16-31"] > 0, found
    rows, batches = (total(clean(server), f"ringserve_batch_rows_{what}", model="text") for what in ("sum", "count"))
    assert 0 < batches < rows
    (form,) = explained(server, "text")["devices"][0]["forms"]
    assert (form["batched"], form["reason"]) == (True, "rows run alone and together gave the same answers")


def test_rows_that_matter_to_each_other_are_never_joined(server: RunningServer, client: Client) -> None:
    count = BatchCount(server, "batch_dependent")
    asked = [client.submit("batch_dependent", {"x": np.array([n, n + 2], "f4")}) for n in range(100)]
    assert all(future.result(LIMIT)["y"].tolist() == [-1.0, 1.0] for future in asked)
    found = count.new(200)
    assert (found.batches, found.sizes, set(found.closed)) == (100, {"2-3": 100}, {"alone"})
    assert (
        "differs when another row is in its batch"
        in explained(server, "batch_dependent")["devices"][0]["forms"][0]["reason"]
    )


def test_off(models: Path, tmp_path: Path) -> None:
    entries = [entry("text", models / "text"), recorded("recorded", tmp_path / "recorded")]
    config = ModelConfigFile(tmp_path / "models.config").write(*entries)
    environment = gated_folder.ENVIRONMENT
    with (
        RunningServer(config, "--batching=off", grpc=True, environment=environment) as server,
        Client(client_url(server, "grpc"), timeout=LIMIT) as client,
    ):
        runs = RecordedRuns(tmp_path / "recorded")
        with runs.held():
            first = ask(client, 1)
            runs.wait_for(1)
            others = ask(client, 20)
            wait_for_lanes(server, 21)
        check(first)
        check(others)
        assert {len(rows) for rows in runs.rows} == {2}
        count = BatchCount(server, "text")
        asked = [client.submit("text", {"x": [f"w{number}"]}) for number in range(100)]
        assert [future.result(LIMIT)["length"].tolist() for future in asked] == [[len(f"w{n}")] for n in range(100)]
        assert count.new(100).batches == 100


def test_recorded_requests_that_disagree(tmp_path: Path, serve: Serve) -> None:
    """What made-up rows did not show, a version's own requests do: it is not batched, and says why."""
    for name, numbers in {"shy": [(1, -1), (5, -3)], "bold": [(1, 2), (5, 3)]}.items():
        (tmp_path / name / "1").mkdir(parents=True)
        requests = [logs.predict_log({"x": logs.tensor_proto(pair)}).SerializeToString() for pair in numbers]
        logs.write_file(tmp_path / name / "1", logs.framed(*requests))
    entries = [entry(name, tmp_path / name, platform="shy:ShyLoader") for name in ("shy", "bold")]
    config = ModelConfigFile(tmp_path / "models.config").write(*entries)
    server = serve(config, environment=gated_folder.ENVIRONMENT)
    said = {name: ringserve("models", "explain", name, f"--port={server.port}").stdout for name in ("shy", "bold")}
    (line,) = [line for line in said["shy"].splitlines() if "as declared" in line]
    assert line.split()[3] == "no"
    assert line.endswith("of recorded requests, a row's answer differs when another row is in its batch")
    (line,) = [line for line in said["bold"].splitlines() if "as declared" in line]
    assert line.split()[3] == "yes,"
    with Client(f"http://127.0.0.1:{server.port}", timeout=LIMIT) as client:
        asked = [client.submit("shy", {"x": np.array([number, -1], "f4")}) for number in range(1, 50)]
        for number, future in enumerate(asked, start=1):
            mean = (number - 1) / 2
            assert future.result(LIMIT)["y"].tolist() == [number - mean, -1 - mean]
    wait_until(lambda: Batches.of(server, "shy").batches == 49, LIMIT, "49 batches")


def test_a_slow_model_does_not_starve_a_quick_one(server: RunningServer) -> None:
    """On the same worker: who asks the quick one waits for no run of the slow one."""

    def slow(chance: random.Random) -> Question:
        x = np.array([chance.randrange(100)], "f4")
        return Question("slow", PREDICT, predict_message("slow", x=x), lambda answer: differs(answer, y=x))

    quick = halves("half_plus_two")
    with ExitStack() as stack:
        slow_load = stack.enter_context(GrpcLoad(server.grpc_port, 1, 8, slow))
        client = stack.enter_context(Client(client_url(server, "http"), timeout=LIMIT))
        taken: list[float] = []
        while len(taken) < QUICK_REQUESTS:
            x = np.array([len(taken)], "f4")
            asked = time.monotonic()
            assert client.predict("half_plus_two", {"x": x})["y"].tolist() == [len(taken) / 2 + 3]
            taken.append(time.monotonic() - asked)
        slow_load.wait_for_answers(1)
        quick_load = stack.enter_context(GrpcLoad(server.grpc_port, 2, 16, quick))
        quick_load.wait_for_answers(500)
        slow_load.wait_for_answers(1)
        slow_outcome, quick_outcome = slow_load.stop(), quick_load.stop()
    assert (slow_outcome.wrong, quick_outcome.wrong) == ([], [])
    assert not slow_outcome.failed + quick_outcome.failed
    run = explained(server, "slow")["devices"][0]["ran"]["mean_us"] * 1e-6
    assert statistics.fmean(taken) < run / 4, (statistics.quantiles(taken), run)

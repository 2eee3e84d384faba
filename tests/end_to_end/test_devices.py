"""Models on some of the workers or on all, and what becomes of them when a worker ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end import process_facts
from end_to_end.load import Load, halves
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer, run_to_its_end
from end_to_end.waiting import wait_until

LIMIT = 20
BOTH = {"worker cpu:0", "worker cpu:1"}


@pytest.fixture(scope="module")
def two_workers(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    config = ModelConfigFile(tmp_path_factory.mktemp("devices") / "models.config")
    flag = config.write(
        entry("everywhere", models / "half_plus_two"), entry("on_one", models / "half_plus_two", 'devices: "cpu:1"')
    )
    with RunningServer(flag, "--devices=cpu:2") as server:
        yield server


def lanes_of(server: RunningServer, model: str) -> set[str]:
    """The workers that have a lane for the model."""
    return {label["worker"] for label, _ in process_facts.lane_headers(server.pid) if label["servable"][0] == model}


def worker(server: RunningServer, device: str) -> dict[str, Any]:
    """A worker's entry in `ringserve models status --json`."""
    return next(entry for entry in server.admin.call("status")["workers"] if entry["device"] == device)


def holders(server: RunningServer, model: str) -> dict[str, str]:
    """Of the highest version."""
    return dict(server.described(model)["versions"][0]["workers"])


def test_a_model_on_one_device(two_workers: RunningServer) -> None:
    server = two_workers
    assert holders(server, "everywhere") == {"cpu:0": "holds", "cpu:1": "holds"}
    assert holders(server, "on_one") == {"cpu:1": "holds"}
    assert lanes_of(server, "everywhere") == BOTH
    assert lanes_of(server, "on_one") == {"worker cpu:1"}
    before = server.completed()
    with Load(server.port, 4, halves("on_one", 3.0)) as load:
        load.wait_for_answers(50)
        outcome = load.stop()
    assert outcome.wrong == []
    assert {worker for _, worker in server.completed() - before} == {"worker cpu:1"}


def test_available_means_that_every_worker_has_it(two_workers: RunningServer, models: Path, tmp_path: Path) -> None:
    server = two_workers
    other = server.process("worker cpu:1")
    os.kill(other, signal.SIGSTOP)
    try:
        before = len(server.log)
        config = ModelConfigFile(tmp_path / "more.config")
        config.write(
            entry("everywhere", models / "half_plus_two"),
            entry("on_one", models / "half_plus_two", 'devices: "cpu:1"'),
            entry("late", models / "half_plus_two"),
        )
        assert server.admin.call("list")
        loading = server.admin
        loading.timeout = 0.5  # it will not come up in time
        outcomes = {found["model"]: found for found in loading.call("reload", file=str(config.path))["outcomes"]}
        assert outcomes["late"]["error"]["code"] == "DEADLINE_EXCEEDED"
        server.wait_for_log("worker cpu:0: loaded servable version {name: late version: 2}", LIMIT, before)
        assert server.states("late") == {2: "LOADING"}
        assert server.predict("late", {"instances": [2.0]}).status == 404
    finally:
        os.kill(other, signal.SIGCONT)
    server.wait_for_states("late", {2: "AVAILABLE"}, LIMIT)
    assert holders(server, "late") == {"cpu:0": "holds", "cpu:1": "holds"}


def test_a_killed_worker_gets_back_what_it_held(two_workers: RunningServer, models: Path) -> None:
    """A model that was loaded since the start as well. Meanwhile requests go on via the other worker."""
    server = two_workers
    server.admin.call("load", model="newest", base_path=str(models / "half_plus_two"))
    expected = {model: holders(server, model) for model in ("everywhere", "on_one", "newest")}
    before, restarts = worker(server, "cpu:1"), worker(server, "cpu:1")["restarts"]
    questions = [halves(model, 3.0) for model in ("everywhere", "newest")]
    with Load(server.port, 8, *questions) as load:
        log = len(server.log)
        os.kill(before["pid"], signal.SIGKILL)
        server.wait_for_log(r"worker cpu:1 \(pid \d+\) was killed by SIGKILL", LIMIT, log)
        load.wait_for_answers(100)
        assert "worker cpu:1 is back" not in server.log[log:], "these answers were the other worker's"
        assert worker(server, "cpu:1")["state"] != "ready"
        server.wait_for_log("worker cpu:1 is back", LIMIT, log)
        completed = server.completed()
        load.wait_for_answers(300)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert {worker for _, worker in server.completed() - completed} == BOTH, "the new one has work again"
    now = worker(server, "cpu:1")
    assert (now["state"], now["restarts"]) == ("ready", restarts + 1)
    assert now["pid"] == server.process("worker cpu:1") != before["pid"]
    assert {model: holders(server, model) for model in expected} == expected
    assert server.predict("on_one", {"instances": [2.0]}).json == {"predictions": [4.0]}
    assert "worker cpu:0: loaded" not in server.log[log:], "the other one was left alone"


@pytest.mark.parametrize("device", ["cpu:0", "cpu:1"])
def test_no_request_waits_for_a_worker_that_has_ended(two_workers: RunningServer, device: str) -> None:
    """One at a time: an idle worker looks as good as the other to those who don't know that it has ended."""
    server = two_workers
    log = len(server.log)
    os.kill(server.process(f"worker {device}"), signal.SIGKILL)
    server.wait_for_log(rf"worker {device} \(pid \d+\) was killed by SIGKILL", LIMIT, log)
    before = server.completed()
    for number in range(20):
        answer = server.predict("everywhere", {"instances": [number]})
        assert answer.json == {"predictions": [number / 2 + 3]}
    assert {worker for _, worker in server.completed() - before} == BOTH - {f"worker {device}"}
    server.wait_for_log(f"worker {device} is back", LIMIT, log)


def test_a_model_whose_only_worker_is_killed_waits_for_it(two_workers: RunningServer) -> None:
    server = two_workers
    os.kill(server.process("worker cpu:1"), signal.SIGKILL)
    wait_until(lambda: holders(server, "on_one") == {"cpu:1": "starting"}, LIMIT, "the end of the worker seen")
    assert server.predict("on_one", {"instances": [2.0]}).json == {"predictions": [4.0]}
    assert server.states("on_one") == {2: "AVAILABLE"}


def test_a_device_that_there_is_not(models: Path, tmp_path: Path) -> None:
    config = ModelConfigFile(tmp_path / "models.config")
    code, log = run_to_its_end(config.write(entry("m", models / "half_plus_two", 'devices: "cpu:1"')), "--devices=cpu:1")
    assert code == 255
    assert "Model m is to be on device cpu:1, which is none of the server's: cpu:0" in log.splitlines()[-1]

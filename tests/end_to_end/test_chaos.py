"""Processes die and versions change at any moment, under load: no answer is ever wrong, and in the end all is well."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from end_to_end import process_facts
from end_to_end.conftest import Serve
from end_to_end.load import Load
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import either, publish
from end_to_end.waiting import wait_until

STEPS = 9
ROLES = ("worker cpu:0", "worker cpu:1", "frontend rest 0", "frontend rest 1")
BACK = 30  # the last process to die may have to wait for its turn: pauses grow


def kill_if_there(server: RunningServer, role: str) -> None:
    pid = server.processes().get(f"ringserve: {role}")
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def settled(server: RunningServer, newest: int) -> bool:
    """The newest version is served, or it was given up, with two workers dead of its load as far as anybody can tell."""
    states = server.states("half_plus_two")
    return newest in states and sorted(states.values()) == ["AVAILABLE"] + ["END"] * (len(states) - 1)


@pytest.mark.parametrize("seed", [1, 4])
def test_chaos(models: Path, tmp_path: Path, serve: Serve, seed: int) -> None:
    chance = random.Random(seed)
    base = tmp_path / "half_plus_two"
    publish(models / "half_plus_two" / "1", base / "1")
    flags = "--model_name=half_plus_two", f"--model_base_path={base}", "--rest_frontends=2", "--devices=cpu:2"
    server = serve(*flags)
    version = 1
    with Load(server.port, 20, either) as load:
        for _ in range(STEPS):
            if chance.random() < 0.3:
                version += 1
                publish(models / "half_plus_two" / str(1 + version % 2), base / str(version))
            else:
                kill_if_there(server, chance.choice(ROLES))
            load.wait_for_answers(chance.choice((0, 100, 1000)), BACK)
        wait_until(lambda: set(server.processes()) >= {f"ringserve: {role}" for role in ROLES}, BACK, "all back")
        wait_until(lambda: settled(server, version), BACK, f"version {version} to be there, and no other")
        load.wait_for_answers(500, BACK)
        outcome = load.stop()
    assert outcome.wrong == []
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 5, "the lanes empty")

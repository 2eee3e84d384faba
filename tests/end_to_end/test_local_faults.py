"""Local clients when processes die or stop, and when versions come and go."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from end_to_end.conftest import write_config
from end_to_end.local_facts import check, held, in_lanes, local_lanes, url
from end_to_end.local_load import LocalLoad, newest, one_row
from end_to_end.raw_local_client import RawLocalClient
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import publish
from end_to_end.waiting import wait_until
from ringserve import Client, Code, ServingError

LIMIT = 30.0  # seconds
STALLED = 5.0  # that a client has to give up its lanes
BACK = 10.0  # until a process that died is replaced, on a machine that is busy
X = np.array([1, 2], "<f4")
#: What clients are told while there is no worker, or no front end.
ENDED = re.compile(r"UNAVAILABLE: (The worker ended|No worker can take its requests now|.* ended)")
AWAY = re.compile(r"UNAVAILABLE: The server at shm://\S+ can't be reached: .*")


def kill(server: RunningServer, role: str) -> Callable[[], bool]:
    """Says whether another one has taken its place."""
    pid = server.process(role)
    os.kill(pid, signal.SIGKILL)
    return lambda: server.process(role) != pid


def unexpected(failed: Counter[str], expected: re.Pattern[str]) -> list[str]:
    return [text for text in failed if not expected.fullmatch(text)]


def test_processes_that_are_killed(models: Path, tmp_path: Path) -> None:
    served = {name: models / name for name in ("half_plus_two", "half_plus_two_2d", "slow")}
    with RunningServer(write_config(tmp_path / "models.config", served), shm=True) as server:
        check(server)
        lanes = local_lanes(server)
        with LocalLoad(url(server), 4, newest, one_row, patience=BACK) as load, Client(url(server)) as client:
            load.wait_for_answers(500)
            client.predict("slow", {"x": X})
            before = held(server)

            # The worker: what it had not answered fails, with words; all others are answered by the next one.
            begun = client.submit("slow", {"x": X})
            wait_until(lambda: in_lanes(server, "slow"), LIMIT, "the slow one in its lane")
            is_back = kill(server, "worker cpu:0")
            error = begun.exception(LIMIT)
            assert isinstance(error, ServingError)
            assert (error.code, error.message) == (Code.UNAVAILABLE, "The worker ended")
            wait_until(is_back, LIMIT, "another worker")
            server.wait_for_log("worker cpu:0 is back", LIMIT)
            load.wait_for_answers(500)
            assert unexpected(load.outcome.failed, ENDED) == []
            assert any("The worker ended" in text for text in load.outcome.failed)
            assert client.predict("slow", {"x": X})["y"].tolist() == [1, 2]

            # The front end of the lanes: requests go past it, and clients connect again.
            load.outcome.failed.clear()
            is_back = kill(server, "frontend local 0")
            wait_until(is_back, LIMIT, "another front end")
            load.wait_for_answers(500)
            assert unexpected(load.outcome.failed, AWAY) == []
            assert client.predict("slow", {"x": X})["y"].tolist() == [1, 2]
            outcome = load.stop()
        assert outcome.wrong == []
        assert outcome.slowest < BACK
        wait_until(lambda: local_lanes(server) <= lanes, 10, lambda: f"{lanes} lanes, not {local_lanes(server)}")
        for title, now in held(server).items():
            assert now.descriptors <= before[title].descriptors + 2, title
        check(server)


def test_what_has_begun_is_answered_before_the_end(models: Path, tmp_path: Path) -> None:
    """SIGTERM: what is in lanes is answered, what comes later is told why not."""
    served = {name: models / name for name in ("half_plus_two", "slow")}
    with RunningServer(write_config(tmp_path / "models.config", served), shm=True) as server:
        with Client(url(server), timeout=LIMIT) as client, LocalLoad(url(server), 2, newest) as load:
            client.predict("slow", {"x": X})
            begun = [client.submit("slow", {"x": X + number}) for number in range(3)]  # of 0.3 s each
            with client.slot("slow", 1) as slot:
                slot.inputs["x"][:] = 5
                server.send_signal(signal.SIGTERM)
                server.wait_for_log("SIGTERM: ending", LIMIT)
            for number, future in enumerate(begun):
                assert future.result(LIMIT)["y"].tolist() == (X + number).tolist()
            assert server.wait(10) == 0
            with pytest.raises(ServingError) as caught:
                client.predict("slow", {"x": X})
            assert caught.value.code is Code.UNAVAILABLE
            outcome = load.stop()
        assert outcome.wrong == []
        assert all(text.startswith("UNAVAILABLE: ") for text in outcome.failed), outcome.failed
        assert not any("The worker ended" in text for text in outcome.failed), outcome.failed


def test_a_version_that_is_replaced(models: Path, tmp_path: Path) -> None:
    """No request fails; and a client that stalls keeps the old one for so long and no longer."""
    source = models / "half_plus_two"
    publish(source / "1", tmp_path / "half_plus_two" / "1")
    flags = "--model_name=half_plus_two", f"--model_base_path={tmp_path}/half_plus_two"
    with RunningServer(*flags, "--file_system_poll_wait_seconds=1", shm=True) as server:
        with RawLocalClient(server.shm_socket) as stalling, LocalLoad(url(server), 4, newest) as load:
            lane = stalling.open("half_plus_two")
            publish(source / "2", tmp_path / "half_plus_two" / "2")
            assert stalling.receive()[0] == {"type": "retire", "lane": lane.terms["lane"]}
            began = time.monotonic()
            assert lane.code(lane.submit(0, 0, 1)) == 0, "it is answered still"
            wait_until(lambda: load.outcome.by_version[2] > 200, LIMIT, "answers of the new version")
            older = load.outcome.by_version[1]
            assert not lane.is_over
            server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"}, STALLED + 5)
            assert STALLED - 0.5 < time.monotonic() - began < STALLED + 3
            wait_until(lambda: lane.is_over, 5, "the stalling client's lane gone")
            lane.close()
            load.wait_for_answers(200)
            outcome = load.stop()
        assert (outcome.wrong, outcome.failed) == ([], Counter())
        assert 0 < outcome.by_version[1] <= older + 50
        check(server)

"""Local clients that write, say and do whatever they like: those that share the models with them notice nothing of it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from end_to_end import hostile_local_client, local_load, process_facts
from end_to_end.conftest import write_config
from end_to_end.grpc_load import GrpcLoad
from end_to_end.grpc_questions import halves as grpc_halves
from end_to_end.load import Load
from end_to_end.load import halves as rest_halves
from end_to_end.local_facts import check, held, local_lanes, url
from end_to_end.local_load import LocalLoad
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until

LIMIT = 30.0  # seconds
ATTACK = 0.4  # that each attack takes
SLOWEST = 3.0  # that a neighbour may wait for an answer
MOST_GROWTH = 64 << 20  # bytes of a process
MODELS = ("half_plus_two", "half_plus_two_2d", "text", "identity")
#: Where descriptors that are sent along can be refused.
REFUSES = tuple(map(int, platform.release().split(".")[:2])) >= (6, 16)

#: What has to come of some attacks, by the words that they write.
FOUND = {
    "words_everywhere": {"lanes"},
    "cursors": {"lanes"},
    "rows_outside": {"code -1", "lanes"},
    "packed_lies": {"code 0", "code 3"},
    "bools": {"code 3"},
    "ringing": set[str](),
    "never_reading": {"submitted"},
    "flags": {"lanes"},
    "holes": {"not truncated", "not sealed"},
    "lanes_without_end": {"lane", "code 8"},
    "descriptors": {"refused"},
    "nonsense": {"turns", "code 3", "code 5"},
    "connections": {"connections"},
    "vanishing": {"killed"},
}


class Neighbours(NamedTuple):
    """Who asks the same models meanwhile, each in another way."""

    rest: Load
    grpc: GrpcLoad
    local: LocalLoad

    def all_are_answered(self, more: int = 20) -> None:
        for load in self:
            load.wait_for_answers(more, LIMIT)


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    config = write_config(tmp_path_factory.mktemp("local") / "models.config", {name: models / name for name in MODELS})
    with RunningServer(config, f"--max_request_bytes={4 << 20}", grpc=True, shm=True) as running:
        check(running)
        yield running


@pytest.fixture(scope="module")
def neighbours(server: RunningServer) -> Iterator[Neighbours]:
    asking = local_load.newest, local_load.one_row, local_load.text
    with (
        Load(server.port, 2, rest_halves("half_plus_two", 3.0)) as rest,
        GrpcLoad(server.grpc_port, 1, 2, grpc_halves()) as grpc,
        LocalLoad(url(server), 2, *asking) as local,
    ):
        # Each of its clients has a lane for whatever it has asked for: from now on all that there will be.
        counts = local.outcome.by_kind
        wait_until(
            lambda: len(counts) >= 6 and min(list(counts.values())) > 50, LIMIT, lambda: f"requests of all kinds: {counts}"
        )
        yield Neighbours(rest, grpc, local)


def attack(server: RunningServer, name: str, seed: int = 1, seconds: float = ATTACK) -> Counter[str]:
    words = [server.shm_socket, name, str(seconds), str(seed)]
    command = [sys.executable, hostile_local_client.__file__, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    return Counter(json.loads(done.stdout))


@pytest.mark.parametrize("name", hostile_local_client.names())
def test_nobody_else_notices(server: RunningServer, neighbours: Neighbours, name: str) -> None:
    if name == "descriptors" and not REFUSES:
        pytest.skip("this kernel passes descriptors on")
    processes, lanes, before = server.processes(), local_lanes(server), held(server)
    for load in neighbours:
        load.outcome.slowest = 0.0
    began = time.monotonic()
    found = attack(server, name)
    assert found.keys() >= FOUND.get(name, set()), found
    neighbours.all_are_answered()
    for load in neighbours:
        assert load.outcome.wrong == []
        assert load.outcome.slowest < SLOWEST
    assert neighbours.rest.outcome.dropped == 0
    assert not neighbours.grpc.outcome.failed, neighbours.grpc.outcome.texts
    assert not neighbours.local.outcome.failed
    check(server)
    wait_until(lambda: local_lanes(server) <= lanes + 1, 10, lambda: f"{lanes} lanes, not {local_lanes(server)}")
    wait_until(
        lambda: all(now.descriptors <= before[title].descriptors + 6 for title, now in held(server).items()),
        10,
        lambda: f"{before}, not {held(server)}",
    )
    for title, now in held(server).items():
        assert now.resident < before[title].resident + MOST_GROWTH, title
    assert server.processes() == processes
    assert "never should" not in server.log
    print(name, time.monotonic() - began, dict(found))


def test_several_at_once_leave_nothing(server: RunningServer, neighbours: Neighbours) -> None:
    """Each attack in a process of its own, and killed in the middle of it. All fifteen together leave two processors nothing
    for the others, whatever the server does.
    """
    names = [name for name in hostile_local_client.names() if REFUSES or name != "descriptors"]
    command = [sys.executable, hostile_local_client.__file__, server.shm_socket]
    before = held(server)
    for some in (names[::3], names[1::3], names[2::3]):
        hostile = [subprocess.Popen([*command, name, "60", "2"], stderr=subprocess.DEVNULL) for name in some]
        try:
            began = time.monotonic()
            while time.monotonic() < began + 1.5:
                neighbours.all_are_answered(10)
        finally:
            for process in hostile:
                process.kill()
                process.wait(LIMIT)
        neighbours.all_are_answered()
    for load in neighbours:
        assert load.outcome.wrong == []
    assert not neighbours.local.outcome.failed
    check(server)
    wait_until(
        lambda: all(now.descriptors <= before[title].descriptors + 6 for title, now in held(server).items()),
        10,
        lambda: f"{before}, not {held(server)}",
    )
    assert all(process_facts.state(pid) in "RSD" for pid in server.processes().values())

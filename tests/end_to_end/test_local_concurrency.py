"""Many local clients at once, in processes and threads of their own: everybody gets their own answers, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from end_to_end import local_load, process_facts
from end_to_end.local_facts import check, held, local_lanes, url
from end_to_end.local_load import EVERYTHING, LocalLoad
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from ringserve import Client

MODELS = ("half_plus_two_2d", "identity", "two_inputs", "text", "batch_dependent")
VERSIONS = 'model_version_policy { all {} } version_labels { key: "v1" value: 1 } version_labels { key: "v2" value: 2 }'
PROCESSES, THREADS, SECONDS = 3, 6, 4.0
LIMIT = 60
MOST_GROWTH = 48 << 20  # bytes of a process, beyond what it takes when it is warm


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Of two workers."""
    config = ModelConfigFile(tmp_path_factory.mktemp("local") / "models.config").write(
        *(entry(name, models / name) for name in MODELS), entry("half_plus_two", models / "half_plus_two", VERSIONS)
    )
    labels = "--allow_version_labels_for_unavailable_models"
    with RunningServer(config, labels, "--devices=cpu:2", shm=True) as running:
        yield running


def client_process(server: RunningServer, seed: int) -> subprocess.Popen[str]:
    words = [url(server), str(seed), str(THREADS), str(SECONDS)]
    return subprocess.Popen([sys.executable, local_load.__file__, *words], stdout=subprocess.PIPE, text=True)


def test_everybody_gets_their_own_answers(server: RunningServer) -> None:
    """From several processes, and when they are gone all is as it was before them."""
    with LocalLoad(url(server), 2, *EVERYTHING, seed=99) as load:  # so that all is loaded that will ever be
        load.wait_for_answers(2000)
    lanes = local_lanes(server)
    before = held(server)
    with ExitStack() as stack:
        clients = [stack.enter_context(client_process(server, seed)) for seed in range(PROCESSES)]
        said = [client.communicate(timeout=LIMIT)[0] for client in clients]
    assert [client.returncode for client in clients] == [0] * PROCESSES
    outcomes: list[dict[str, Any]] = [json.loads(text) for text in said]
    assert [outcome["wrong"] for outcome in outcomes] == [[]] * PROCESSES
    assert [outcome["failed"] for outcome in outcomes] == [{}] * PROCESSES
    print(outcomes)
    assert all(outcome["answered"] > 3000 for outcome in outcomes), outcomes
    kinds = Counter(kind for outcome in outcomes for kind in outcome["by_kind"])
    assert set(kinds.values()) == {PROCESSES}, kinds
    wait_until(lambda: local_lanes(server) <= lanes, 10, lambda: f"{lanes} lanes, not {local_lanes(server)}")
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 10, "the lanes empty")
    for title, now in held(server).items():
        assert now.descriptors <= before[title].descriptors + 2, title
        assert now.resident < before[title].resident + MOST_GROWTH, title
    assert "never should" not in server.log
    check(server)


def test_clients_come_and_go(server: RunningServer) -> None:
    """As many after another as no server has room for at once."""
    check(server)
    before = held(server)
    for _ in range(300):
        with Client(url(server)) as client:
            assert client.is_ready("text")
    for _ in range(40):
        check(server)
    wait_until(
        lambda: all(now.descriptors <= before[title].descriptors + 2 for title, now in held(server).items()),
        10,
        lambda: f"{before}, not {held(server)}",
    )

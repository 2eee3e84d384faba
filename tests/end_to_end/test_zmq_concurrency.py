"""Many sockets at once over several models and versions: nobody gets anybody else's answer, and nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end import process_facts
from end_to_end.conftest import DATA
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from end_to_end.zmq_client import ZmqClient
from end_to_end.zmq_facts import connections, front_end, in_flight, resident
from end_to_end.zmq_load import ZmqLoad
from end_to_end.zmq_questions import (
    alone_together,
    batch_dependent,
    classify,
    halves,
    in_a_frame,
    one_row,
    prepared,
    regress,
    roots,
    same,
    text,
    two_inputs,
)
from end_to_end.zmq_questions import (
    models as model_names,
)

MODELS = ("half_plus_two_2d", "identity", "two_inputs", "text", "batch_dependent", "fails_on_negative")
ALL = "model_version_policy { all {} }"
EVERYTHING = (
    one_row,
    one_row,
    one_row,
    halves("half_plus_two", 2, version=1),
    halves("half_plus_two", 3, version=2),
    halves("half_plus_two", 2, version=1, each=True, most_rows=60),
    halves("half_plus_two", 3, most_rows=700),
    in_a_frame,
    two_inputs,
    text,
    same("int64"),
    same("double"),
    same("int8"),
    batch_dependent,
    alone_together,
    roots,
    regress,
    classify,
    model_names,
)
SOAK_SECONDS = 5.0
MOST_GROWTH = 24 << 20  # bytes of the front end's, beyond what it takes when it is warm


@pytest.fixture(scope="module")
def crowd(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of two ZeroMQ front ends and two workers, on TCP and on a UNIX socket."""
    folder = tmp_path_factory.mktemp("zmq")
    config = ModelConfigFile(folder / "models.config").write(
        *(entry(name, models / name) for name in MODELS),
        entry("half_plus_two", models / "half_plus_two", ALL),
        entry("default", DATA / "saved_model_half_plus_two_cpu"),
    )
    flags = config, f"--zmq_endpoint=ipc://{folder}/s", "--zmq_frontends=2", "--devices=cpu:2"
    with RunningServer(*flags, zmq=True) as server:
        yield server


def addresses(server: RunningServer) -> list[str]:
    (flag,) = [flag for flag in server._command if flag.startswith("--zmq_endpoint=")]
    return [f"tcp://127.0.0.1:{server.zmq_port}", flag.removeprefix("--zmq_endpoint=")]


def test_everybody_gets_their_own_answers(crowd: RunningServer) -> None:
    with ZmqLoad(addresses(crowd), 6, 60, *EVERYTHING) as load:
        load.wait_for_answers(8_000, 60)
        outcome = load.stop()
    assert outcome.wrong == []
    assert not outcome.failed, outcome.texts
    assert outcome.lost == outcome.late == 0
    assert len(outcome.by_kind) == 17, outcome.by_kind
    wait_until(lambda: process_facts.requests_in_lanes(crowd.pid) == 0, 10, "the lanes empty")
    assert "never should" not in crowd.log
    more = {(label["frontend"], label["worker"]) for label, _ in process_facts.lane_headers(crowd.pid)}
    assert {(f"frontend zmq {i}", f"worker cpu:{j}") for i in range(2) for j in range(2)} <= more


def test_soak(crowd: RunningServer) -> None:
    """Nothing grows with the requests: not memory, not descriptors, not connections."""
    questions = [prepared(one_row, 2000)] * 10 + [prepared(asking, 200) for asking in EVERYTHING]

    def clients_come_and_go() -> None:
        for address in addresses(crowd):
            with ZmqClient(address) as client:
                client.ask({"call": "health"})

    with ZmqLoad(addresses(crowd), 3, 100, *questions) as load:
        load.wait_for_answers(10_000, 60)
        warm = [resident(crowd, index) for index in range(2)]
        sockets = [connections(crowd, index) for index in range(2)]
        began = time.monotonic()
        while time.monotonic() < began + SOAK_SECONDS:
            load.wait_for_answers(500, 60)
            clients_come_and_go()
        outcome = load.stop()
    assert (outcome.wrong, outcome.failed.total(), outcome.lost) == ([], 0, 0), outcome.texts
    assert outcome.answered > 15_000
    wait_until(lambda: process_facts.requests_in_lanes(crowd.pid) == 0, 10, "the lanes empty")
    wait_until(lambda: not in_flight(crowd), 10, "no request in flight")
    for index in range(2):
        wait_until(lambda index=index: connections(crowd, index) <= sockets[index], 10, "connections closed")  # type: ignore[misc]
        assert resident(crowd, index) < warm[index] + MOST_GROWTH
    assert front_end(crowd, 0) and "never should" not in crowd.log

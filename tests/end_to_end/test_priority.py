"""A request's priority reaches its lane, over every protocol and in every way to say it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from end_to_end import process_facts
from end_to_end.conftest import DATA, write_config
from end_to_end.running_server import RunningServer
from end_to_end.zmq_client import ZmqClient
from ringserve import Client, Code, ServingError
from ringserve.cli import main
from shm.layout import LOW

LIMIT = 30
X = {"x": np.array([[1], [2]], np.float32)}
EXAMPLES = [{"x": 2.0}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    served: dict[str, Path] = {"half": DATA / "saved_model_half_plus_two_cpu"}
    flag = write_config(tmp_path_factory.mktemp("config") / "models.config", served)
    with RunningServer(flag, grpc=True, zmq=True, shm=True) as running:
        yield running


@pytest.fixture(params=["grpc", "http", "zmq", "shm"])
def client(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Client]:
    urls = {
        "grpc": f"grpc://127.0.0.1:{server.grpc_port}",
        "http": f"http://127.0.0.1:{server.port}",
        "zmq": server.zmq_url,
        "shm": f"shm://{server.shm_socket}",
    }
    with Client(urls[request.param], timeout=LIMIT) as client:
        yield client


class Requests:
    """How many there were of each priority, since the last look: (high, low)."""

    def __init__(self, server: RunningServer) -> None:
        self._worker = server.process("worker cpu:0")
        self._seen: dict[int, int] = {}  # by lane: those of local clients go with them
        self.new()

    def new(self) -> tuple[int, int]:
        lanes = process_facts.request_flags(self._worker)
        flags = [flag for lane, all_flags in lanes.items() for flag in all_flags[self._seen.get(lane, 0) :]]
        self._seen = {lane: len(all_flags) for lane, all_flags in lanes.items()}
        low = sum(1 for flag in flags if flag & LOW)
        return len(flags) - low, low


def test_the_python_client(server: RunningServer, client: Client) -> None:
    requests = Requests(server)
    for priority, share in (("low", (0, 1)), ("high", (1, 0))):

        def found(count: int, share: tuple[int, int] = share) -> bool:
            return requests.new() == (count * share[0], count * share[1])

        assert client.predict("half", X, priority=priority)["y"].tolist() == [[2.5], [3.0]]
        assert found(1)
        assert client.submit("half", X, priority=priority).result(LIMIT)["y"].tolist() == [[2.5], [3.0]]
        assert found(1)
        assert client.predict_each("half", {"x": np.ones((100, 1), "f4")}, priority=priority)["y"].tolist() == [[2.5]] * 100
        assert found(100)
        client.classify("half", EXAMPLES, signature="classify_x_to_y", priority=priority)
        assert found(1)
        assert client.regress("half", EXAMPLES, signature="regress_x_to_y", priority=priority) == [3.0]
        assert found(1)
        with client.stream(priority=priority) as stream:
            futures = [stream.submit("half", X) for _ in range(50)]
        assert all(future.result()["y"].tolist() == [[2.5], [3.0]] for future in futures)
        assert found(50)


def test_the_header(server: RunningServer) -> None:
    requests = Requests(server)
    body = '{"instances": [[1.0]]}'
    for headers, expected in (({"X-Priority": "LOW"}, (0, 1)), ({"x-priority": "high"}, (1, 0)), ({}, (1, 0))):
        answer = server.ask("POST", "/v1/models/half:predict", body, headers=headers)
        assert (answer.status, answer.json) == (200, {"predictions": [[2.5]]})
        assert requests.new() == expected
    answer = server.ask("POST", "/v1/models/half:predict", body, headers={"X-Priority": "asap"})
    assert (answer.status, answer.json) == (400, {"error": "The header X-Priority is 'asap'; expected high or low"})
    assert requests.new() == (0, 0)


def test_messages(server: RunningServer) -> None:
    requests = Requests(server)
    fields: dict[str, Any] = {"model": "half", "inputs": [["x", "float", [1, 1], np.ones(1, "<f4").tobytes()]]}
    with ZmqClient(f"tcp://127.0.0.1:{server.zmq_port}") as client:
        for more, expected in (({"priority": "low"}, (0, 1)), ({"priority": "high"}, (1, 0)), ({}, (1, 0))):
            client.send({"id": 1, **more, **fields})
            answer, _ = client.receive(LIMIT)
            assert "outputs" in answer
            assert requests.new() == expected
        client.send({"id": 1, "priority": 1, **fields})
        answer, _ = client.receive(LIMIT)
        assert (answer["code"], answer["error"]) == (
            Code.INVALID_ARGUMENT,
            "The message has bad fields: priority: 1; expected high or low",
        )
    answer = server.ask(
        "POST",
        "/v1/models/half:predict",
        msgpack.packb({"priority": "low", **fields}),
        headers={"Content-Type": "application/x-msgpack", "X-Priority": "high"},
    )
    assert answer.status == 200
    assert requests.new() == (0, 1)


def test_what_is_no_priority(client: Client) -> None:
    with pytest.raises(ServingError) as caught:
        client.predict("half", X, priority="asap")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_the_command(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    requests = Requests(server)
    for url in (f"http://127.0.0.1:{server.port}", f"grpc://127.0.0.1:{server.grpc_port}"):
        for words, expected in ((["--priority", "low"], (0, 1)), ([], (1, 0))):
            assert main(["predict", "half", "--url", url, "--input", "[[1.0]]", *words]) == 0
            assert "2.5" in capsys.readouterr().out
            assert requests.new() == expected

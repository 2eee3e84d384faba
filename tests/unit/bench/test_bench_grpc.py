"""The gRPC topologies' parts: what is asked, the echoes, the generator in Python, the comparison with the better echo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import grpc_predict as topologies
from bench.grpc_echoes import NAMES, Kind, grpc_echo
from bench.grpc_generator import grpc_load
from bench.grpc_predict import add_repetition, echo_rows, grpc_generator, rotated
from bench.grpc_target import GrpcTarget, grpc_image, grpc_metadata, grpc_predict
from bench.load import Load, WrongAnswerError
from bench.report import Report
from bench.server import free_port
from bench.topology import Settings, SkippedError
from ringserve.protos import message_module


def answer(output: str, *floats: float, content: bytes = b"") -> bytes:
    messages: Any = message_module("tensorflow_serving.apis.predict_pb2")
    response = messages.PredictResponse()
    tensor = response.outputs[output]
    tensor.dtype = 1
    tensor.float_val.extend(floats)
    tensor.tensor_content = content
    serialised: bytes = response.SerializeToString()
    return serialised


RIGHT = answer("y", 2.5, 3.0, 4.5)


@pytest.fixture(scope="module", params=list(NAMES))
def target(request: pytest.FixtureRequest) -> Iterator[GrpcTarget]:
    """Where an echo answers as half_plus_two."""
    asked = grpc_predict(0)
    with grpc_echo(request.param, asked, {asked.method: RIGHT}) as (server, there):
        assert server.check(2) == RIGHT
        yield there


def test_requests_and_answers() -> None:
    messages: Any = message_module("tensorflow_serving.apis.predict_pb2")
    target = grpc_predict(1)
    request = messages.PredictRequest.FromString(target.request)
    assert (request.model_spec.name, list(request.inputs["x"].float_val)) == ("half_plus_two", [1.0, 2.0, 5.0])
    assert target.right(RIGHT)
    assert target.right(answer("y", content=np.array([2.5, 3.0, 4.5], "<f4").tobytes()))
    for wrong in (b"", b"\xff", answer("z", 2.5, 3.0, 4.5), answer("y", 2.5, 3.0), answer("y", content=b"123")):
        assert not target.right(wrong)
    assert b"half_plus_two" in grpc_metadata(1).request


def test_an_image_is_tensor_content() -> None:
    messages: Any = message_module("tensorflow_serving.apis.predict_pb2")
    image = np.arange(12, dtype="<f4").reshape(1, 2, 2, 3)
    target = grpc_image(1, "mean", image)
    tensor = messages.PredictRequest.FromString(target.request).inputs["image"]
    assert tensor.tensor_content == image.tobytes()
    assert [dim.size for dim in tensor.tensor_shape.dim] == [1, 2, 2, 3]
    assert target.right(answer("mean", 5.5))
    assert not target.right(answer("mean", 5.6))
    assert not target.right(answer("mean"))


def test_an_echo_answers(target: GrpcTarget) -> None:
    assert target.ask(3) == RIGHT
    with pytest.raises(WrongAnswerError, match="answered UNIMPLEMENTED"):
        replace(target, method="Classify").ask(1)
    with pytest.raises(WrongAnswerError, match=r"answered b'.*y"):
        replace(target, right=lambda _: False).ask(1)
    with pytest.raises(ConnectionError):
        replace(target, port=free_port()).ask(1)


@pytest.mark.parametrize(("calls", "connections"), [(1, 1), (8, 1), (5, 2)])
def test_the_generator_counts(target: GrpcTarget, calls: int, connections: int) -> None:
    load = grpc_load(target, calls, 0.1, connections)
    assert load.errors == 0
    assert load.requests >= calls
    assert 0 < load.p50 <= load.p99 <= load.longest


def test_the_generator_counts_answers_that_are_not_the_first_as_errors(target: GrpcTarget) -> None:
    class Deceived(GrpcTarget):
        def ask(self, _: int) -> bytes:
            return b"another"

    load = grpc_load(Deceived(target.port, target.method, target.request, target.right), 2, 0.05)
    assert load.errors > 0
    assert load.requests == 0


def test_what_is_asked_is_asked_beside_the_better_echo() -> None:
    rows = echo_rows("grpc-c1", "a client")
    echoes: dict[Kind, Load] = {"aio": Load(1000, 1.0, 1.0, 2.0, 0), "threads": Load(500, 1.0, 2.0, 4.0, 0)}
    add_repetition(rows, Load(900, 1.0, 1.1, 2.1, 0), echoes)
    assert [len(rows[kind]["throughput"].goals) for kind in NAMES] == [1, 0]
    echoes["threads"] = Load(1200, 1.0, 2.0, 4.0, 0)
    add_repetition(rows, Load(600, 1.0, 1.1, 2.1, 0), echoes)
    assert [len(rows[kind]["throughput"].goals) for kind in NAMES] == [0, 1]
    throughput = rows["threads"]["throughput"]
    assert throughput.best_ratio == 0.75
    assert throughput.met(throughput.goals[0]) is False
    assert rows["aio"]["p99"].figures == [2.1, 2.1]
    assert rows["aio"]["p50"].floors == [1.0, 1.0]
    table = Report({}, [row for beside in rows.values() for row in beside.values()]).table()
    assert "throughput, req/s (a client)" in table
    assert throughput.to_json()["generator"] == "a client"


def test_an_echo_that_fails_is_nothing_to_compare_with() -> None:
    good = Load(1000, 1.0, 1.0, 2.0, 0)
    with pytest.raises(RuntimeError, match=r"3 requests to the grpc\.server echo failed"):
        add_repetition(echo_rows("grpc-c1", ""), good, {"aio": good, "threads": replace(good, errors=3)})


def test_each_is_first_in_turn() -> None:
    order: list[Kind | None] = [None, "aio", "threads"]
    assert [rotated(order, by)[0] for by in range(4)] == [None, "aio", "threads", None]


def test_without_perf_analyzer_the_load_comes_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    settings = Settings(Path(), say=said.append)

    def absent(_: str) -> Any:
        raise SkippedError("no network")

    monkeypatch.setattr(topologies, "found_perf_analyzer", absent)
    assert grpc_generator(settings) == ("a client in Python", grpc_load)
    assert said == ["no network: the load comes from Python, and is limited by that"]
    assert grpc_generator(replace(settings, perf_analyzer="own"))[1] is grpc_load
    with pytest.raises(SkippedError):
        grpc_generator(replace(settings, perf_analyzer="/named"))

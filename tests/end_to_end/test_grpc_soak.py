"""Tens of thousands of calls over many connections while versions come and go: none is lost, none fails, none is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end import process_facts
from end_to_end.conftest import DATA, write_config
from end_to_end.grpc_load import GrpcLoad, channel_to
from end_to_end.grpc_questions import (
    batch_dependent,
    classify,
    halves,
    one_column,
    prepared,
    regress,
    same,
    text,
    two_inputs,
)
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from ringserve.protos import message_module

CALLS, CHANNELS, AT_A_TIME = 20_000, 16, 4
MOST_GROWTH = 20 << 20  # bytes of the front end's, beyond what it takes when it is warm
FEWEST_SWITCHES = 3
LIMIT = 240  # seconds: of a machine that has much else to do; by itself it is a twentieth of that
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
MODELS = ("half_plus_two_2d", "two_inputs", "text", "identity", "batch_dependent")

#: Small requests of one kind are what most clients send; the rest is there to get between them.
FREQUENT = halves("half_plus_two", 2.0, 3.0)
OTHERS = (
    halves("half_plus_two", 2.0, 3.0, most_rows=700),
    one_column,
    two_inputs,
    text,
    same("int64"),
    same("double"),
    batch_dependent,
    regress,
    classify,
)


class Versions:
    """Which version of half_plus_two is served, over gRPC itself."""

    def __init__(self, server: RunningServer, models: Path) -> None:
        self._channel = channel_to(server.grpc_port)
        self._models = models
        self.switches = 0

    def switch(self) -> None:
        """To the other one; returns when it is served."""
        management = message_module("tensorflow_serving.apis.model_management_pb2")
        request = management.ReloadConfigRequest()
        for name, folder in served(self._models).items():
            model = request.config.model_config_list.config.add(
                name=name, base_path=str(folder), model_platform="tensorflow"
            )
            if name == "half_plus_two":
                model.model_version_policy.specific.versions.append(1 + self.switches % 2)
        answer = self._channel.unary_unary(RELOAD)(request.SerializeToString(), timeout=60)
        assert management.ReloadConfigResponse.FromString(answer).status.error_code == 0
        self.switches += 1


def served(models: Path) -> dict[str, Path]:
    return {name: models / name for name in ("half_plus_two", *MODELS)} | {"default": DATA / "saved_model_half_plus_two_cpu"}


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    config = write_config(tmp_path_factory.mktemp("soak") / "models.config", served(models))
    with RunningServer(config, "--grpc_frontends=1") as running:
        yield running


def resident(server: RunningServer) -> int:
    return process_facts.resident_bytes(server.process("frontend grpc 0"))


def test_tens_of_thousands_of_calls(server: RunningServer, models: Path) -> None:
    front_end = server.process("frontend grpc 0")
    versions = Versions(server, models)
    questions = [prepared(FREQUENT, 5000)] * len(OTHERS) + [prepared(asking, 500) for asking in OTHERS]
    began = time.monotonic()
    with GrpcLoad(server.grpc_port, CHANNELS, AT_A_TIME, *questions) as load:
        load.wait_for_answers(CALLS // 4, LIMIT)
        warm = resident(server)
        while load.outcome.answered < CALLS and not load.outcome.failed and not load.outcome.wrong:
            assert time.monotonic() < began + LIMIT, load.outcome
            if versions.switches < FEWEST_SWITCHES or load.outcome.answered < CALLS * 0.8:
                versions.switch()
            load.wait_for_answers(5000, LIMIT)
        outcome = load.stop()
    assert outcome.wrong == []
    assert not outcome.failed, outcome.texts
    assert outcome.answered >= CALLS
    assert len(outcome.by_kind) == 9, outcome.by_kind
    assert versions.switches >= FEWEST_SWITCHES
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 10, "the lanes empty")
    assert resident(server) < warm + MOST_GROWTH
    assert server.process("frontend grpc 0") == front_end
    assert "never should" not in server.log

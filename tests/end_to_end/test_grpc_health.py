"""gRPC's health service and server reflection, through the stubs and the database that grpcio's own packages have."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from end_to_end.conftest import write_config
from end_to_end.grpc_load import channel_to
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.version_folders import publish
from end_to_end.waiting import wait_until

LIMIT: Final = 30.0  # seconds
SERVING, NOT_SERVING, UNKNOWN = "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"
#: The names that are known of a server of one model.
NAMES: Final = dict.fromkeys(("", "ModelService", "PredictionService", "half_plus_two"), SERVING)
#: What a polled config file adds to the wait for a change.
POLL: Final = "--model_config_file_poll_wait_seconds=1"


class Health:
    """The service's stub on one channel."""

    def __init__(self, channel: Any) -> None:
        self._stub = health_pb2_grpc.HealthStub(channel)

    def check(self, name: str = "") -> str:
        answer = self._stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=LIMIT)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def unknown(self, name: str) -> tuple[str, str]:
        """How Check fails."""
        with pytest.raises(grpc.RpcError) as error:
            self.check(name)
        return error.value.code().name, error.value.details()

    def list(self) -> dict[str, str]:
        answer = self._stub.List(health_pb2.HealthListRequest(), timeout=LIMIT)
        names = health_pb2.HealthCheckResponse.ServingStatus
        return {name: str(names.Name(status.status)) for name, status in answer.statuses.items()}

    def watch(self, name: str = "") -> Watch:
        return Watch(self._stub.Watch(health_pb2.HealthCheckRequest(service=name)))


class Watch:
    """A name's statuses as they come."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._statuses: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="watch")
        self._thread.start()

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._statuses.put(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
        except grpc.RpcError:
            self._statuses.put(self._call.code().name)

    def next(self) -> str:
        """The next one; the name of the call's status where it has ended."""
        return self._statuses.get(timeout=LIMIT)

    def until(self, status: str) -> list[str]:
        """All until this one."""
        seen = [self.next()]
        while seen[-1] != status:
            seen.append(self.next())
        return seen

    @property
    def silent(self) -> bool:
        return self._statuses.empty()

    def end(self) -> None:
        self._call.cancel()
        self._thread.join()


class Setup:
    """A server of a config file that may be written again."""

    def __init__(self, server: RunningServer, file: ModelConfigFile, models: Path, health: Health) -> None:
        self.server = server
        self.file = file
        self.models = models
        self.health = health

    def serve(self, *names: str) -> None:
        self.file.write(*[entry(name, self.models / name) for name in names])


@contextmanager
def running(models: Path, folder: Path) -> Iterator[Setup]:
    path = folder / "models.config"
    flag = write_config(path, {"half_plus_two": models / "half_plus_two"})
    with RunningServer(flag, POLL, grpc=True) as server, channel_to(server.grpc_port) as channel:
        yield Setup(server, ModelConfigFile(path), models, Health(channel))


@pytest.fixture(scope="module")
def shared(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with running(models, tmp_path_factory.mktemp("health")) as made:
        yield made


@pytest.fixture
def setup(shared: Setup) -> Iterator[Setup]:
    """Of one model; whatever a test does to it, the next one finds it as it was."""
    yield shared
    shared.serve("half_plus_two")
    wait_until(lambda: shared.health.list() == NAMES, LIMIT, lambda: f"{NAMES}, not {shared.health.list()}")


def test_names_that_are_known(setup: Setup) -> None:
    health = setup.health
    for name in NAMES:
        assert health.check(name) == SERVING
    for name in ("tensorflow.serving.PredictionService", "half_plus_three", "half_plus_two/2", "a" * 1000):
        assert health.unknown(name) == ("NOT_FOUND", "service name unknown")
    assert health.list() == NAMES


def test_a_model_that_comes_and_goes(setup: Setup) -> None:
    health = setup.health
    watch, whole = health.watch("text"), health.watch()
    assert (watch.next(), whole.next()) == (UNKNOWN, SERVING)
    setup.serve("half_plus_two", "text")
    assert watch.until(SERVING)[:-1] in ([], [NOT_SERVING])
    assert health.check("text") == health.list()["text"] == SERVING
    setup.serve("half_plus_two")
    assert watch.until(UNKNOWN)[:-1] in ([], [NOT_SERVING])
    wait_until(lambda: "text" not in health.list(), LIMIT, "the model gone")
    assert health.unknown("text") == ("NOT_FOUND", "service name unknown")
    assert health.check() == SERVING
    assert watch.silent
    for each in (watch, whole):
        each.end()


def test_a_model_that_can_not_be_loaded(setup: Setup) -> None:
    health = setup.health
    watch, whole = health.watch("broken"), health.watch()
    assert (watch.next(), whole.next()) == (UNKNOWN, SERVING)
    setup.serve("half_plus_two", "broken")
    assert watch.next() == NOT_SERVING
    wait_until(lambda: setup.server.states("broken").get(1) == "END", LIMIT, "its failure")
    assert health.check("broken") == health.list()["broken"] == NOT_SERVING
    assert health.check() == health.check("PredictionService") == NOT_SERVING
    assert whole.next() == NOT_SERVING
    assert health.check("half_plus_two") == SERVING
    setup.serve("half_plus_two")
    assert whole.until(SERVING)
    assert watch.until(UNKNOWN)
    for each in (watch, whole):
        each.end()


def test_a_new_version_is_nothing_to_tell(models: Path, tmp_path: Path) -> None:
    base = tmp_path / "half_plus_two"
    publish(models / "half_plus_two" / "1", base / "1")
    flags = "--model_name=half_plus_two", f"--model_base_path={base}"
    with RunningServer(*flags, grpc=True) as server, channel_to(server.grpc_port) as channel:
        watch = Health(channel).watch("half_plus_two")
        assert watch.next() == SERVING
        publish(models / "half_plus_two" / "2", base / "2")
        server.wait_for_states("half_plus_two", {2: "AVAILABLE", 1: "END"}, LIMIT)
        assert Health(channel).check("half_plus_two") == SERVING
        assert watch.silent, "one version or the other was there all the time"
        watch.end()


def test_a_dead_worker(setup: Setup) -> None:
    """With none that lives nothing is served; the one that takes its place brings it back."""
    server, health = setup.server, setup.health
    watch, whole = health.watch("half_plus_two"), health.watch()
    assert watch.next() == whole.next() == SERVING
    os.kill(server.process("worker cpu:0"), signal.SIGKILL)
    assert watch.next() == whole.next() == NOT_SERVING
    assert watch.next() == whole.next() == SERVING
    server.wait_for_log("worker cpu:0 is back", LIMIT)
    assert health.check("half_plus_two") == health.check() == SERVING
    for each in (watch, whole):
        each.end()


def test_of_two_workers_one_is_enough(models: Path) -> None:
    flags = "--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two", "--devices=cpu:2"
    with RunningServer(*flags, grpc=True) as server, channel_to(server.grpc_port) as channel:
        watch = Health(channel).watch("half_plus_two")
        assert watch.next() == SERVING
        os.kill(server.process("worker cpu:1"), signal.SIGKILL)
        server.wait_for_log("worker cpu:1 is back", LIMIT)
        assert watch.silent
        watch.end()


def test_watches_end_with_the_server(models: Path, tmp_path: Path) -> None:
    with running(models, tmp_path) as setup:
        watches = [setup.health.watch(name) for name in ("", "half_plus_two", "nope")]
        assert [watch.next() for watch in watches] == [SERVING, SERVING, UNKNOWN]
        assert setup.server.stop() == 0
        for watch, last in zip(watches, (NOT_SERVING, NOT_SERVING, "UNAVAILABLE"), strict=True):
            assert watch.next() == last
            if last != "UNAVAILABLE":
                assert watch.next() == "UNAVAILABLE"
            watch.end()


def test_hundreds_of_watches(setup: Setup) -> None:
    """All are told, and all that they took is given back."""
    with channel_to(setup.server.grpc_port) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Watch(health_pb2.HealthCheckRequest(service="text")) for _ in range(500)]
        names = health_pb2.HealthCheckResponse
        assert {next(call).status for call in calls} == {names.SERVICE_UNKNOWN}
        setup.serve("half_plus_two", "text")
        for call in calls:
            assert names.SERVING in (answer.status for answer in call)
    assert setup.health.check("text") == SERVING


def test_every_service_is_described(setup: Setup) -> None:
    with channel_to(setup.server.grpc_port) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert services == {
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "grpc.health.v1.Health",
            "ringserve.StreamingPrediction",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        pool = DescriptorPool(database)
        methods = {name: set(pool.FindServiceByName(name).methods_by_name) for name in services}
        assert methods["tensorflow.serving.PredictionService"] == {
            "Predict",
            "Classify",
            "Regress",
            "MultiInference",
            "GetModelMetadata",
        }
        assert methods["tensorflow.serving.ModelService"] == {"GetModelStatus", "HandleReloadConfigRequest"}
        assert methods["ringserve.StreamingPrediction"] == {"Predict"}
        assert {"Check", "Watch"} <= methods["grpc.health.v1.Health"]
        request = pool.FindMessageTypeByName("tensorflow.serving.PredictRequest")
        assert {"model_spec", "inputs", "output_filter"} <= set(request.fields_by_name)
        assert pool.FindMessageTypeByName("tensorflow.TensorProto").fields_by_name["tensor_content"].number == 4
        with pytest.raises(KeyError):
            pool.FindMessageTypeByName("tensorflow.serving.Nope")

"""The load harness's requests and transports against a real server, over every protocol."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.harness.payload import Synthetic
from bench.harness.preparation import prepare
from bench.harness.request_set import RequestSet
from bench.harness.target import PreparationError, Target
from bench.harness.transport import RIGHT
from bench.harness.transports import open_transport
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.conftest import DATA, write_config
from end_to_end.driven import LIMIT, drive, drive_open
from end_to_end.running_server import RunningServer
from ringserve.protos import message_module
from workers.tf_record import masked_crc32c

NAMES = ("identity", "text", "two_inputs")
HALF = DATA / "saved_model_half_plus_two_cpu"
FORMS = ("json", "columns", "msgpack", "npy", "npz", "bytes", "protobuf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(models: Path, folder: Path) -> Iterator[RunningServer]:
    shutil.copytree(HALF / "00000123", folder / "switching" / "1")
    served = {name: models / name for name in NAMES} | {"half": HALF, "switching": folder / "switching"}
    flag = write_config(folder / "models.config", served)
    with RunningServer(flag, "--file_system_poll_wait_seconds=1", grpc=True, zmq=True, shm=True) as running:
        yield running


def other_answers(requests: RequestSet) -> RequestSet:
    """The same requests, each with the answer of the next one."""
    wire = requests.to_wire()
    answers = [each["answer"] for each in wire["requests"]]
    for each, answer in zip(wire["requests"], [*answers[1:], answers[0]], strict=True):
        each["answer"] = answer
    return RequestSet.from_wire(wire)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_right_answers_over_every_protocol(server: RunningServer, protocol: str) -> None:
    requests = prepare(Target(client_url(server, protocol), "half"), Synthetic(rows=3, count=5))
    assert requests.about["rows"] == 3
    assert len(requests.requests) == len({each.answer[0] for each in requests.requests}) == 5
    assert drive(RequestSet.from_wire(requests.to_wire()), 200) == {RIGHT: 200}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_answers_are_seen(server: RunningServer, protocol: str) -> None:
    requests = prepare(Target(client_url(server, protocol), "half"), Synthetic(count=5))
    assert drive(other_answers(requests), 20) == {"wrong answer": 20}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", ["text", "two_inputs", "identity"])
def test_models_of_other_inputs(server: RunningServer, protocol: str, model: str) -> None:
    """Strings, several inputs, whole numbers."""
    target = Target(client_url(server, protocol), model)
    assert drive(prepare(target, Synthetic(rows=2, count=3)), 20) == {RIGHT: 20}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_body(server: RunningServer, form: str) -> None:
    requests = prepare(Target(client_url(server, "http"), "half", version=123, form=form), Synthetic(count=3))
    assert drive(requests, 20) == {RIGHT: 20}


def test_large_requests(server: RunningServer) -> None:
    """They fit into no socket's buffer."""
    for protocol in PROTOCOLS:
        target = Target(client_url(server, protocol), "half", form="msgpack")
        requests = prepare(target, Synthetic(rows=1_500_000, count=2))
        assert drive(requests, 6, slots=2) == {RIGHT: 6}


@pytest.mark.parametrize(("protocol", "kind"), [("http", "400"), ("grpc", "INVALID_ARGUMENT"), ("zmq", "INVALID_ARGUMENT")])
def test_errors_by_their_codes(server: RunningServer, protocol: str, kind: str) -> None:
    """What was right when it was prepared, and is no more."""
    requests = prepare(Target(client_url(server, protocol), "half"), Synthetic(count=1))
    (request,) = requests.requests
    part = request.parts[0]
    for found, other in ((b'"instances"', b'"instincts"'), (b"\xa1x\xa5", b"\xa1z\xa5"), (b"\x01x\x12", b"\x01z\x12")):
        part = part.replace(found, other)
    assert part != request.parts[0]
    changed = RequestSet(requests.url, "tfs", (type(request)((part,), request.answer),), requests.about)
    assert drive(changed, 8) == {kind: 8}


def test_no_lane_is_told_with_the_servers_words(server: RunningServer) -> None:
    wire = prepare(Target(client_url(server, "shm"), "half"), Synthetic(count=1)).to_wire()
    with pytest.raises(OSError, match="no_such"):
        open_transport(RequestSet.from_wire({**wire, "about": {**wire["about"], "model": "no_such"}}), 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_servers_words_where_a_request_is_refused(server: RunningServer, protocol: str) -> None:
    url = client_url(server, protocol)
    with pytest.raises(PreparationError, match="nobody"):
        prepare(Target(url, "nobody"))
    with pytest.raises(PreparationError, match="no_signature"):
        prepare(Target(url, "half", signature="no_signature"))
    with pytest.raises(PreparationError, match="x"):
        prepare(Target(url, "half"), Synthetic(shapes={"y": (1,)}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_abandoned_request_is_forgotten(server: RunningServer, protocol: str) -> None:
    requests = prepare(Target(client_url(server, protocol), "half"), Synthetic(count=4))
    transport = open_transport(requests, 2)
    try:
        for turn in range(20):
            transport.send(0, turn % 4)
            transport.abandon(0)
            assert drive_open(transport, 4, 4, 2) == {RIGHT: 4}
    finally:
        transport.close()


def test_payloads_from_files(server: RunningServer, tmp_path: Path) -> None:
    files: dict[str, Any] = {name: tmp_path / name for name in ("one.json", "many.jsonl", "in.npz", "log")}
    files["one.json"].write_text('{"instances": [1.0, 2.0, 5.0]}')
    files["many.jsonl"].write_text('{"instances": [1.0]}\n{"inputs": {"x": [7.0, 3.0]}}\n')
    np.savez(files["in.npz"], x=np.array([1, 2], np.float32))
    files["log"].write_bytes(recorded(record(1.0), record(4.0)))
    counts = {"one.json": 1, "many.jsonl": 2, "in.npz": 1, "log": 2}
    for protocol in PROTOCOLS:
        for name, path in files.items():
            requests = prepare(Target(client_url(server, protocol), "half"), path)
            assert len(requests.requests) == counts[name]
            assert drive(requests, 6) == {RIGHT: 6}
    with pytest.raises(PreparationError, match=r"many\.jsonl"):
        prepare(Target(client_url(server, "grpc"), "two_inputs"), files["many.jsonl"])


def test_any_post(server: RunningServer, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"instances": [1.0, 2.0, 5.0]}')
    target = Target(client_url(server, "http"), api="raw", path="/v1/models/half:predict")
    assert drive(prepare(target, body), 10) == {RIGHT: 10}


def test_a_new_version_costs_no_request(server: RunningServer, folder: Path) -> None:
    """Lanes of local clients lead to one version: the transport goes over to the next one's."""
    sets = [prepare(Target(client_url(server, protocol), "switching"), Synthetic(count=4)) for protocol in PROTOCOLS]
    with ExitStack() as stack:
        transports = [open_transport(each, 3) for each in sets]
        for transport in transports:
            stack.callback(transport.close)
        base = folder / "switching"
        shutil.copytree(base / "1", base / "new")
        (base / "new").rename(base / "2")
        gives_up = time.monotonic() + LIMIT
        while server.states("switching").get(1) != "END":
            assert time.monotonic() < gives_up
            for transport in transports:
                assert drive_open(transport, 4, 12, 3) == {RIGHT: 12}
        for transport in transports:
            assert drive_open(transport, 4, 12, 3) == {RIGHT: 12}


def test_a_worker_that_ends_costs_local_clients_what_it_had(server: RunningServer) -> None:
    requests = prepare(Target(client_url(server, "shm"), "half"), Synthetic(count=4))
    transport = open_transport(requests, 3)
    try:
        os.kill(server.process("worker cpu:0"), signal.SIGKILL)
        gives_up = time.monotonic() + LIMIT
        kinds = drive_open(transport, 4, 12, 3)
        assert kinds["connection lost"]
        while drive_open(transport, 4, 6, 3) != {RIGHT: 6}:
            assert time.monotonic() < gives_up
    finally:
        transport.close()


@pytest.mark.parametrize(("protocol", "role"), [("http", "rest"), ("grpc", "grpc"), ("zmq", "zmq")])
def test_a_front_end_that_is_replaced_is_found_again(server: RunningServer, protocol: str, role: str) -> None:
    requests = prepare(Target(client_url(server, protocol), "half"), Synthetic(count=4))
    transport = open_transport(requests, 3)
    try:
        assert drive_open(transport, 4, 6, 3) == {RIGHT: 6}
        os.kill(server.process(f"frontend {role} 0"), signal.SIGKILL)
        gives_up = time.monotonic() + LIMIT
        while not (kinds := drive_open(transport, 4, 6, 3))["connection lost"]:
            assert kinds == {RIGHT: 6}  # it was not gone yet
            assert time.monotonic() < gives_up
        while drive_open(transport, 4, 6, 3) != {RIGHT: 6}:
            assert time.monotonic() < gives_up
    finally:
        transport.close()


def record(value: float) -> bytes:
    """A PredictionLog in its record."""
    log = message_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "half"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(value)
    return bytes(log.SerializeToString())


def recorded(*logs: bytes) -> bytes:
    records = []
    for data in logs:
        length = struct.pack("<Q", len(data))
        records += [length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))]
    return b"".join(records)

"""Requests out of files, whole ones and others."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.harness.payload_file import MOST_REQUESTS, bodies, file_inputs, is_bodies, logged_requests
from bench.harness.target import PreparationError
from ringserve.protos import message_module
from ringserve.signature import Signature
from workers.tf_record import masked_crc32c

OF = Signature.of({"x": ("float", (-1,))}, {"y": ("float", (-1,))})


def recorded(*logs: bytes) -> bytes:
    parts = []
    for data in logs:
        length = struct.pack("<Q", len(data))
        parts += [length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))]
    return b"".join(parts)


def predict_log(*values: float, signature: str = "") -> bytes:
    log: Any = message_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=len(values))
    request.inputs["x"].float_val.extend(values)
    return bytes(log.SerializeToString())


def classify_log() -> bytes:
    log: Any = message_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog()
    log.classify_log.request.model_spec.name = "m"
    return bytes(log.SerializeToString())


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_log(tmp_path: Path) -> None:
    path = written(tmp_path / "log", recorded(predict_log(1, 2, signature="s"), classify_log(), predict_log(3)))
    (first, inputs), (second, _) = logged_requests(path)
    assert (first, second) == ("s", "")
    dtype, shape, values = inputs["x"]
    assert (dtype.name, tuple(shape), list(values)) == ("float", (2,), [1.0, 2.0])
    many = written(tmp_path / "many", recorded(predict_log(1)) * (MOST_REQUESTS + 10))
    assert len(logged_requests(many)) == MOST_REQUESTS


def test_logs_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match="no Predict requests, only 2 of other kinds"):
        logged_requests(written(tmp_path / "log", recorded(classify_log(), classify_log())))
    with pytest.raises(PreparationError, match=r"no Predict requests$"):
        logged_requests(written(tmp_path / "empty", b""))
    with pytest.raises(PreparationError, match="no log of requests"):
        logged_requests(tmp_path / "none")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_log_that_is_spoilt_anywhere_is_refused(tmp_path: Path, place: int, change: int) -> None:
    content = bytearray(recorded(predict_log(1, 2)))
    content[place % len(content)] ^= change
    with pytest.raises(PreparationError):
        logged_requests(written(tmp_path / "log", bytes(content)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_a_record_that_is_no_log(tmp_path: Path, record: bytes) -> None:
    try:
        logged_requests(written(tmp_path / "log", recorded(record)))
    except PreparationError:
        return


def test_bodies(tmp_path: Path) -> None:
    one = written(tmp_path / "a.json", b'{"instances": [1.0]}')
    many = written(tmp_path / "b.jsonl", b'{"instances": [1.0]}\n\n{"inputs": [2]}\n')
    assert is_bodies(one)
    assert is_bodies(many)
    assert not is_bodies(tmp_path / "c.npz")
    assert bodies(one) == [b'{"instances": [1.0]}']
    assert bodies(many) == [b'{"instances": [1.0]}', b'{"inputs": [2]}']
    assert [(name, np.asarray(each["x"][2]).tolist()) for name, each in file_inputs(many, OF)] == [("", [1.0]), ("", [2.0])]
    with pytest.raises(PreparationError, match="no lines"):
        bodies(written(tmp_path / "d.jsonl", b"\n\n"))
    with pytest.raises(PreparationError, match="cannot read"):
        bodies(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.json", b"[1]"),
        ("a.json", b"{}"),
        ("a.json", b'{"instances": []}'),
        ("a.json", b'{"instances": ["a"], "x": 1, "instances": [{"b64": "%%%"}]}'),
        ("a.json", b'{"inputs": {"z": [1.5]}}'),
        ("a.npz", b"PK"),
        ("a.npz", b"abc"),
        ("a.npy", b""),
    ],
)
def test_files_that_hold_no_inputs(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(PreparationError, match=r"a\.np|a\.json"):
        file_inputs(written(tmp_path / name, content), OF)


def test_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([1, 2], np.float32), text=np.array([b"a"]))
    np.save(tmp_path / "b.npy", np.array([1, 2], np.float32))
    ((_, named),) = file_inputs(tmp_path / "a.npz", OF)
    ((_, alone),) = file_inputs(tmp_path / "b.npy", OF)
    assert named["text"][2] == [b"a"]
    assert np.asarray(named["x"][2]).tolist() == np.asarray(alone["x"][2]).tolist() == [1.0, 2.0]

"""Warm-up files: PredictionLogs, and TFRecords written the plain way."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ringserve.protos import message_module
from ringserve.tensor import BY_NAME
from workers.warm_up_file import FILE

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _TABLE.append(_byte)


def crc32c(data: bytes) -> int:
    """CRC-32C a byte at a time: no part of what is tested."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF)


def head(length: int) -> bytes:
    raw = struct.pack("<Q", length)
    return raw + masked(raw)


def framed(*records: bytes) -> bytes:
    """A TFRecord file's bytes."""
    return b"".join(head(len(record)) + record + masked(record) for record in records)


def write_file(folder: Path, content: bytes) -> Path:
    """A version folder's warm-up file."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def log(**fields: Any) -> Any:
    return message_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog(**fields)


def tensor_proto(values: Any, dtype: str = "float") -> Any:
    array = np.asarray(values, dtype=BY_NAME[dtype].numpy)
    proto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto(
        dtype=BY_NAME[dtype].number, tensor_content=array.tobytes()
    )
    for dim in array.shape:
        proto.tensor_shape.dim.add(size=dim)
    return proto


def spec(signature: str = "", name: str = "m") -> dict[str, str]:
    return {"name": name, "signature_name": signature}


def predict_log(inputs: Mapping[str, Any], signature: str = "", output_filter: Sequence[str] = ()) -> Any:
    """`inputs`: TensorProtos by alias."""
    made = log()
    made.predict_log.request.model_spec.signature_name = signature
    made.predict_log.request.output_filter.extend(output_filter)
    for alias, proto in inputs.items():
        made.predict_log.request.inputs[alias].CopyFrom(proto)
    return made


def example(**features: float) -> Any:
    """A tf.Example of single floats."""
    made = message_module("tensorflow.core.example.example_pb2").Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def examples_input(*examples: Any, context: Any = None) -> dict[str, Any]:
    if context is None:
        return {"example_list": {"examples": examples}}
    return {"example_list_with_context": {"examples": examples, "context": context}}


def classify_log(given: dict[str, Any], signature: str = "") -> Any:
    return log(classify_log={"request": {"model_spec": spec(signature), "input": given}})


def regress_log(given: dict[str, Any], signature: str = "") -> Any:
    return log(regress_log={"request": {"model_spec": spec(signature), "input": given}})


def multi_inference_log(given: dict[str, Any], *tasks: tuple[str, str]) -> Any:
    """`tasks`: (signature, method)."""
    made = [{"model_spec": spec(signature), "method_name": method} for signature, method in tasks]
    return log(multi_inference_log={"request": {"tasks": made, "input": given}})

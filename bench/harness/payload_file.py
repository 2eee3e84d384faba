"""Requests out of files: JSON bodies, one or one a line; arrays; and logs as TensorFlow Serving records them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from bench.harness.payload import Inputs
from bench.harness.target import PreparationError
from ringserve.client.input_tensors import input_tensors
from ringserve.command_inputs import Inputs as CommandInputs
from ringserve.errors import ServingError
from ringserve.flags import UsageError
from ringserve.predict_message import read_request
from ringserve.protobuf_wire import WireError
from ringserve.protos import message_module
from ringserve.signature import Signature
from ringserve.tensor import dtype_of
from workers.tf_record import read_records

#: Requests of a log, or lines of a file, that are sent in turn; the rest is left out.
MOST_REQUESTS: Final = 1000

_MOST_TENSOR_BYTES: Final = 1 << 30
_MOST_MESSAGE_BYTES: Final = (1 << 31) - 1


def is_bodies(path: Path) -> bool:
    """Does it hold requests' bodies, to be sent as they are?"""
    return path.suffix.lower() in (".json", ".jsonl")


def bodies(path: Path) -> list[bytes]:
    """Of a file of JSON, or JSON lines; of any other the whole. Raises PreparationError."""
    data = _read(path)
    if path.suffix.lower() != ".jsonl":
        return [data]
    lines = [line for line in data.splitlines() if line.strip()]
    if not lines:
        raise PreparationError(f"{path} has no lines")
    return lines[:MOST_REQUESTS]


def file_inputs(path: Path, signature: Signature) -> list[tuple[str, Inputs]]:
    """Of a file of JSON, JSON lines or arrays (.npz), or of a log; each with the name of the signature that the file says is
    meant, "" where it says nothing. Raises PreparationError.
    """
    suffix = path.suffix.lower()
    if is_bodies(path):
        return [("", _body_inputs(body, path, signature)) for body in bodies(path)]
    if suffix in (".npz", ".npy"):
        return [("", _array_inputs(path, signature))]
    return logged_requests(path)


def logged_requests(path: Path) -> list[tuple[str, Inputs]]:
    """Signature's name and inputs of each Predict request of a log: a TFRecord file of PredictionLogs, such as
    assets.extra/tf_serving_warmup_requests. Raises PreparationError.
    """
    found: list[tuple[str, Inputs]] = []
    others = 0
    try:
        for message in _predict_requests(path):
            if message is None:
                others += 1
                continue
            request = read_request(message)
            spec = request.model_spec
            tensors = {alias: tensor.decode(_MOST_TENSOR_BYTES) for alias, tensor in request.tensors.items()}
            inputs = {alias: (dtype_of(each.dtype), each.shape, each.values) for alias, each in tensors.items()}
            found.append((spec.signature_name if spec else "", inputs))
            if len(found) == MOST_REQUESTS:
                break
    except (ServingError, WireError) as error:
        raise PreparationError(f"{path} is no log of requests: {error}") from error
    if not found:
        raise PreparationError(f"{path} holds no Predict requests" + (f", only {others} of other kinds" if others else ""))
    return found


def _predict_requests(path: Path) -> Iterable[bytes | None]:
    """Serialised requests; None for one of another kind. Raises PreparationError, ServingError."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - only logs need it

    parse = message_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog.FromString
    for record in read_records(str(path)):
        try:
            if len(record) > _MOST_MESSAGE_BYTES:
                raise DecodeError("longer than a message can be")
            log: Any = parse(record)
        except DecodeError as error:
            raise PreparationError(f"{path} has a record that is no PredictionLog: {error}") from error
        is_predict = log.WhichOneof("log_type") == "predict_log"
        yield log.predict_log.request.SerializeToString() if is_predict else None


def _body_inputs(body: bytes, path: Path, signature: Signature) -> Inputs:
    try:
        _, values = CommandInputs(body, {}).plain()
        return input_tensors(values[""] if values.keys() == {""} else values, lambda: signature)
    except (UsageError, ServingError) as error:
        raise PreparationError(f"{path}: {error}") from error


def _array_inputs(path: Path, signature: Signature) -> Inputs:
    try:
        loaded: Any = np.load(io.BytesIO(_read(path)), allow_pickle=False)
        arrays = loaded if isinstance(loaded, np.ndarray) else dict(loaded)
        return input_tensors(arrays, lambda: signature)
    except (ValueError, OSError, EOFError, BadZipFile, ServingError) as error:
        raise PreparationError(f"{path} holds no inputs: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PreparationError(f"cannot read {path}: {error.strerror}") from error

"""Warm-up by the requests that a version brings along, as upstream does it: a TFRecord file of PredictionLogs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from ringserve.errors import Code, ServingError
from ringserve.example_request import classify_signature, examples, multi_inference_signatures, regress_signature
from ringserve.options import ServerOptions
from ringserve.predict_message import read_request
from ringserve.predict_request import predict_inputs, predict_signature
from ringserve.protos import message_module
from ringserve.signature import Signature
from ringserve.tensor_proto import DecodedTensor
from shm.packed import PackedTensor, pack_strings
from workers.engine import LoadedVersion
from workers.recorded_requests import RecordedRequests
from workers.tf_record import read_records

#: Where the file is, from the version's folder.
FILE: Final = "assets.extra/tf_serving_warmup_requests"

MOST_RECORDS: Final = 1000
_MOST_MESSAGE_BYTES: Final = (1 << 31) - 1
_MOST_SHOWN_BYTES: Final = 1024  # of an unparsable record, which may be the size of memory; upstream shows all of it

#: A signature and its input tensors: what one record asks to have run. A multi-inference has several.
Run = tuple[Signature, Sequence[DecodedTensor]]


def replay(version: LoadedVersion, path: str, options: ServerOptions, recorded: RecordedRequests) -> tuple[int, int]:
    """Run the requests of the warm-up file at `path` on the version, one after the other, ignoring their answers.

    Returns (records read, requests run); `recorded` gets some of these. Raises ServingError with the first failure's status,
    which fails the load.
    """
    parse = message_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog.FromString
    iterations = max(options.num_request_iterations_for_warmup, 1)
    records = requests = 0
    for record in _records(path):
        runs = _runs(_parsed(record, parse, path), version, options)
        for _ in range(iterations):
            _run(version, runs)
        for signature, tensors in runs:
            recorded.add(signature.name, [_packed(tensor) for tensor in tensors])
        requests += iterations if runs else 0
        records += 1
        if records > MOST_RECORDS:  # after running it, as upstream
            text = f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}"
            raise ServingError(Code.INVALID_ARGUMENT, text)
    return records, requests


def _records(path: str) -> Iterator[bytes]:
    try:
        yield from read_records(path)
    except ServingError as error:
        if error.code is Code.DATA_LOSS:
            text = f"{error.message}. Please verify your warmup data is in TFRecord format."
            raise ServingError(Code.DATA_LOSS, text) from error
        raise


def _parsed(record: bytes, parse: Callable[[bytes], Any], path: str) -> Any:
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - only a version with such a file needs it

    try:
        if len(record) > _MOST_MESSAGE_BYTES:
            raise DecodeError("longer than a message can be")
        return parse(record)
    except DecodeError as error:
        shown = record[:_MOST_SHOWN_BYTES].decode(errors="backslashreplace")
        raise ServingError(Code.INVALID_ARGUMENT, f"Failed to parse warmup record: {shown} from {path}") from error


def _runs(log: Any, version: LoadedVersion, options: ServerOptions) -> list[Run]:
    """What the record asks for, checked as a client's request would be; nothing where its type is not set."""
    kind = log.WhichOneof("log_type")
    if kind is None:
        return []
    check, signatures = options.enable_signature_method_name_check, version.signatures
    if kind == "predict_log":
        request = read_request(log.predict_log.request.SerializeToString())
        signature = predict_signature(request, signatures, check)
        return [(signature, predict_inputs(request, signature, options.max_request_bytes))]
    if kind == "multi_inference_log":
        request = log.multi_inference_log.request
        found = multi_inference_signatures(request.tasks, signatures, check)
        rows = examples(request.input)
        return [(signature, [rows]) for signature in found]
    if kind == "classify_log":
        request = log.classify_log.request
        return [(classify_signature(request, signatures, check), [examples(request.input)])]
    if kind == "regress_log":
        request = log.regress_log.request
        return [(regress_signature(request, signatures, check), [examples(request.input)])]
    number = log.DESCRIPTOR.fields_by_name[kind].number
    raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")


def _run(version: LoadedVersion, runs: Sequence[Run]) -> None:
    for signature, tensors in runs:
        with version.run(signature.name, [_packed(tensor) for tensor in tensors], False):
            pass


def _packed(tensor: DecodedTensor) -> PackedTensor:
    values = tensor.values
    data = pack_strings(values) if isinstance(values, list) else values.view(np.uint8).data
    return PackedTensor(tensor.dtype, tensor.shape, data)

"""What bodies of HTTP answers stand for, by their types: JSON, MessagePack, numpy's, protobuf, KServe V2's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import orjson

from bench.harness.answers import TOLERANCE, Expected
from bench.harness.http_reader import HttpAnswer, read_head
from bench.harness.request_set import Request, RequestSet
from bench.harness.v2_http import HEADER_LENGTH, v2_outputs
from ringserve.client.tensor_message import prediction_of, read_answer
from ringserve.client.tensors import array_of
from ringserve.predict_response_reader import read_predict_response
from ringserve.tensor import dtype_of

_JSON_MEDIA: Final = "application/json"


def expected_answer(request: Request, requests: RequestSet) -> Expected[HttpAnswer]:
    """`request`: one of them; its answer is a body and the head that came with it."""
    body, head = request.answer
    decode = decode_v2 if requests.api == "v2" else decode_body
    return Expected(HttpAnswer(read_head(head), body), body, decode, requests.about.get("tolerance", TOLERANCE))


def decode_v2(answer: HttpAnswer) -> Any:
    """Its outputs alone: versions and ids may differ. Raises ValueError, LookupError, TypeError for what is no answer."""
    return v2_outputs(answer.body, int(answer.head.field(HEADER_LENGTH) or b"0"))


def decode_body(answer: HttpAnswer) -> Any:
    """For `answers.agree`. A type that is not known is bytes. Raises what reading it raises."""
    media = answer.head.field(b"content-type").decode("latin-1").partition(";")[0].strip().lower()
    read = _READERS.get(media)
    if read is not None:
        return read(answer)
    if media.endswith("json"):
        return _json(answer)
    try:  # servers that say nothing, or text/plain
        return _json(answer)
    except ValueError:
        return answer.body


def _json(answer: HttpAnswer) -> Any:
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return json.loads(answer.body)  # NaN and its like


def _msgpack(answer: HttpAnswer) -> Any:
    """ringserve's, or what other servers make of it."""
    fields = read_answer(answer.body)
    if isinstance(fields, dict) and "outputs" in fields:
        return dict(prediction_of(fields))
    return fields


def _npy(answer: HttpAnswer) -> Any:
    return np.load(io.BytesIO(answer.body), allow_pickle=False)


def _npz(answer: HttpAnswer) -> Any:
    with np.load(io.BytesIO(answer.body), allow_pickle=False) as arrays:
        return dict(arrays)


def _raw(answer: HttpAnswer) -> Any:
    dtype = answer.head.field(b"x-ringserve-dtype").decode()
    if dtype in ("", "string", "bfloat16"):
        return answer.body
    shape = answer.head.field(b"x-ringserve-shape").decode()
    return np.frombuffer(answer.body, dtype).reshape([int(size) for size in shape.split(",") if size])


def _protobuf(answer: HttpAnswer) -> Any:
    return predict_outputs(answer.body)


def predict_outputs(message: bytes) -> dict[str, Any]:
    """The arrays of a serialised PredictResponse by alias. Raises ServingError."""
    outputs = read_predict_response(message).outputs
    return {alias: array_of(dtype_of(each.dtype), each.shape, each.values) for alias, each in outputs.items()}


_READERS: Final[dict[str, Callable[[HttpAnswer], Any]]] = {
    _JSON_MEDIA: _json,
    "application/x-msgpack": _msgpack,
    "application/msgpack": _msgpack,
    "application/x-npy": _npy,
    "application/x-npz": _npz,
    "application/octet-stream": _raw,
    "application/x-protobuf": _protobuf,
}

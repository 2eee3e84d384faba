"""GetModelMetadata: the signatures of a version."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

from frontend.catalog import Catalog, Version
from frontend.grpc.model_spec import model_spec
from frontend.grpc.request_message import request_message
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module

_FIELD: Final = "signature_def"

_MOST_FLOAT: Final = float.fromhex("0x1.fffffep+127")
_ROUNDED_UP: Final = 3.41e38
_FLOATS: Final = frozenset(("float_val", "scomplex_val"))

#: A version's answer is always the same.
_answers: WeakKeyDictionary[Version, bytes] = WeakKeyDictionary()


def get_model_metadata(request: bytes, catalog: Catalog) -> bytes:
    """Raises ServingError with upstream's texts."""
    messages = message_module("tensorflow_serving.apis.get_model_metadata_pb2")
    message = request_message(messages.GetModelMetadataRequest, request)
    if message.HasField("model_spec"):  # that there is none is said first, that it has no name last
        _check_fields(message.metadata_field)
    with catalog.servable_handle(model_spec(message)) as version:
        answer = _answers.get(version)
        if answer is None:
            answer = _answers[version] = _answer(messages, version)
        return answer


def _check_fields(fields: Iterable[str]) -> None:
    if not fields:
        raise ServingError(Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != _FIELD:
            raise ServingError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")


def _answer(messages: Any, version: Version) -> bytes:
    """The signatures come as protobuf's JSON form of their messages, which loses nothing; made into messages again only
    where they are asked for, they cost neither start-up time nor memory.
    """
    from google.protobuf import json_format  # noqa: PLC0415 - only where metadata is asked for

    signatures = messages.SignatureDefMap()
    json_format.ParseDict({"signature_def": _within_floats(version.metadata)}, signatures)
    response = messages.GetModelMetadataResponse()
    response.model_spec.name = version.id.name
    response.model_spec.version.value = version.id.version
    response.metadata[_FIELD].Pack(signatures)
    answer: bytes = response.SerializeToString()
    return answer


def _within_floats(value: Any) -> Any:
    """The shortest text of the largest float is a number beyond it, which the parser refuses. No other number changes."""
    if isinstance(value, dict):
        return {
            name: [_at_most_a_float(number) for number in inner] if name in _FLOATS else _within_floats(inner)
            for name, inner in value.items()
        }
    return value


def _at_most_a_float(number: Any) -> Any:
    if isinstance(number, float) and _MOST_FLOAT < abs(number) < _ROUNDED_UP:
        return math.copysign(_MOST_FLOAT, number)
    return number

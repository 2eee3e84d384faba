"""Operations as messages."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeVar

from ringserve.client.fact_answers import (
    example_question,
    question,
)
from ringserve.client.operations import (
    Classify,
    MetadataOf,
    Models,
    Operation,
    Predict,
    PredictEach,
    Ready,
    Regress,
    Status,
)
from ringserve.client.tensor_message import (
    Buffer,
    packed,
    predict_message,
)
from ringserve.errors import Code, ServingError

T = TypeVar("T")

#: Those that may be asked again.
QUESTIONS: Final = (Status, MetadataOf, Models, Ready)

_INLINE_BELOW: Final = 64 << 10  # bytes of an array: a part of its own costs more than a copy
_ARRAY: Final = struct.Struct(">BH")
_ARRAY_CODE: Final = 0xDC
MOST_JOINED: Final = (1 << 16) - 1


def request_parts(operation: Operation[T], identifier: bytes, timeout: float | None) -> list[Buffer]:
    """The header and its frames. Raises ServingError: INVALID_ARGUMENT, UNIMPLEMENTED."""
    if isinstance(operation, Predict | PredictEach):
        return predict_message(operation, identifier, timeout, _INLINE_BELOW)
    if isinstance(operation, Classify | Regress):
        return [packed(example_question(operation, identifier, timeout))]
    if isinstance(operation, QUESTIONS):
        return [packed(question(operation, identifier))]
    raise ServingError(Code.UNIMPLEMENTED, f"ZeroMQ messages have no words for {type(operation).__name__}")


def joined(headers: Sequence[Buffer]) -> Buffer:
    """Requests as one header."""
    return headers[0] if len(headers) == 1 else b"".join((_ARRAY.pack(_ARRAY_CODE, len(headers)), *headers))

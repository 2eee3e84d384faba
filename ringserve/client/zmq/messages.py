"""Operations as messages, and answers out of messages."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

from ringserve.client.fact_answers import (
    classification_of,
    example_question,
    metadata_of,
    models_of,
    question,
    ready_of,
    regression_of,
    version_states_of,
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
    Answer,
    Buffer,
    error_of,
    packed,
    predict_message,
    prediction_of,
    predictions_of,
)
from ringserve.errors import Code, ServingError

T = TypeVar("T")

#: Those that may be asked again.
QUESTIONS: Final = (Status, MetadataOf, Models, Ready)

_INLINE_BELOW: Final = 64 << 10  # bytes of an array: a part of its own costs more than a copy
_ARRAY: Final = struct.Struct(">BH")
_ARRAY_CODE: Final = 0xDC
MOST_JOINED: Final = (1 << 16) - 1

_WITH_ARRAYS: Final[dict[type, Callable[[Answer, Sequence[Buffer]], Any]]] = {
    Predict: prediction_of,
    PredictEach: predictions_of,
}
_PLAIN: Final[dict[type, Callable[[Answer], Any]]] = {
    Classify: classification_of,
    Regress: regression_of,
    Status: version_states_of,
    MetadataOf: metadata_of,
    Models: models_of,
    Ready: ready_of,
}


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


def answer_of(operation: Operation[T], answer: Answer, frames: Sequence[Buffer]) -> T:
    """Raises ServingError: what the server says, or INTERNAL for a damaged answer."""
    error = error_of(answer)
    if error is not None:
        raise error
    kind = type(operation)
    return cast(T, _WITH_ARRAYS[kind](answer, frames) if kind in _WITH_ARRAYS else _PLAIN[kind](answer))

"""Messages as what operations are answered with: over ZeroMQ, and on the control socket of shared memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

from ringserve.client.fact_answers import (
    classification_of,
    metadata_of,
    models_of,
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
from ringserve.client.tensor_message import Answer, Buffer, error_of, prediction_of, predictions_of

T = TypeVar("T")

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


def answer_of(operation: Operation[T], answer: Answer, frames: Sequence[Buffer]) -> T:
    """Raises ServingError: what the server says, or INTERNAL for a damaged answer."""
    error = error_of(answer)
    if error is not None:
        raise error
    kind = type(operation)
    return cast(T, _WITH_ARRAYS[kind](answer, frames) if kind in _WITH_ARRAYS else _PLAIN[kind](answer))

"""Operations as messages of TensorFlow Serving's gRPC API, and answers out of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ringserve.client.grpc import answer_reader
from ringserve.client.grpc.channel import CallMetadata
from ringserve.client.grpc.prediction_reader import prediction
from ringserve.client.operations import Classify, MetadataOf, Models, Operation, Predict, Ready, Regress, Status, Which
from ringserve.errors import Code, ServingError
from ringserve.example_request_writer import example_request
from ringserve.model_spec_writer import model_spec_field, text_field
from ringserve.predict_request_writer import predict_request
from ringserve.priority import LOW, METADATA

_PREDICTION: Final = "/tensorflow.serving.PredictionService/"
_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
_HEALTH: Final = "/grpc.health.v1.Health/"
_SERVICE_TAG: Final = b"\x0a"  # of a HealthCheckRequest
_SIGNATURES: Final = text_field(b"\x12", "signature_def")  # the metadata that there is
_KEY: Final = "x-ringserve-key"
_REQUESTS: Final = (Predict, Classify, Regress)
_LOW_PRIORITY: Final = ((METADATA, LOW),)

_model_spec_field = lru_cache(maxsize=1024)(model_spec_field)  # of operations, whose names are of the right types


class Exchange(NamedTuple):
    """How an operation is said: the method's path, the request's message, and what becomes of the answer's."""

    method: str
    message: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def exchange_of(operation: Operation[Any]) -> Exchange:
    """Of anything but PredictEach, for which the API has no words."""
    return _EXCHANGES[type(operation)]


def predict_message(operation: Predict) -> bytes:
    """A serialised PredictRequest. Raises ServingError for tensors that have no such form."""
    inputs = [(alias, *tensor) for alias, tensor in operation.inputs.items()]
    return predict_request(_spec(operation.which, operation.signature), inputs, operation.outputs)


def beside(operation: Operation[Any]) -> CallMetadata:
    """What a call says beside its message."""
    if isinstance(operation, _REQUESTS):
        return request_metadata(operation.key, operation.low)
    return ()


def request_metadata(key: str | None, low: bool) -> CallMetadata:
    """`key` None: no key; `low`: of low priority."""
    if key is None:
        return _LOW_PRIORITY if low else ()
    return ((_KEY, key), *_LOW_PRIORITY) if low else ((_KEY, key),)


def _spec(which: Which, signature: str = "") -> bytes:
    return _model_spec_field(*which, signature)


def _example_message(operation: Classify | Regress) -> bytes:
    return example_request(_spec(operation.which, operation.signature), operation.examples, operation.context)


def _metadata_message(operation: MetadataOf) -> bytes:
    return _spec(operation.which) + _SIGNATURES


def _status_message(operation: Status) -> bytes:
    return _spec((operation.model, operation.version, None))


def _ready_message(operation: Ready) -> bytes:
    return text_field(_SERVICE_TAG, operation.model)


def _models_message(_: Models) -> bytes:
    return b""


def _models(message: bytes) -> list[str]:
    """Raises ServingError (UNIMPLEMENTED) where the health service has no names of models, as upstream's has none."""
    found = answer_reader.models_with_health(message)
    if not found:
        raise ServingError(Code.UNIMPLEMENTED, "The server names no models: TensorFlow Serving's gRPC API has no such call")
    return found


_EXCHANGES: Final[dict[type, Exchange]] = {
    Predict: Exchange(_PREDICTION + "Predict", predict_message, prediction),
    Classify: Exchange(_PREDICTION + "Classify", _example_message, answer_reader.classification),
    Regress: Exchange(_PREDICTION + "Regress", _example_message, answer_reader.regression),
    MetadataOf: Exchange(_PREDICTION + "GetModelMetadata", _metadata_message, answer_reader.metadata),
    Status: Exchange(_STATUS, _status_message, answer_reader.version_states),
    Ready: Exchange(_HEALTH + "Check", _ready_message, answer_reader.is_serving),
    Models: Exchange(_HEALTH + "List", _models_message, _models),
}

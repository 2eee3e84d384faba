"""MessagePack messages of all that is not a prediction: requests of examples, and questions about models (docs/zmq.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ringserve.client.answers import Class, Classification, Metadata, Regression, VersionState
from ringserve.client.operations import Classify, MetadataOf, Models, Ready, Regress, Status
from ringserve.client.tensor_message import Answer, damaged, named_fields, number, sequence, source_of, text
from ringserve.errors import Code
from ringserve.servable import State
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import dtype_of

T = TypeVar("T")


def question(operation: Status | MetadataOf | Models | Ready, identifier: Any) -> Answer:
    """The map to ask with; `identifier`: any scalar."""
    match operation:
        case Status(model, version):
            fields: Answer = {"call": "status", "model": model, "version": version}
        case MetadataOf((model, version, label)):
            fields = {"call": "metadata", "model": model, "version": version, "label": label}
        case Models():
            fields = {"call": "models"}
        case Ready(model):
            fields = {"call": "health", "model": model or None}
    fields = {name: value for name, value in fields.items() if value is not None}
    return {"v": 1, **fields, "id": identifier}


def example_question(operation: Classify | Regress, identifier: Any, timeout: float | None) -> Answer:
    """As `question`. `timeout` in seconds."""
    fields: Answer = {"v": 1, "call": "classify" if isinstance(operation, Classify) else "regress"}
    fields |= named_fields(operation.which, operation.signature, timeout, operation.key, operation.low)
    fields["id"] = identifier
    if operation.context is not None:
        fields["context"] = operation.context
    fields["examples"] = operation.examples
    return fields


def classification_of(answer: Mapping[str, Any]) -> Classification:
    """Raises ServingError (INTERNAL) for a damaged answer, as all of these do."""
    rows = [[_class(found) for found in sequence(row, "a row")] for row in sequence(answer.get("rows"), "rows")]
    return Classification(rows, source_of(answer))


def regression_of(answer: Mapping[str, Any]) -> Regression:
    values = [_float(value, "a value") for value in sequence(answer.get("values"), "values")]
    return Regression(values, source_of(answer))


def version_states_of(answer: Mapping[str, Any]) -> list[VersionState]:
    return [_version_state(_map(version, "a version")) for version in sequence(answer.get("versions"), "versions")]


def metadata_of(answer: Mapping[str, Any]) -> Metadata:
    signatures = {
        name: _signature(name, _map(signature, "a signature"))
        for name, signature in _named(answer.get("signatures"), "signatures").items()
    }
    return Metadata(text(answer.get("model"), "the model"), number(answer.get("version"), "the version"), signatures)


def models_of(answer: Mapping[str, Any]) -> list[str]:
    return [text(name, "a model") for name in sequence(answer.get("models"), "models")]


def ready_of(answer: Mapping[str, Any]) -> bool:
    ready = answer.get("ready")
    if not isinstance(ready, bool):
        raise damaged("it does not say whether the model is ready")
    return ready


def _class(found: Any) -> Class:
    label, score = sequence(found, "a class", 2)
    if isinstance(label, bytes):  # models have labels that are no texts
        label = label.decode(errors="replace")
    return Class(text(label, "a label"), _float(score, "a score"))


def _version_state(fields: Mapping[str, Any]) -> VersionState:
    state = _known(State, number(fields.get("state"), "a state"), State.UNKNOWN)
    code = _known(Code, number(fields.get("code", 0), "a code"), Code.UNKNOWN)
    return VersionState(number(fields.get("version"), "a version"), state, code, text(fields.get("error", ""), "an error"))


def _known(kind: Callable[[int], T], found: int, otherwise: T) -> T:
    try:
        return kind(found)
    except ValueError:  # newer than this client
        return otherwise


def _signature(name: str, fields: Mapping[str, Any]) -> Signature:
    inputs, outputs = (
        tuple(_tensor(alias, spec) for alias, spec in sorted(_named(fields.get(which), which).items()))
        for which in ("inputs", "outputs")
    )
    return Signature(name, text(fields.get("method", ""), "a method"), inputs, outputs)


def _tensor(alias: str, spec: Any) -> TensorSpec:
    name, dtype, shape = sequence(spec, "a tensor", 3)
    sizes = None if shape is None else tuple(number(dim, "a dimension") for dim in sequence(shape, "a shape"))
    return TensorSpec(alias, text(name, "a tensor's name"), dtype_of(number(dtype, "a type")), sizes)


def _map(value: Any, what: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise damaged(f"{what} is no map")
    return value


def _named(value: Any, what: str) -> dict[str, Any]:
    for name in _map(value, what):
        text(name, f"a name in {what}")
    return value  # type: ignore[no-any-return]  # seen just now


def _float(value: Any, what: str) -> float:
    if type(value) not in (int, float):
        raise damaged(f"{what} is no number")
    return float(value)

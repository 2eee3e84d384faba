"""What clients ask about models without running them, as maps: the same for ZeroMQ and for local clients.

Questions have a "call": status, metadata, models or health.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from frontend.bodies.asked import readable
from frontend.bodies.tensor_message import kind_of
from frontend.catalog import Catalog, ModelSpec
from frontend.readiness import Readiness, ServerReadiness
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature, TensorSpec

_INT64: Final = 1 << 63


def answer(catalog: Catalog, question: Mapping[str, Any], stopping: bool = False) -> dict[str, Any]:
    """The answer's fields, besides the question's "id". Raises ServingError: what the catalog says, UNIMPLEMENTED for
    another call, INVALID_ARGUMENT for fields that are none.
    """
    return _FACTS[call_of(question)](catalog, question, stopping)


def call_of(question: Mapping[str, Any]) -> str:
    """One of those above. Raises ServingError (UNIMPLEMENTED) for another."""
    call = question.get("call")
    if isinstance(call, str) and call in _FACTS:
        return call
    expected = ", ".join(("predict", "classify", "regress", *_FACTS))
    raise ServingError(Code.UNIMPLEMENTED, f"call: {shown(call)}; expected one of {expected}")


def specs(signature: Signature) -> dict[str, Any]:
    """A signature: its method; of each input and output the tensor's name, its dtype's number and its shape; and, if there
    are any, the default values of inputs, serialised TensorProtos.
    """
    inputs, outputs = ({spec.alias: _spec(spec) for spec in group} for group in (signature.inputs, signature.outputs))
    found: dict[str, Any] = {"method": signature.method, "inputs": inputs, "outputs": outputs}
    if signature.defaults:
        found["defaults"] = {default.alias: default.message for default in signature.defaults}
    return found


def asked_spec(question: Mapping[str, Any]) -> ModelSpec:
    """The version that is asked for. Raises ServingError (INVALID_ARGUMENT) for fields that are none."""
    label = _text(question, "label")
    version = _version(question)
    if version is not None and label:
        raise _invalid(f"version {version} and label {label!r} at once; expected one of them")
    return ModelSpec(_model(question), version, label or None, _text(question, "key") or None)


def _status(catalog: Catalog, question: Mapping[str, Any], _: bool) -> dict[str, Any]:
    name = _model(question)
    found = catalog.status(name, _version(question))
    versions = [
        {"version": each.version, "state": int(each.state), "code": int(each.code), "error": each.message} for each in found
    ]
    return {"model": name, "versions": versions}


def _metadata(catalog: Catalog, question: Mapping[str, Any], _: bool) -> dict[str, Any]:
    with catalog.servable_handle(asked_spec(question)) as version:
        signatures = {name: specs(signature) for name, signature in version.signatures.items()}
        return {"model": version.id.name, "version": version.id.version, "signatures": signatures}


def _models(catalog: Catalog, _: Mapping[str, Any], __: bool) -> dict[str, Any]:
    return {"models": catalog.names}


def _health(catalog: Catalog, question: Mapping[str, Any], stopping: bool) -> dict[str, Any]:
    name = _text(question, "model")
    if not name:
        return {"ready": ServerReadiness.of(catalog, stopping).ready}
    return {"ready": Readiness.of(name, catalog).ready and not stopping}


_FACTS: Final[dict[str, Callable[[Catalog, Mapping[str, Any], bool], dict[str, Any]]]] = {
    "status": _status,
    "metadata": _metadata,
    "models": _models,
    "health": _health,
}


def _spec(spec: TensorSpec) -> list[Any]:
    return [spec.name, spec.dtype.number, None if spec.shape is None else list(spec.shape)]


def _model(question: Mapping[str, Any]) -> str:
    name = _text(question, "model")
    if not name:
        raise _invalid("model: nothing; expected the model's name")
    return name


def _version(question: Mapping[str, Any]) -> int | None:
    version = question.get("version")
    if version is None or (type(version) is int and 0 <= version < _INT64):
        return version
    raise _invalid(f"version: {shown(version)}; expected a whole number of at most 63 bits")


def _text(question: Mapping[str, Any], field: str) -> str:
    text = question.get(field)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise _invalid(f"{field}: {shown(text)}; expected text")
    return readable(text)


def shown(value: Any) -> str:
    """A value that a client sent, for an error's text: only what it is, where it may be long."""
    if isinstance(value, str):
        return repr(value[:64])
    return repr(value) if value is None or isinstance(value, bool | int | float) else kind_of(value)


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, f"The message has bad fields: {text}")

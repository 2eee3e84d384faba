"""Answers out of serialised messages: of classify and regress, of model status and metadata, of health."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from typing import Final, ParamSpec, TypeVar

from ringserve.client.answers import Class, Classification, Metadata, Regression, Source, VersionState
from ringserve.errors import Code, ServingError
from ringserve.predict_message import SentModelSpec, read_model_spec
from ringserve.protobuf_wire import BYTES, FIXED32, VARINT, Span, WireError, fields, signed, text
from ringserve.servable import State
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import dtype_of

P = ParamSpec("P")
T = TypeVar("T")

_FLOAT: Final = struct.Struct("<f")
_SERVING: Final = 1  # of a health check
_SERVICES: Final = frozenset(("", "ModelService", "PredictionService"))  # that a health service names beside models


def _read_safely(read: Callable[P, T]) -> Callable[P, T]:
    """What is no such message becomes a ServingError (INTERNAL): the server's fault, not the caller's."""

    @functools.wraps(read)
    def reading(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return read(*arguments, **named)
        except WireError as error:
            raise ServingError(Code.INTERNAL, f"The server's answer can't be read: {error}") from error

    return reading


@_read_safely
def classification(message: bytes) -> Classification:
    """Of a ClassificationResponse. Raises ServingError."""
    source, results = _result_and_source(message)
    rows = [
        [_class(message, of_class) for of_class in _inner(message, row, 1)]
        for result in results
        for row in _inner(message, result, 1)
    ]
    return Classification(rows, source)


@_read_safely
def regression(message: bytes) -> Regression:
    """Of a RegressionResponse. Raises ServingError."""
    source, results = _result_and_source(message)
    values = [_float(message, value) for result in results for value in _inner(message, result, 1)]
    return Regression(values, source)


@_read_safely
def version_states(message: bytes) -> list[VersionState]:
    """Of a GetModelStatusResponse. Raises ServingError."""
    return [_version_state(message, version) for version in _inner(message, (0, len(message)), 1)]


@_read_safely
def metadata(message: bytes) -> Metadata:
    """Of a GetModelMetadataResponse: a SignatureDefMap in an Any, under the key "signature_def". Raises ServingError."""
    whole = (0, len(message))
    source = _source(message, 1)
    signatures = [
        _signature(message, *_entry(message, signature))
        for field in _inner(message, whole, 2)
        for key, packed in [_entry(message, field)]
        if key == "signature_def"
        for definitions in _inner(message, packed, 2)
        for signature in _inner(message, definitions, 1)
    ]
    return Metadata(source.model, source.version, {signature.name: signature for signature in signatures})


@_read_safely
def is_serving(message: bytes) -> bool:
    """Of a HealthCheckResponse. Raises ServingError."""
    return _numbers(message, (0, len(message))).get(1) == _SERVING


@_read_safely
def models_with_health(message: bytes) -> list[str]:
    """Of a HealthListResponse, which has a status for each: the names that are no service's. Raises ServingError."""
    names = {_entry(message, found)[0] for found in _inner(message, (0, len(message)), 1)}
    return sorted(names - _SERVICES)


def _result_and_source(message: bytes) -> tuple[Source, list[Span]]:
    """A response's `model_spec`, its second field, and its `result`, the first."""
    return _source(message, 2), list(_inner(message, (0, len(message)), 1))


def _source(message: bytes, which: int) -> Source:
    """Of the ModelSpec that is the field of that number."""
    spec = SentModelSpec("", None, None, "")
    for found in _inner(message, (0, len(message)), which):
        spec = read_model_spec(message, *found, spec)
    return Source(spec.name, spec.version or 0, spec.signature_name)


def _class(message: bytes, span: Span) -> Class:
    label, score = "", 0.0
    for number, wire, begin, end in fields(message, *span):
        if number == 1 and wire == BYTES:
            label = message[begin:end].decode(errors="replace")  # models have labels that are no texts
        elif number == 2 and wire == FIXED32:
            (score,) = _FLOAT.unpack(message[begin:end])
    return Class(label, score)


def _float(message: bytes, span: Span) -> float:
    value = 0.0
    for number, wire, begin, end in fields(message, *span):
        if number == 1 and wire == FIXED32:
            (value,) = _FLOAT.unpack(message[begin:end])
    return value


def _version_state(message: bytes, span: Span) -> VersionState:
    numbers = _numbers(message, span)
    code, why = Code.OK, ""
    for status in _inner(message, span, 3):
        code = _known(Code, _numbers(message, status).get(1, 0), Code.UNKNOWN)
        for begin, end in _inner(message, status, 2):
            why = text(message, begin, end)
    state = _known(State, numbers.get(2, 0), State.UNKNOWN)
    return VersionState(signed(numbers.get(1, 0)), state, code, why)


def _known(kind: Callable[[int], T], number: int, otherwise: T) -> T:
    try:
        return kind(number)
    except ValueError:  # newer than this client
        return otherwise


def _signature(message: bytes, name: str, span: Span) -> Signature:
    method = ""
    for begin, end in _inner(message, span, 3):
        method = text(message, begin, end)
    inputs, outputs = (
        tuple(sorted((_tensor(message, *_entry(message, found)) for found in _inner(message, span, which)), key=_alias))
        for which in (1, 2)
    )
    return Signature(name, method, inputs, outputs)


def _alias(spec: TensorSpec) -> str:
    return spec.alias


def _tensor(message: bytes, alias: str, span: Span) -> TensorSpec:
    """Of a TensorInfo."""
    name = ""
    shape: tuple[int, ...] | None = ()
    for begin, end in _inner(message, span, 1):
        name = text(message, begin, end)
    for found in _inner(message, span, 3):
        sizes = tuple(signed(_numbers(message, dim).get(1, 0)) for dim in _inner(message, found, 2))
        shape = None if _numbers(message, found).get(3) else sizes
    return TensorSpec(alias, name, dtype_of(_numbers(message, span).get(2, 0)), shape)


def _entry(message: bytes, span: Span) -> tuple[str, Span]:
    """A map's key and value, the latter a message."""
    key, value = "", (span[1], span[1])
    for number, wire, begin, end in fields(message, *span):
        if wire == BYTES and number == 1:
            key = text(message, begin, end)
        elif wire == BYTES and number == 2:
            value = begin, end
    return key, value


def _inner(message: bytes, span: Span, which: int) -> Iterator[Span]:
    """Where the fields of that number lie that are messages or texts."""
    for number, wire, begin, end in fields(message, *span):
        if number == which and wire == BYTES:
            yield begin, end


def _numbers(message: bytes, span: Span) -> dict[int, int]:
    """Whole numbers by their fields, without a sign."""
    return {number: value for number, wire, value, _ in fields(message, *span) if wire == VARINT}

"""Facts about models out of the REST API's JSON, with the values that gRPC gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from ringserve.client.answers import Class, Classification, Metadata, Regression, Source, VersionState
from ringserve.errors import Code, ServingError
from ringserve.servable import State
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import BY_NAME, DType, dtype_of

P = ParamSpec("P")
T = TypeVar("T")

_DTYPE: Final = "DT_"
_REFERENCE: Final = "_REF"  # at the end of a type's name
_HEALTH_OF_ONE: Final = "/readyz/{model}"


def version_states(document: Any) -> list[VersionState]:
    """Raises ServingError (INTERNAL), as all of these do for what they don't understand."""
    return _read(_version_states, document, "the status of a model")


def metadata(document: Any) -> Metadata:
    return _read(_metadata, document, "the metadata of a model")


def model_names(document: Any) -> list[str]:
    """Of the server's OpenAPI document."""
    return _read(_model_names, document, "a description of the server")


def classification(document: Any, source: Source) -> Classification:
    return Classification(_read(_classes, document, "a classification"), source)


def regression(document: Any, source: Source) -> Regression:
    return Regression(_read(_values, document, "a regression"), source)


def _read(read: Callable[[Any], T], document: Any, what: str) -> T:
    try:
        return read(document)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ServingError(Code.INTERNAL, f"the answer is not {what}") from error


def _version_states(document: Any) -> list[VersionState]:
    return [
        VersionState(
            int(entry["version"]),
            _named(State, entry["state"], State.UNKNOWN),
            _named(Code, entry["status"]["error_code"], Code.UNKNOWN),
            str(entry["status"]["error_message"]),
        )
        for entry in document["model_version_status"]
    ]


E_ = TypeVar("E_", State, Code)


def _named(kind: type[E_], name: Any, otherwise: E_) -> E_:
    found = kind.__members__.get(name)
    return otherwise if found is None else found  # a name that is newer than this client


def _metadata(document: Any) -> Metadata:
    spec = document["model_spec"]
    found = document["metadata"]["signature_def"]["signature_def"]
    signatures = {name: _signature(name, fields) for name, fields in found.items()}
    return Metadata(str(spec["name"]), int(spec["version"]), signatures)


def _signature(name: str, fields: Mapping[str, Any]) -> Signature:
    inputs, outputs = (
        tuple(_tensor(alias, info) for alias, info in sorted(fields[which].items())) for which in ("inputs", "outputs")
    )
    return Signature(name, str(fields["method_name"]), inputs, outputs)


def _tensor(alias: str, info: Mapping[str, Any]) -> TensorSpec:
    shape = info["tensor_shape"]
    sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
    return TensorSpec(alias, str(info["name"]), _dtype(info["dtype"]), sizes)


def _dtype(name: Any) -> DType:
    if isinstance(name, int):  # a type that the server itself has no name for
        return dtype_of(name)
    lower = name.removeprefix(_DTYPE).removesuffix(_REFERENCE).lower()
    return BY_NAME.get(lower) or dtype_of(0)


def _model_names(document: Any) -> list[str]:
    paths = document["paths"]
    if _HEALTH_OF_ONE not in paths:
        return []
    (parameter,) = paths[_HEALTH_OF_ONE]["get"]["parameters"]
    return sorted(str(name) for name in parameter["schema"]["enum"])


def _classes(document: Any) -> list[list[Class]]:
    return [[Class(_text(label), float(score)) for label, score in row] for row in document["results"]]


def _text(label: Any) -> str:
    if not isinstance(label, str):
        raise TypeError
    return label


def _values(document: Any) -> list[float]:
    return [float(value) for value in document["results"]]

"""The signatures of a plug-in's servable: looked at before anything relies on them, and as the metadata shows them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from ringserve.errors import Code, ServingError
from ringserve.servable import Servable
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import DTYPES, STRING
from shm.packed import MOST_DIMS
from workers.plugin_errors import plugin_errors

_MOST_DIM = (1 << 63) - 1


def checked(servable: Servable) -> dict[str, Signature]:
    """Its signatures by name, with the tensors in the order of their aliases. Raises ServingError (INTERNAL)."""
    with plugin_errors("reading its signatures"):
        if not callable(getattr(servable, "run", None)):
            raise _wrong(f"{type(servable).__name__} is no servable: it has no method run")
        given = servable.signatures
        if not isinstance(given, Mapping):
            raise _wrong(f"signatures is a {type(given).__name__}, expected a mapping of names")
        return {name: _signature(name, signature) for name, signature in given.items()}


def _signature(name: str, signature: Signature) -> Signature:
    if not isinstance(signature, Signature) or not _is_text(name) or signature.name != name:
        raise _wrong(f"signature {name!r}: a ringserve.signature.Signature of that name expected")
    if not _is_text(signature.method):
        raise _wrong(f"signature {name!r}: the method must be text")
    return Signature(name, signature.method, _specs(name, signature.inputs), _specs(name, signature.outputs))


def _specs(name: str, specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    made = [_spec(name, spec) for spec in specs]
    if len({spec.alias for spec in made}) < len(made):
        raise _wrong(f"signature {name!r}: two tensors have the same alias")
    return tuple(sorted(made, key=lambda spec: spec.alias))


def _spec(name: str, spec: TensorSpec) -> TensorSpec:
    if not isinstance(spec, TensorSpec) or not _is_text(spec.alias) or not _is_text(spec.name):
        raise _wrong(f"signature {name!r}: a ringserve.signature.TensorSpec expected, not {spec!r}")
    if spec.dtype not in DTYPES.values() or not (spec.dtype.numpy or spec.dtype == STRING):
        raise _wrong(f"signature {name!r}: {spec.alias} is of a type that can't be sent: {spec.dtype!r}")
    if spec.shape is None:
        return spec
    shape = tuple(operator.index(dim) for dim in spec.shape)
    if len(shape) > MOST_DIMS or any(not -1 <= dim <= _MOST_DIM for dim in shape):
        raise _wrong(f"signature {name!r}: {spec.alias} has the shape {list(shape)}: sizes, or -1 where unknown, expected")
    return TensorSpec(spec.alias, spec.name, spec.dtype, shape)


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    value.encode()  # half a surrogate pair can't be sent
    return True


def _wrong(text: str) -> ServingError:
    return ServingError(Code.INTERNAL, text)


def shown(signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """As the metadata request shows them: TensorFlow's SignatureDef messages in their JSON form."""
    return {
        name: {
            "inputs": {spec.alias: _shown(spec) for spec in signature.inputs},
            "outputs": {spec.alias: _shown(spec) for spec in signature.outputs},
            "method_name": signature.method,
            "defaults": {},
        }
        for name, signature in signatures.items()
    }


def _shown(spec: TensorSpec) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in spec.shape or ()]
    return {
        "dtype": f"DT_{spec.dtype.name.upper()}",
        "tensor_shape": {"dim": dims, "unknown_rank": spec.shape is None},
        "name": spec.name,
    }

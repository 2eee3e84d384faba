"""A body to try a signature with: zeros in the declared shape, one for each dimension that is unknown."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from frontend.rest.openapi_schemas import is_json
from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

_MOST_WRITTEN: Final = 1024  # elements of one tensor; more are abbreviated
_MOST: Final = 1 << 24
#: In `0.0 * [224,224,3]`, which is written out before it is sent.
ABBREVIATED: Final = " * ["


def sample_body(signature: Signature) -> str | None:
    """JSON for predict, in row format where the signature has rows; None where JSON can't carry the signature.

    A large tensor stands there as the text `0.0 * [224,224,3]`.
    """
    if not is_json(signature) or any(math.prod(_shape(spec)) > _MOST for spec in signature.inputs):
        return None
    name = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    rows = _rows(signature)
    if rows is None:
        return _written({**name, "inputs": _joined(signature, 0)})
    return _written({**name, "instances": [_joined(signature, 1)] * rows})


def example_body(signature: Signature) -> str:
    """JSON for classify and regress. Which features there are only the model's graph knows: `x` is a guess."""
    name = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    return _written({**name, "examples": [{"x": 0.0}]})


def _written(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False)


def _shape(spec: TensorSpec) -> tuple[int, ...]:
    """An unknown rank is taken for one dimension."""
    return (1,) if spec.shape is None else tuple(1 if dim < 0 else dim for dim in spec.shape)


def _rows(signature: Signature) -> int | None:
    """How many rows a request has; None where it can't be in row format, or its answer might not be."""
    if not all(spec.shape for spec in (*signature.inputs, *signature.outputs)):
        return None
    known = {spec.shape[0] for spec in (*signature.inputs, *signature.outputs) if spec.shape and spec.shape[0] >= 0}
    if not known:
        return 1
    rows = known.pop()
    return rows if not known and 0 < rows <= _MOST_WRITTEN else None


def _joined(signature: Signature, skipped: int) -> Any:
    """One input by itself, several by name; without their first `skipped` dimensions."""
    if len(signature.inputs) == 1:
        return _zeros(signature.inputs[0], skipped)
    return {spec.alias: _zeros(spec, skipped) for spec in signature.inputs}


def _zeros(spec: TensorSpec, skipped: int) -> Any:
    shape = _shape(spec)[skipped:]
    zero: Any = {"string": "", "bool": False, "float": 0.0, "double": 0.0}.get(spec.dtype.name, 0)
    if math.prod(shape) > _MOST_WRITTEN:
        return f"{json.dumps(zero)}{ABBREVIATED}{','.join(map(str, shape))}]"
    for dim in reversed(shape):
        zero = [zero] * dim
    return zero

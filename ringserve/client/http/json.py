"""Predict requests and their answers in TensorFlow Serving's JSON, for servers that speak nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ringserve.client.answers import Array, Prediction, Source
from ringserve.client.http.exchange import Buffer
from ringserve.client.operations import Predict
from ringserve.client.tensors import Tensor, array_of
from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import STRING

#: The types that upstream reads and writes as JSON.
_KNOWN: Final = frozenset(
    ("float", "double", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string")
)
_B64: Final = "b64"
_PYTHON: Final = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,)}  # by numpy's kinds


def json_body(operation: Predict, signature: Signature) -> list[Buffer]:
    """In columns. Raises ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for types that have no JSON.

    JSON's numbers have no types, and the server would take them for what it expects: so types are checked here.
    """
    specs = {spec.alias: spec for spec in signature.inputs}
    parts: list[bytes] = [b'{"signature_name": ', json.dumps(signature.name).encode(), b', "inputs": {']
    for number, (alias, tensor) in enumerate(operation.inputs.items()):
        dtype = tensor[0]
        spec = specs.get(alias)
        if spec is not None and spec.dtype.name != dtype.name:
            raise _invalid(f"Input {alias!r} is to be {spec.dtype.name} but {dtype.name} is provided")
        if dtype.name not in _KNOWN:
            raise ServingError(Code.UNIMPLEMENTED, f"Input {alias!r}: the server takes JSON only, which has no {dtype.name}")
        parts += (b", " if number else b"", json.dumps(alias).encode(), b": ", _value(tensor))
    return [b"".join([*parts, b"}}"])]


def json_prediction(document: Any, operation: Predict, signature: Signature) -> Prediction:
    """With the types that the signature says, and the outputs that were asked for.

    JSON says neither version nor signature: the version is 0 where the request didn't name it. Raises ServingError: INTERNAL
    for what is no answer, INVALID_ARGUMENT for outputs that there are not.
    """
    chosen = _chosen(operation.outputs, signature)
    outputs = document.get("outputs") if isinstance(document, dict) else None
    if len(signature.outputs) == 1:
        outputs = {signature.outputs[0].alias: outputs}  # the only one goes without its name
    if not isinstance(outputs, dict):
        raise _damaged("it has no outputs")
    source = Source(operation.which[0], operation.which[1] or 0, operation.signature or DEFAULT_SIGNATURE)
    return Prediction([(spec.alias, _array(outputs.get(spec.alias), spec)) for spec in chosen], source)


def _chosen(aliases: Sequence[str], signature: Signature) -> Sequence[TensorSpec]:
    if not aliases:
        return signature.outputs
    specs = {spec.alias: spec for spec in signature.outputs}
    for alias in aliases:
        if alias not in specs:
            raise _invalid(f"The signature has no output {alias!r}, only {', '.join(specs)}")
    return [specs[alias] for alias in aliases]


def _value(tensor: Tensor) -> bytes:
    _, shape, values = tensor
    if isinstance(values, list):
        texts = np.empty(len(values), dtype=object)
        texts[:] = [{_B64: base64.b64encode(value).decode()} for value in values]
        return json.dumps(texts.reshape(tuple(shape)).tolist()).encode()
    array = values.reshape(tuple(shape))
    if array.size and array.ndim and bool(np.isfinite(array).all()):
        try:
            import orjson  # noqa: PLC0415 - not everybody has it, and it is a hundred times as fast

            return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
        except (ImportError, TypeError):  # or it doesn't know the type
            pass
    return json.dumps(array.tolist()).encode()  # NaN and Infinity as bare words, as upstream reads them


def _array(value: Any, spec: TensorSpec) -> Array:
    if value is None or spec.dtype.name not in _KNOWN:
        raise _damaged(f"output {spec.alias!r} is missing, or of a type that JSON doesn't have")
    try:
        found = _texts(value) if spec.dtype is STRING else _numbers(value, np.dtype(spec.dtype.numpy))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise _damaged(f"output {spec.alias!r} is no {spec.dtype.name}") from error
    if not found.size and spec.shape is not None:  # [] says nothing of what would be in it
        found = found.reshape((*found.shape, *(max(size, 0) for size in spec.shape[found.ndim :])))
    return array_of(spec.dtype, found.shape, found.ravel().tolist() if spec.dtype is STRING else found)


def _numbers(value: Any, wanted: np.dtype[Any]) -> Array:
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if first != [] and type(first) not in _PYTHON[wanted.kind]:  # numpy would take texts for numbers
        raise TypeError
    return np.asarray(value, wanted)


def _texts(value: Any) -> Array:
    found = np.array(_bytes(value), dtype=object)
    if not all(isinstance(text, bytes) for text in found.flat):
        raise ValueError("the rows differ in length")
    return found


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(one) for one in value]
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return base64.b64decode(value[_B64], validate=True)


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)


def _damaged(why: str) -> ServingError:
    return ServingError(Code.INTERNAL, f"The server's answer can't be read: {why}")

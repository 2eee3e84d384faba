"""JSON schemas of what a signature takes and gives: OpenAPI 3.1's dialect, JSON Schema 2020-12."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import DType

Schema = dict[str, Any]

_LARGEST_FLOAT: Final = 3.4028234663852886e38
#: What JSON can carry, both ways. The narrow integers' own ranges: larger ones are accepted, and cut to the low bits.
_ELEMENTS: Final[dict[str, Schema]] = {
    "float": {"type": "number", "format": "float", "minimum": -_LARGEST_FLOAT, "maximum": _LARGEST_FLOAT},
    "double": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    **{
        name: {"type": "integer", "format": name, "minimum": low, "maximum": high}
        for name, low, high in (
            ("int8", -(1 << 7), (1 << 7) - 1),
            ("int16", -(1 << 15), (1 << 15) - 1),
            ("int32", -(1 << 31), (1 << 31) - 1),
            ("int64", -(1 << 63), (1 << 63) - 1),
            ("uint8", 0, (1 << 8) - 1),
            ("uint32", 0, (1 << 32) - 1),
            ("uint64", 0, (1 << 64) - 1),
        )
    },
}
_BYTES: Final = {"$ref": "#/components/schemas/Bytes"}
_TEXT_OR_BYTES: Final = {"anyOf": [{"type": "string"}, _BYTES]}
_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_BYTES_SUFFIX: Final = "_bytes"

#: An answer's number: a model may answer with what strict JSON has no word for.
_NUMBER: Final = {"type": "number", "description": "NaN, Infinity and -Infinity are written as these words"}

#: Parts that the schemas of all signatures refer to. `Nested_…`: a tensor of any shape.
COMMON: Final[dict[str, Schema]] = {
    "Bytes": {
        "type": "object",
        "description": "Bytes in base64",
        "properties": {"b64": {"type": "string", "contentEncoding": "base64", "pattern": _BASE64}},
        "required": ["b64"],
        "additionalProperties": False,
    },
    "Error": {
        "type": "object",
        "properties": {"error": {"type": "string"}},
        "required": ["error"],
        "additionalProperties": False,
    },
    "Feature": {
        "description": "One value or a list of values of one kind: whole numbers and booleans, other numbers, or strings",
        "anyOf": [
            _TEXT_OR_BYTES,
            {"type": ["number", "boolean"]},
            {"type": "array", "items": {"type": "number"}},
            {"type": "array", "items": {"type": "boolean"}},
            {"type": "array", "items": _TEXT_OR_BYTES},
        ],
    },
    "Example": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Feature"}},
}
_FEATURES: Final[Schema] = {"$ref": "#/components/schemas/Example"}


def is_json(signature: Signature) -> bool:
    """Can a predict request to it be JSON? One without inputs can't, nor can one with types that JSON has nothing for."""
    specs = (*signature.inputs, *signature.outputs)
    return bool(signature.inputs) and all(spec.dtype.name in _ELEMENTS or spec.dtype.name == "string" for spec in specs)


def predict_request(signature: Signature) -> Schema:
    """Row format, columnar format, or either."""
    named = _signature_name(signature)
    columns: Schema = {
        "type": "object",
        "title": f"{signature.name}: columns",
        "properties": {**named, "inputs": _columns(signature.inputs)},
        "required": [*_required(signature), "inputs"],
        "not": {"required": ["instances"]},
    }
    if not _has_rows(signature):
        return columns
    rows: Schema = {
        "type": "object",
        "title": f"{signature.name}: rows",
        "properties": {**named, "instances": {"type": "array", "items": _row(signature.inputs), **_row_count(signature)}},
        "required": [*_required(signature), "instances"],
        "not": {"required": ["inputs"]},
    }
    return {"anyOf": [rows, columns]}


def predict_response(signature: Signature) -> Schema:
    """Of the format that the request has."""
    columns = _answer("outputs", _tensors(signature.outputs, 0))
    if not _has_rows(signature):
        return columns
    return {"anyOf": [_answer("predictions", {"type": "array", "items": _tensors(signature.outputs, 1)}), columns]}


def examples_request(signature: Signature) -> Schema:
    """Of classify and regress. The model's own graph says which features there are: no signature does."""
    return {
        "type": "object",
        "title": signature.name,
        "properties": {
            **_signature_name(signature),
            "context": {**_FEATURES, "description": "Features that all examples have"},
            "examples": {"type": "array", "items": _FEATURES, "minItems": 1},
        },
        "required": [*_required(signature), "examples"],
    }


def classify_response() -> Schema:
    """For each example its labels with their scores."""
    pair = {"type": "array", "prefixItems": [{"type": "string"}, _NUMBER], "minItems": 2, "maxItems": 2}
    return _answer("results", {"type": "array", "items": {"type": "array", "items": pair}})


def regress_response() -> Schema:
    """A number for each example."""
    return _answer("results", {"type": "array", "items": _NUMBER})


def _signature_name(signature: Signature) -> Schema:
    return {"signature_name": {"const": signature.name}}


def _required(signature: Signature) -> list[str]:
    return [] if signature.name == DEFAULT_SIGNATURE else ["signature_name"]


def _answer(key: str, value: Schema) -> Schema:
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


def _has_rows(signature: Signature) -> bool:
    """Is there a row format? Scalars have no rows, whether they go in or come out."""
    return all(spec.shape is None or spec.shape for spec in (*signature.inputs, *signature.outputs))


def _row_count(signature: Signature) -> Schema:
    counts = {spec.shape[0] for spec in signature.inputs if spec.shape and spec.shape[0] > 0}
    count = counts.pop() if len(counts) == 1 else None
    return {"minItems": 1} if count is None else {"minItems": count, "maxItems": count}


def _columns(inputs: Sequence[TensorSpec]) -> Schema:
    """One input may stand by itself; with several, others beside them are ignored."""
    named: Schema = {
        "type": "object",
        "properties": {spec.alias: _described(_input(spec, 0), spec) for spec in inputs},
        "required": [spec.alias for spec in inputs],
    }
    return {"anyOf": [_described(_input(inputs[0], 0), inputs[0]), named]} if len(inputs) == 1 else named


def _row(inputs: Sequence[TensorSpec]) -> Schema:
    named: Schema = {
        "type": "object",
        "properties": {spec.alias: _described(_input(spec, 1), spec) for spec in inputs},
        "required": [spec.alias for spec in inputs],
        "additionalProperties": False,
    }
    return {"anyOf": [_described(_input(inputs[0], 1), inputs[0]), named]} if len(inputs) == 1 else named


def _input(spec: TensorSpec, skipped: int) -> Schema:
    """A tensor as nested arrays, without its first `skipped` dimensions."""
    if spec.shape is None:
        return {"$ref": f"#/components/schemas/{nested_name(spec.dtype)}"}
    schema = _element(spec.dtype)
    for dim in reversed(spec.shape[skipped:]):
        schema = {"type": "array", "items": schema, **({} if dim < 0 else {"minItems": dim, "maxItems": dim})}
    return schema


def _tensors(outputs: Sequence[TensorSpec], skipped: int) -> Schema:
    if len(outputs) == 1:
        return _output(outputs[0], skipped)
    return {
        "type": "object",
        "properties": {spec.alias: _output(spec, skipped) for spec in outputs},
        "required": [spec.alias for spec in outputs],
        "additionalProperties": False,
    }


def _output(spec: TensorSpec, skipped: int) -> Schema:
    """Of any shape: only the model knows what it makes of inputs that are shaped otherwise than declared."""
    schema = {"$ref": f"#/components/schemas/{nested_name(spec.dtype, spec.alias.endswith(_BYTES_SUFFIX), answer=True)}"}
    return {**schema, "description": f"{'one row of ' if skipped else ''}{tensor_text(spec)}"}


def _described(schema: Schema, spec: TensorSpec) -> Schema:
    return {**schema, "description": tensor_text(spec)}


def tensor_text(spec: TensorSpec) -> str:
    """A tensor's type and shape in words: float[?,224], float of any rank."""
    if spec.shape is None:
        return f"{spec.dtype.name} of any rank"
    return f"{spec.dtype.name}[{','.join('?' if dim < 0 else str(dim) for dim in spec.shape)}]"


def _element(dtype: DType) -> Schema:
    return _TEXT_OR_BYTES if dtype.name == "string" else _ELEMENTS[dtype.name]


def nested_name(dtype: DType, as_bytes: bool = False, answer: bool = False) -> str:
    """The common schema of tensors of this type and any shape."""
    if not answer:
        return f"Nested_{dtype.name}"
    return f"Answer_{'bytes' if as_bytes and dtype.name == 'string' else dtype.name}"


def _nested(name: str, element: Schema) -> Schema:
    return {"anyOf": [element, {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}]}


def _answered(element: Schema) -> Schema:
    return _NUMBER if element["type"] == "number" else {key: element[key] for key in element if key != "format"}


for _name, _schema in _ELEMENTS.items():
    COMMON[f"Nested_{_name}"] = _nested(f"Nested_{_name}", _schema)
    COMMON[f"Answer_{_name}"] = _nested(f"Answer_{_name}", _answered(_schema))
COMMON["Nested_string"] = _nested("Nested_string", _TEXT_OR_BYTES)
COMMON["Answer_string"] = _nested("Answer_string", {"type": "string"})
COMMON["Answer_bytes"] = _nested("Answer_bytes", _BYTES)

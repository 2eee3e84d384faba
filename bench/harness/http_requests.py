"""Requests over HTTP, head and body in one piece, in the forms that servers take."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import orjson

from bench.harness.payload import Inputs
from bench.harness.target import PreparationError, Target
from bench.harness.v2_http import v2_binary, v2_json, v2_path
from ringserve.client.grpc.messages import predict_message
from ringserve.client.http.address import HttpAddress
from ringserve.client.http.json import json_body
from ringserve.client.http.messages import MSGPACK, predict_body
from ringserve.client.http.paths import model_path
from ringserve.client.operations import Predict
from ringserve.client.tensors import Array, Tensor, array_of
from ringserve.errors import ServingError
from ringserve.signature import Signature

_JSON: Final = "application/json"
_SIGNATURE_HEADER: Final = "X-Ringserve-Signature"

#: A body, its type, and further headers.
Body = tuple[bytes, str, Mapping[str, str]]


def http_request(target: Target, inputs: Inputs, signature: Signature) -> bytes:
    """Raises PreparationError for what the form has no words for."""
    try:
        if target.api == "v2":
            return http_message(target, *_v2_body(target, inputs))
        if target.form not in _FORMS:
            raise PreparationError(f"{target.form!r} is no form of a body, only {', '.join(_FORMS)} are")
        return http_message(target, *_FORMS[target.form](target, inputs, signature))
    except ServingError as error:
        raise PreparationError(error.message) from error


def http_message(target: Target, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST with this body. Raises PreparationError."""
    address = HttpAddress.of(target.url)
    host = f"[{address.host}]" if ":" in address.host else address.host
    own = {"Host": f"{host}:{address.port}", "Content-Type": content_type, **(headers or {})}
    given = {name.lower() for name in target.headers}
    if "content-length" in given:
        raise PreparationError("Content-Length is the body's")
    lines = {
        **{name: value for name, value in own.items() if name.lower() not in given},
        **target.headers,
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    if head.count("\n") != len(lines) or head.count("\r") != len(lines):
        raise PreparationError("a header has an end of a line in it")
    return f"POST {address.prefix}{_path(target)} HTTP/1.1\r\n{head}\r\n".encode() + body


def json_message(target: Target, body: bytes) -> bytes:
    """A request whose body is there already."""
    return http_message(target, body, target.content_type if target.api == "raw" else _JSON)


def _path(target: Target) -> str:
    if target.api == "raw":
        return target.path if target.path.startswith("/") else f"/{target.path}"
    if target.api == "v2":
        return f"{v2_path(target.model, target.version)}/infer"
    return f"{model_path(target.which)}:predict"


def _v2_body(target: Target, inputs: Inputs) -> Body:
    if target.form == "json":
        return v2_json(inputs), _JSON, {}
    if target.form != "binary":
        raise PreparationError(f"{target.form!r} is no form of a V2 body, only json and binary are")
    body, length = v2_binary(inputs)
    return body, "application/octet-stream", {"Inference-Header-Content-Length": str(length)}


def _rows(target: Target, inputs: Inputs, signature: Signature) -> Body:
    """By rows: one input goes without its name. Columns where inputs have no rows, or not the same number."""
    counts = {shape[0] if shape else 0 for _, shape, _ in inputs.values()}
    if len(counts) != 1 or not min(counts):
        return _columns(target, inputs, signature)
    columns = {alias: _plain(tensor) for alias, tensor in inputs.items()}
    instances: Any
    if len(columns) == 1:
        (instances,) = columns.values()
    else:
        instances = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    document = {"signature_name": target.signature} if target.signature else {}
    return orjson.dumps({**document, "instances": instances}, option=orjson.OPT_SERIALIZE_NUMPY), _JSON, {}


def _columns(target: Target, inputs: Inputs, signature: Signature) -> Body:
    return b"".join(json_body(Predict(target.which, target.signature, inputs), signature)), _JSON, {}


def _msgpack(target: Target, inputs: Inputs, signature: Signature) -> Body:
    return b"".join(predict_body(Predict(target.which, target.signature, inputs), None)), MSGPACK, {}


def _protobuf(target: Target, inputs: Inputs, signature: Signature) -> Body:
    return predict_message(Predict(target.which, target.signature, inputs)), "application/x-protobuf", {}


def _npy(target: Target, inputs: Inputs, signature: Signature) -> Body:
    body = io.BytesIO()
    np.save(body, _sendable(_only(target, inputs)), allow_pickle=False)
    return body.getvalue(), "application/x-npy", _named_signature(target)


def _npz(target: Target, inputs: Inputs, signature: Signature) -> Body:
    body = io.BytesIO()
    arrays: dict[str, Any] = {alias: _sendable(tensor) for alias, tensor in inputs.items()}
    np.savez(body, **arrays)
    return body.getvalue(), "application/x-npz", _named_signature(target)


def _bytes(target: Target, inputs: Inputs, signature: Signature) -> Body:
    dtype, shape, values = _only(target, inputs)
    if isinstance(values, list) and len(values) != 1:
        raise PreparationError("a body of bytes carries one string")
    body = values[0] if isinstance(values, list) else values.tobytes()
    headers = {"X-Ringserve-Dtype": dtype.name, "X-Ringserve-Shape": ",".join(map(str, shape)), **_named_signature(target)}
    return body, "application/octet-stream", headers


_FORMS: Final[dict[str, Callable[[Target, Inputs, Signature], Body]]] = {
    "json": _rows,
    "columns": _columns,
    "msgpack": _msgpack,
    "npy": _npy,
    "npz": _npz,
    "bytes": _bytes,
    "protobuf": _protobuf,
}


def _named_signature(target: Target) -> dict[str, str]:
    return {_SIGNATURE_HEADER: target.signature} if target.signature else {}


def _only(target: Target, inputs: Inputs) -> Tensor:
    if len(inputs) != 1:
        raise PreparationError(f"the form {target.form!r} carries one input, and there are {len(inputs)}")
    return next(iter(inputs.values()))


def _sendable(tensor: Tensor) -> Array:
    """As numpy's formats hold it: texts in arrays of a fixed size. Raises PreparationError where that loses something."""
    _, shape, values = tensor
    if not isinstance(values, list):
        return values.reshape(tuple(shape))
    if any(value.endswith(b"\0") for value in values):
        raise PreparationError("numpy's formats lose NULs at a string's end")
    return np.array(values or [b""], dtype="S")[: len(values)].reshape(tuple(shape))


def _plain(tensor: Tensor) -> Any:
    """What orjson writes."""
    dtype, shape, values = tensor
    if isinstance(values, list):
        texts: list[Any] = [{"b64": base64.b64encode(value).decode()} for value in values]
        return array_of(dtype, shape, texts).tolist()
    if values.dtype.kind not in "fiub" or not bool(np.isfinite(values).all()):  # which it would write as null
        raise PreparationError(f"{dtype.name} that is no plain number has no rows in JSON: try another form of body")
    return np.ascontiguousarray(values.reshape(tuple(shape)))

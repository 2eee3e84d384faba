"""Right requests of every kind of body, and ways to spoil them, by a random number generator that a test seeds."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
from typing import Any, NamedTuple

import msgpack
import numpy as np
from backports import zstd

from ringserve.protos import message_module

PredictRequest = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest

NPY = {"Content-Type": "application/x-npy"}
NPZ = {"Content-Type": "application/x-npz"}
MSGPACK = {"Content-Type": "application/x-msgpack"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
ANSWERS = ("application/json", "application/x-npy", "application/x-npz", "application/octet-stream", "application/x-msgpack")

#: What is put into a body: syntax, lengths that lie, numbers at the edges.
_PIECES = (
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b",",
        b":",
        b"\\",
        b"\\u",
        b"\0",
        b"\xff",
        b"null",
        b"1e999",
        b"NaN",
        b"-",
        b'"b64":',
        b"=",
    ),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff" * 8, b"\xff" * 9 + b"\x01", b"\x80" * 10),
    *(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x93NUMPY", b"|O", b"<f8", b"<U9999999999", b"\xdd\x7f\xff\xff\xff"),
    *(b"18446744073709551616", b"-9223372036854775809", b"0.1e-400", b"99999999999999999999999999999999999999"),
)
_NUMBER = re.compile(rb"\d+")


class Question(NamedTuple):
    """A POST request."""

    path: str
    headers: dict[str, str]
    body: bytes


def _predict(model: str, body: bytes, headers: dict[str, str] | None = None) -> Question:
    return Question(f"/v1/models/{model}:predict", headers or {}, body)


def _json(model: str, document: Any, method: str = "predict") -> Question:
    return Question(f"/v1/models/{model}:{method}", {}, json.dumps(document).encode())


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)  # the same in every run


def _npz(compressed: bool, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def _message(*inputs: list[Any], **fields: Any) -> bytes:
    return bytes(msgpack.packb({"inputs": list(inputs), **fields}))


def _request(signature: str = "", **inputs: Any) -> bytes:
    request = PredictRequest()
    request.model_spec.signature_name = signature
    for alias, array in inputs.items():
        tensor = request.inputs[alias]
        tensor.tensor_shape.SetInParent()
        for dim in array.shape:
            tensor.tensor_shape.dim.add(size=dim)
        if array.dtype.kind == "S":
            tensor.dtype = 7
            tensor.string_val.extend(array.ravel().tolist())
        else:
            tensor.dtype = {"<f4": 1, "<i4": 3}[array.dtype.str]
            tensor.tensor_content = array.tobytes()
    return bytes(request.SerializeToString())


_X = np.array([1, 2.5, -3], "<f4")
_IMAGE = np.arange(24, dtype="<f4").reshape(1, 2, 4, 3)
_A, _B = np.array([[1, 2, 3], [4, 5, 6]], "<f4"), np.array([7, 8], "<i4")
_TEXTS = np.array([b"a\xc3\xa9", b"", b"abc"])


def _raw(dtype: str, shape: str) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", "X-Ringserve-Dtype": dtype, "X-Ringserve-Shape": shape}


KINDS: dict[str, tuple[Question, ...]] = {
    "rows": (
        _json("half_plus_two", {"instances": [1.0, 2.0, 3.0]}),
        _json("two_inputs", {"instances": [{"a": [1, 2, 3], "b": 4}, {"a": [5, 6, 7], "b": 8}]}),
        _json("text", {"instances": ["a\u00e9", {"b64": "YWJj"}]}),
        _json("identity", {"signature_name": "int64", "instances": [[1, 2], [3, 4]]}),
        _json("dynamic_image", {"instances": _IMAGE.tolist()}),
    ),
    "columns": (
        _json("half_plus_two", {"signature_name": "serving_default", "inputs": {"x": [1.0, -2e3]}}),
        _json("two_inputs", {"inputs": {"a": _A.tolist(), "b": [4, 5]}}),
        _json("identity", {"signature_name": "bool", "inputs": [[True, False]]}),
        _json("scalar", {"inputs": 3.5}),
    ),
    "examples": (
        _json("default", {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}, {"x": [3.0]}]}, "classify"),
        _json("default", {"signature_name": "regress_x_to_y", "context": {"x": 2.0}, "examples": [{}]}, "regress"),
        _json(
            "default",
            {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0, "s": ["a", {"b64": "YQ=="}], "i": [1, True]}]},
            "regress",
        ),
    ),
    "npy": (
        _predict("half_plus_two", _npy(_X), NPY),
        _predict("dynamic_image", _npy(np.asfortranarray(_IMAGE)), NPY),
        _predict("identity", _npy(np.array(["ab", "c"] * 2).reshape(2, 2)), {**NPY, "X-Ringserve-Signature": "string"}),
    ),
    "npz": (
        _predict("two_inputs", _npz(False, a=_A, b=_B), NPZ),
        _predict("two_inputs", _npz(True, a=_A, b=_B), NPZ),
        _predict("half_plus_two", _npz(True, x=np.zeros(20_000, "<f4")), NPZ),
    ),
    "raw": (
        _predict("half_plus_two", _X.tobytes(), _raw("float32", "3")),
        _predict("dynamic_image", _IMAGE.tobytes(), _raw("float", "1,2,-1,3")),
        _predict("identity", b"\0\1\1\0", {**_raw("bool", "2,2"), "X-Ringserve-Signature": "bool"}),
        _predict("text", b"abc", {**_raw("string", "1"), "Accept": "application/json"}),
    ),
    "msgpack": (
        _predict("half_plus_two", _message(["x", "float", [3], _X.tobytes()]), MSGPACK),
        _predict(
            "two_inputs",
            _message(["a", "float", [2, 3], _A.tobytes()], ["b", "int32", [2], _B.tobytes()], id=7, outputs=["sum"]),
            MSGPACK,
        ),
        _predict("text", _message(["x", "string", [3], _TEXTS.tolist()], timeout_ms=9000), MSGPACK),
        _predict("text", _message(["x", "string", [99], ["a" * 99] * 99]), MSGPACK),
    ),
    "protobuf": (
        _predict("half_plus_two", _request(x=_X), PROTOBUF),
        _predict("two_inputs", _request(a=_A, b=_B), PROTOBUF),
        _predict("text", _request("serving_default", x=_TEXTS), PROTOBUF),
    ),
}


def spoilt(chance: random.Random, kind: str) -> Question:
    """A right request with its body, or what its headers say of it, made wrong; sometimes it stays right, or nearly so."""
    path, headers, body = chance.choice(KINDS[kind])
    headers = dict(headers)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        body = chance.choice(_WAYS)(chance, body)
    if chance.random() < 0.1:
        _, others, _ = chance.choice(KINDS[chance.choice(list(KINDS))])
        headers = dict(others)
    if chance.random() < 0.1 and "X-Ringserve-Shape" in headers:
        shape = _grown(chance, headers["X-Ringserve-Shape"].encode()).decode("ascii", "replace")
        headers["X-Ringserve-Shape"] = shape.replace("\ufffd", "?")
    if chance.random() < 0.1:
        headers["Accept"] = chance.choice(ANSWERS)
    if chance.random() < 0.15:
        coding, compress = chance.choice((("gzip", _gzip), ("zstd", zstd.compress)))
        headers["Content-Encoding"] = coding
        body = compress(body)
        if chance.random() < 0.5:
            body = chance.choice(_WAYS[:6])(chance, body)
    return Question(path, headers, body[:200_000])


def _slice(chance: random.Random, body: bytes, most: int = 16) -> tuple[int, int]:
    start = chance.randint(0, len(body))
    return start, min(len(body), start + chance.randint(0, most))


def _flipped(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _replaced(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body or b"\0")
    changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


def _cut(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randint(0, len(body))]


def _without(chance: random.Random, body: bytes) -> bytes:
    start, end = _slice(chance, body)
    return body[:start] + body[end:]


def _twice(chance: random.Random, body: bytes) -> bytes:
    start, end = _slice(chance, body, 64)
    return body[:end] + body[start:end] * chance.choice((1, 1, 2, 100)) + body[end:]


def _with_piece(chance: random.Random, body: bytes) -> bytes:
    start, end = _slice(chance, body, 8)
    return body[:start] + chance.choice(_PIECES) + body[end if chance.random() < 0.7 else start :]


def _spliced(chance: random.Random, body: bytes) -> bytes:
    """The beginning of one and the end of another, of any kind."""
    other = chance.choice(KINDS[chance.choice(list(KINDS))]).body
    return body[: chance.randint(0, len(body))] + other[chance.randint(0, len(other)) :]


def _grown(chance: random.Random, body: bytes) -> bytes:
    """A number that is far larger, smaller, or none."""
    found = list(_NUMBER.finditer(body))
    if not found:
        return body
    start, end = chance.choice(found).span()
    larger = chance.choice((b"0", b"-1", b"4294967296", b"9" * 19, b"9" * 400, b"1e39", b"0." + b"3" * 50, b"-"))
    return body[:start] + larger + body[end:]


def _nested(chance: random.Random, body: bytes) -> bytes:
    start, end = _slice(chance, body)
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b"")))
    depth = chance.choice((1, 2, 33, 70, 1000, 10_000))
    return body[:start] + opening * depth + body[start:end] + closing * depth + body[end:]


_WAYS = (_flipped, _replaced, _cut, _without, _twice, _with_piece, _spliced, _grown, _nested)

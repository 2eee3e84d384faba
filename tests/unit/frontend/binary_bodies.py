"""Binary bodies as clients make them, and what the front end makes of them; for tests."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from frontend.bodies.negotiation import BodyOptions, decoder
from frontend.catalog import ModelSpec
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME, STRING

NPY = "application/x-npy"
NPZ = "application/x-npz"
RAW = "application/octet-stream"
MSGPACK = "application/x-msgpack"
PROTOBUF = "application/x-protobuf"
ALL = (NPY, NPZ, RAW, MSGPACK, PROTOBUF)

SERVABLE = ServableId("m", 7)
SPEC = ModelSpec("m")
ONE = Signature.of({"x": ("float", (-1, 3))}, {"y": ("float", (-1,))})
TWO = Signature.of({"a": ("float", None), "b": ("string", None)}, {"y": ("float", (-1,)), "z": ("string", (-1,))})

PredictRequest = message_module("tensorflow_serving.apis.predict_pb2").PredictRequest
PredictResponse = message_module("tensorflow_serving.apis.predict_pb2").PredictResponse


def numbers(dtype: str, value: Any) -> Tensor:
    array = np.array(value, dtype=BY_NAME[dtype].numpy)
    return Tensor(BY_NAME[dtype], array.shape, array)


def texts(*elements: bytes) -> Tensor:
    return Tensor(STRING, (len(elements),), list(elements))


def of_type(dtype: str, outputs: str | None = None) -> Signature:
    return Signature.of({"x": (dtype, None)}, {"y": (outputs or dtype, None)})


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(compressed: bool = False, /, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def message(*inputs: list[Any], **fields: Any) -> bytes:
    packed: bytes = msgpack.packb({"inputs": list(inputs), **fields})
    return packed


def sent(alias: str, tensor: Tensor) -> list[Any]:
    """One of a message's inputs."""
    data: Any = tensor.data if isinstance(tensor.data, list) else tensor.data.tobytes()
    return [alias, tensor.dtype.name, list(tensor.shape), data]


def fill(proto: Any, tensor: Tensor) -> None:
    proto.dtype = tensor.dtype.number
    proto.tensor_shape.SetInParent()
    for dim in tensor.shape:
        proto.tensor_shape.dim.add(size=dim)
    if isinstance(tensor.data, list):
        proto.string_val.extend(tensor.data)
    else:
        proto.tensor_content = tensor.data.tobytes()


def predict_request(**inputs: Tensor) -> Any:
    request = PredictRequest()
    for alias, tensor in inputs.items():
        fill(request.inputs[alias], tensor)
    return request


def headers_of(headers: Mapping[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(headers))


def decoded(
    kind: str,
    body: bytes | bytearray | memoryview,
    headers: Mapping[str, str] | None = None,
    spec: ModelSpec = SPEC,
    options: BodyOptions = BodyOptions(),  # noqa: B008 - immutable
) -> Any:
    """The body, read; it is not asked for anything yet."""
    given = headers_of(headers or {})
    decode = decoder(kind, given)
    assert decode is not None, kind
    return decode(body, given, spec, options)


def inputs(
    kind: str, body: bytes, signature: Signature, headers: Mapping[str, str] | None = None, **more: Any
) -> Sequence[Tensor]:
    read = decoded(kind, body, headers, **more)
    tensors: Sequence[Tensor] = read.inputs(read.signature({signature.name: signature}))
    return tensors


def lone(kind: str, body: bytes, dtype: str, headers: Mapping[str, str] | None = None, **more: Any) -> Tensor:
    """The input of a signature with one, of this type."""
    (tensor,) = inputs(kind, body, of_type(dtype), headers, **more)
    return tensor


def refusal(
    kind: str, body: bytes, signature: Signature = ONE, headers: Mapping[str, str] | None = None, **more: Any
) -> str:
    """What a client is told of a body that is no good."""
    with pytest.raises(ServingError) as caught:
        inputs(kind, body, signature, headers, **more)
    assert caught.value.code is Code.INVALID_ARGUMENT, caught.value
    caught.value.message.encode()
    return caught.value.message


def encoded(
    kind: str, body: bytes, signature: Signature, outputs: Sequence[Tensor], headers: Mapping[str, str] | None = None
) -> Answer:
    read = decoded(kind, body, headers)
    read.inputs(read.signature({signature.name: signature}))
    answer: Answer = read.encode(SERVABLE, signature, outputs)
    return answer


def body_of(kind: str, **tensors: Tensor) -> tuple[bytes, dict[str, str]]:
    """A request with these inputs, and the headers that it needs."""
    first = next(iter(tensors.values()))
    if kind == NPY:
        return npy(first.data), {}
    if kind == NPZ:
        return npz(False, **{alias: np.array(tensor.data) for alias, tensor in tensors.items()}), {}
    if kind == RAW:
        assert not isinstance(first.data, list)
        return first.data.tobytes(), {"X-Ringserve-Shape": str(first.shape), "X-Ringserve-Dtype": first.dtype.name}
    if kind == MSGPACK:
        return message(*[sent(alias, tensor) for alias, tensor in tensors.items()]), {}
    encoded_request: bytes = predict_request(**tensors).SerializeToString()
    return encoded_request, {}

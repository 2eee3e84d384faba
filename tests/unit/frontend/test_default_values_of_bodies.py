"""Bodies that leave out inputs which have default values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from binary_bodies import (
    MSGPACK,
    NPY,
    NPZ,
    PROTOBUF,
    RAW,
    body_of,
    decoded,
    fill,
    inputs,
    message,
    numbers,
    of_type,
    refusal,
    texts,
)
from predict_bodies import read

from frontend.bodies.body_options import BodyOptions
from frontend.endpoint import TooLargeError
from frontend.tensors import Tensor
from ringserve.default_value import DefaultValue
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.signature import Signature

TensorProto = message_module("tensorflow.core.framework.tensor_pb2").TensorProto
A = numbers("float", [[1, 2], [3, 4]])
SIGNATURE = Signature.of(
    {"a": ("float", None), "b": ("string", None), "c": ("double", None), "d": ("float", None)}, {"y": ("float", None)}
)
VALUES = {"b": texts(b"u", b"v"), "c": numbers("double", [[5, 6]]), "d": numbers("float", 7)}


def with_defaults(of: Signature = SIGNATURE, /, **values: Tensor) -> Signature:
    defaults = []
    for alias, value in sorted(values.items()):
        fill(proto := TensorProto(), value)
        defaults.append(DefaultValue(alias, proto.SerializeToString()))
    return replace(of, defaults=tuple(defaults))


def plain(tensor: Tensor) -> Any:
    return tensor.data if isinstance(tensor.data, list) else np.asarray(tensor.data).tolist()


@pytest.mark.parametrize("kind", [NPZ, MSGPACK, PROTOBUF])
def test_what_is_left_out(kind: str) -> None:
    body, headers = body_of(kind, a=A)
    found = inputs(kind, body, with_defaults(**VALUES), headers)
    assert [plain(tensor) for tensor in found] == [[[1, 2], [3, 4]], [b"u", b"v"], [[5, 6]], 7]
    assert [tensor.shape for tensor in found] == [(2, 2), (2,), (1, 2), ()]
    for tensor in found:
        assert tensor.packed().shape == tensor.shape
    body, headers = body_of(kind, a=A, d=A)
    assert plain(inputs(kind, body, with_defaults(**VALUES), headers)[3]) == [[1, 2], [3, 4]]


@pytest.mark.parametrize("kind", [NPZ, MSGPACK, PROTOBUF])
def test_texts(kind: str) -> None:
    of = with_defaults(**VALUES)
    body, headers = body_of(kind, d=A)
    assert refusal(kind, body, of, headers).endswith("in the request {d}, or default input alias set: b,c,d")
    body, headers = body_of(kind, a=A, z=A)
    assert refusal(kind, body, of, headers) == ("Inputs contains invalid name. Used request inputs: a, request input: a,z")
    body, headers = body_of(kind, a=A)
    assert refusal(kind, body, SIGNATURE, headers).startswith("input size does not match signature: 1!=4 ")
    wrong = with_defaults(**VALUES | {"c": numbers("float", 1)})
    assert refusal(kind, body, wrong, headers) == "Expects arg[2] to be double but float is provided"
    broken = replace(of, defaults=(*of.defaults[:2], DefaultValue("d", b"")))
    assert refusal(kind, body, broken, headers) == "tensor parsing error: d"


@pytest.mark.parametrize("kind", [NPZ, MSGPACK, PROTOBUF])
def test_one_that_is_larger_than_any_request(kind: str) -> None:
    of = with_defaults(**VALUES)
    large = TensorProto(dtype=1, float_val=[1])
    large.tensor_shape.dim.add(size=1 << 20)
    of = replace(of, defaults=(*of.defaults[:2], DefaultValue("d", large.SerializeToString())))
    body, headers = body_of(kind, a=A)
    with pytest.raises(TooLargeError) as caught:
        inputs(kind, body, of, headers, options=BodyOptions(most_bytes=1 << 20))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_no_input_at_all() -> None:
    assert plain(inputs(MSGPACK, message(), with_defaults(of_type("float"), x=A))[0]) == plain(A)


def test_bodies_of_one_array_are_for_signatures_with_one_input() -> None:
    for kind in (NPY, RAW):
        body, headers = body_of(kind, a=A)
        assert "is one array, but signature" in refusal(kind, body, with_defaults(**VALUES), headers)
        of = with_defaults(of_type("float"), x=numbers("float", 1))
        assert plain(inputs(kind, body, of, headers)[0]) == plain(A)


def test_a_body_is_no_slower_for_what_it_leaves_out() -> None:
    body, headers = body_of(PROTOBUF, a=A)
    assert not decoded(PROTOBUF, body, headers).heavy


def test_json_names_every_input() -> None:
    """As upstream: its REST API makes a request of all inputs before default values are thought of."""
    of = with_defaults(Signature.of({"a": ("float", None), "b": ("float", None)}, {}), b=A)
    with pytest.raises(ServingError, match=r": Missing named input: b in 'inputs' object\.$"):
        read({"inputs": {"a": 1.0}}, of)
    with pytest.raises(ServingError, match=r"keys must be equal to: a,b$"):
        read({"instances": [{"a": 1.0}]}, of)

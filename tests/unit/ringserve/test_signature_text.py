"""Signatures in error texts: as protobuf itself prints them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ringserve.protos import message_module
from ringserve.signature import Signature, TensorSpec
from ringserve.signature_text import signature_text
from ringserve.tensor import DTYPES

names = st.text(min_size=1, max_size=20)
shapes = st.none() | st.lists(st.integers(-1, 1 << 40), max_size=4).map(tuple)
specs = st.dictionaries(names, st.tuples(st.text(max_size=10), st.sampled_from(list(DTYPES.values())), shapes), max_size=3)


def made(tensors: dict[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(alias, *rest) for alias, rest in sorted(tensors.items()))


def fill(messages: Any, tensors: tuple[TensorSpec, ...]) -> None:
    for spec in tensors:
        info = messages[spec.alias]
        info.name = spec.name
        info.dtype = spec.dtype.number
        info.tensor_shape.SetInParent()
        if spec.shape is None:
            info.tensor_shape.unknown_rank = True
        for size in spec.shape or ():
            info.tensor_shape.dim.add(size=size)


@given(specs, specs, st.text(max_size=30))
def test_protobufs_text_form(inputs: dict[str, Any], outputs: dict[str, Any], method: str) -> None:
    signature = Signature("any", method, made(inputs), made(outputs))
    message = message_module("tensorflow.core.protobuf.meta_graph_pb2").SignatureDef(method_name=method)
    fill(message.inputs, signature.inputs)
    fill(message.outputs, signature.outputs)
    text_format = message_module("google.protobuf.text_format")
    assert signature_text(signature) == text_format.MessageToString(message, as_utf8=False)

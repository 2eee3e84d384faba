"""Signatures out of a serialised MetaGraphDef, without parsing the graph that makes up most of it."""

from __future__ import annotations

from typing import Any, Final

from ringserve.protos import message_module
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import dtype_of
from workers.tf.wire import fields

_SIGNATURE_FIELD: Final = 5  # MetaGraphDef.signature_def, a map


def signature_part(metagraph: memoryview) -> bytes:
    """Only the signatures of a serialised MetaGraphDef, itself a serialised MetaGraphDef.

    Parsing a large graph would hold the interpreter lock for long enough to be seen by requests of other models; walking
    the message's top level touches a few bytes only.
    """
    return b"".join(
        bytes(metagraph[field.start : field.end]) for field in fields(metagraph) if field.number == _SIGNATURE_FIELD
    )


def read_signatures(metagraph: memoryview) -> tuple[dict[str, Signature], dict[str, Any]]:
    """The signatures by name, and the same as the metadata request shows them."""
    from google.protobuf import json_format  # noqa: PLC0415 - only the loader needs it

    module = message_module("tensorflow.core.protobuf.meta_graph_pb2")
    message = module.MetaGraphDef.FromString(signature_part(metagraph))
    signatures = {}
    shown = {}
    for name, definition in message.signature_def.items():
        signatures[name] = Signature(name, definition.method_name, _specs(definition.inputs), _specs(definition.outputs))
        shown[name] = json_format.MessageToDict(
            definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    return signatures, shown


def _specs(infos: Any) -> tuple[TensorSpec, ...]:
    specs = []
    for alias in sorted(infos):
        info = infos[alias]
        shape = None if info.tensor_shape.unknown_rank else tuple(int(dim.size) for dim in info.tensor_shape.dim)
        specs.append(TensorSpec(alias, info.name, dtype_of(info.dtype), shape))
    return tuple(specs)

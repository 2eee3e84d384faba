"""Signatures out of a serialised MetaGraphDef, without parsing the graph that makes up most of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from ringserve.default_value import DefaultValue
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import dtype_of
from ringserve.tensor_proto import STRING_BYTES
from workers.tf.wire import fields

_SIGNATURE_FIELD: Final = 5  # MetaGraphDef.signature_def, a map
#: What the default values of all signatures may take together, as messages and decoded: every front end keeps them.
MOST_DEFAULT_BYTES: Final = 64 << 20
_MOST_DIMS: Final = 254  # of TensorFlow's tensors


def signature_part(metagraph: memoryview) -> bytes:
    """Only the signatures of a serialised MetaGraphDef, itself a serialised MetaGraphDef.

    Parsing a large graph would hold the interpreter lock for long enough to be seen by requests of other models; walking
    the message's top level touches a few bytes only.
    """
    return b"".join(
        bytes(metagraph[field.start : field.end]) for field in fields(metagraph) if field.number == _SIGNATURE_FIELD
    )


def read_signatures(metagraph: memoryview) -> tuple[dict[str, Signature], dict[str, Any]]:
    """The signatures by name, and the same as the metadata request shows them.

    Raises ServingError (INVALID_ARGUMENT) where their default values are too large.
    """
    from google.protobuf import json_format  # noqa: PLC0415 - only the loader needs it

    module = message_module("tensorflow.core.protobuf.meta_graph_pb2")
    message = module.MetaGraphDef.FromString(signature_part(metagraph))
    _limit_defaults(message.signature_def.values())
    signatures = {}
    shown = {}
    for name, definition in message.signature_def.items():
        specs = _specs(definition.inputs), _specs(definition.outputs)
        signatures[name] = Signature(name, definition.method_name, *specs, defaults=_defaults(definition.defaults))
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


def _limit_defaults(definitions: Iterable[Any]) -> None:
    size = sum([_size(value) for definition in definitions for value in definition.defaults.values()])
    if size > MOST_DEFAULT_BYTES:
        text = f"The default values of the signatures' inputs take {size} bytes, more than {MOST_DEFAULT_BYTES}"
        raise ServingError(Code.INVALID_ARGUMENT, text)


def _size(value: Any) -> int:
    """Bytes of memory for a TensorProto and its elements, which need not be in it."""
    dims = value.tensor_shape.dim
    elements = math.prod([max(dim.size, 0) for dim in dims]) if len(dims) <= _MOST_DIMS else 0  # more: it is no tensor
    numpy = dtype_of(value.dtype).numpy
    return int(value.ByteSize()) + elements * (int(numpy[2:]) if numpy else STRING_BYTES)


def _defaults(values: Any) -> tuple[DefaultValue, ...]:
    return tuple(DefaultValue(alias, values[alias].SerializeToString()) for alias in sorted(values))

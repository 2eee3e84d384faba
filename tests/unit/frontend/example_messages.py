"""tf.Example messages by protobuf itself, to hold against those written by hand."""

from __future__ import annotations

from typing import Any

from ringserve.protos import message_module

_KINDS = {float: "float_list", int: "int64_list", bytes: "bytes_list"}


def example(**features: list[Any]) -> Any:
    """Each feature a list of floats, integers or bytes; an empty one has no kind."""
    made = message_module("tensorflow.core.example.example_pb2").Example()
    for name, values in features.items():
        feature = made.features.feature[name]
        if values:
            getattr(feature, _KINDS[type(values[0])]).value.extend(values)
    return made


def parsed(data: bytes) -> Any:
    return message_module("tensorflow.core.example.example_pb2").Example.FromString(data)


def features(data: bytes) -> dict[str, tuple[str | None, list[Any]]]:
    """Kinds and values by name, of serialised bytes."""
    found = {}
    for name, feature in parsed(data).features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = (kind, list(getattr(feature, kind).value) if kind else [])
    return found

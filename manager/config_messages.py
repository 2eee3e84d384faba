"""The model config's messages: TensorFlow Serving's own, with the fields that only this server has.

Upstream's files and clients need no change: the text format is the same, and on the wire the new fields have numbers that
upstream leaves free, so that its messages are read as they are. The messages live in a pool of their own, since two
definitions of one name can't share one.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from ringserve.protos import message_module

_UPSTREAM: Final = "tensorflow_serving.config.model_server_config_pb2"
_FILE: Final = "ringserve/model_server_config.proto"
_PACKAGE: Final = ".tensorflow.serving."


@cache
def _messages() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - 30 ms, once

    upstream = message_module(_UPSTREAM).DESCRIPTOR
    pool = descriptor_pool.DescriptorPool()
    _add_dependencies(upstream, pool, set())
    extended = descriptor_pb2.FileDescriptorProto()
    upstream.CopyToProto(extended)
    extended.name = _FILE
    _extend(extended)
    pool.AddSerializedFile(extended.SerializeToString())
    file = pool.FindFileByName(_FILE)
    return {name: message_factory.GetMessageClass(kind) for name, kind in file.message_types_by_name.items()}


def _add_dependencies(file: Any, pool: Any, seen: set[str]) -> None:
    for dependency in file.dependencies:
        if dependency.name not in seen:
            seen.add(dependency.name)
            _add_dependencies(dependency, pool, seen)
            pool.AddSerializedFile(dependency.serialized_pb)


def _extend(file: Any) -> None:
    """Add to ModelConfig what upstream's has not; docs/configuration.md says what each field means."""
    field = file.message_type.add().field.add()  # only to reach the enums
    optional, repeated = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    text, message, int64, double = field.TYPE_STRING, field.TYPE_MESSAGE, field.TYPE_INT64, field.TYPE_DOUBLE
    del file.message_type[-1]

    def add(owner: Any, name: str, number: int, kind: int, label: int, type_name: str = "") -> None:
        owner.field.add(name=name, number=number, type=kind, label=label, **({"type_name": type_name} if type_name else {}))

    weighted = file.message_type.add(name="WeightedVersion")
    add(weighted, "version", 1, int64, optional)
    add(weighted, "weight", 2, double, optional)
    split = file.message_type.add(name="LabelSplit")
    add(split, "label", 1, text, optional)
    add(split, "versions", 2, message, repeated, _PACKAGE + "WeightedVersion")
    shadow = file.message_type.add(name="Shadow")
    add(shadow, "version", 1, int64, optional)
    add(shadow, "sampling_rate", 2, double, optional)

    model = next(kind for kind in file.message_type if kind.name == "ModelConfig")
    add(model, "devices", 1001, text, repeated)
    add(model, "label_splits", 1002, message, repeated, _PACKAGE + "LabelSplit")
    add(model, "shadows", 1003, message, repeated, _PACKAGE + "Shadow")
    add(model, "source", 1004, text, optional)
    for name, number in (("source_options", 1005), ("loader_options", 1006)):
        entry_name = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        entry = model.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        add(entry, "key", 1, text, optional)
        add(entry, "value", 2, text, optional)
        add(model, name, number, message, repeated, f"{_PACKAGE}ModelConfig.{entry_name}")


def ModelServerConfig() -> Any:
    """An empty `tensorflow.serving.ModelServerConfig`, with this server's fields."""
    return _messages()["ModelServerConfig"]()


def from_upstream(message: Any) -> Any:
    """The same config as one of ours. `message` is of the class that tensorflow-serving-api has."""
    config = ModelServerConfig()
    config.ParseFromString(message.SerializeToString())
    return config

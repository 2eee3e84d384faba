"""The message `tensorflow.serving.BatchingParameters`, which tensorflow-serving-api lacks."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

_PACKAGE: Final = "tensorflow.serving"
_WRAPPED: Final = (
    ("max_batch_size", 1, "Int64Value"),
    ("batch_timeout_micros", 2, "Int64Value"),
    ("max_enqueued_batches", 3, "Int64Value"),
    ("num_batch_threads", 4, "Int64Value"),
    ("thread_pool_name", 5, "StringValue"),
    ("enable_large_batch_splitting", 8, "BoolValue"),
    ("max_execution_batch_size", 9, "Int64Value"),
)

#: Fields that are messages themselves, so that one sees whether they were given: in text, `max_batch_size { value: 128 }`.
WRAPPED_FIELDS: Final = tuple(name for name, _, _ in _WRAPPED)


def parameters_message() -> Any:
    """An empty message."""
    return _message_class()()


@cache
def _message_class() -> Any:
    """In a pool of its own: another definition may be loaded."""
    from google.protobuf import (  # noqa: PLC0415 - as in text_proto
        descriptor_pb2,
        descriptor_pool,
        message_factory,
        wrappers_pb2,
    )

    name = "tensorflow_serving/servables/tensorflow/session_bundle_config.proto"
    file = descriptor_pb2.FileDescriptorProto(name=name, package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    kinds = descriptor_pb2.FieldDescriptorProto
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    for field, number, wrapper in _WRAPPED:
        kind = f".google.protobuf.{wrapper}"
        message.field.add(name=field, number=number, type=kinds.TYPE_MESSAGE, label=one, type_name=kind)
    message.field.add(name="allowed_batch_sizes", number=6, type=kinds.TYPE_INT64, label=many)
    message.field.add(name="pad_variable_length_inputs", number=7, type=kinds.TYPE_BOOL, label=one)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.BatchingParameters"))

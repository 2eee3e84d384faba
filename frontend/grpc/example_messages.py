"""Requests made of tf.Examples, with the examples left as bytes.

A model gets its examples serialised. So upstream serialises them again and reads them as messages whose examples are bytes;
here they are read as such at once. On the wire both are the same. An example that is damaged is refused by the model's own
parser.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from frontend.grpc.request_message import request_message
from ringserve.protos import message_module

_FILE: Final = "ringserve/example_requests.proto"
_PACKAGE: Final = "ringserve.example_requests"
_MODEL: Final = "tensorflow_serving.apis.model_pb2"
_MODEL_SPEC: Final = ".tensorflow.serving.ModelSpec"


def example_message(name: str, message: bytes, most_bytes: int) -> Any:
    """`name`: "ClassificationRequest", "RegressionRequest" or "MultiInferenceRequest".

    Raises ServingError: RESOURCE_EXHAUSTED beyond `most_bytes`, INVALID_ARGUMENT for what is no such message.
    """
    return request_message(_classes()[name], message, most_bytes)


@cache
def _classes() -> dict[str, Any]:
    """By name; made when the first request comes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - 30 ms, once

    model = message_module(_MODEL).DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3", dependency=[model.name])
    _describe(file, descriptor_pb2.FieldDescriptorProto)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    kinds = pool.FindFileByName(_FILE).message_types_by_name
    return {name: message_factory.GetMessageClass(kind) for name, kind in kinds.items()}


def _describe(file: Any, kinds: Any) -> None:
    """A context is repeated since one that comes in pieces is all of them, one behind the other."""
    repeated = kinds.LABEL_REPEATED

    def message(name: str, *fields: tuple[str, int, str], every: int = kinds.LABEL_OPTIONAL) -> Any:
        added = file.message_type.add(name=name)
        for number, (field, kind, type_name) in enumerate(fields, 1):
            added.field.add(name=field, number=number, label=every, type=kind, type_name=type_name or None)
        return added

    spec = ("model_spec", kinds.TYPE_MESSAGE, _MODEL_SPEC)
    examples = f".{_PACKAGE}.Examples"
    examples_input = ("input", kinds.TYPE_MESSAGE, f".{_PACKAGE}.Input")
    message("Examples", ("examples", kinds.TYPE_BYTES, ""), ("context", kinds.TYPE_BYTES, ""), every=repeated)
    chosen = message(
        "Input",
        ("example_list", kinds.TYPE_MESSAGE, examples),
        ("example_list_with_context", kinds.TYPE_MESSAGE, examples),
    )
    chosen.oneof_decl.add(name="kind")
    for field in chosen.field:
        field.oneof_index = 0
    message("ClassificationRequest", spec, examples_input)
    message("RegressionRequest", spec, examples_input)
    message("Task", spec, ("method_name", kinds.TYPE_STRING, ""))
    many = message("MultiInferenceRequest", ("tasks", kinds.TYPE_MESSAGE, f".{_PACKAGE}.Task"), examples_input)
    many.field[0].label = repeated

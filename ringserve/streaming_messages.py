"""The messages of streaming.proto, for those who want objects: clients, and the server's reflection.

They are made at run time: generated code would be one more thing to keep in step, and would need a newer protobuf with each
new generator. They live in the default pool, where the messages that they are made of are.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from ringserve.protos import message_module

PREDICT_STREAM: Final = "/ringserve.StreamingPrediction/Predict"
FILE: Final = "ringserve/streaming.proto"
SERVICE: Final = "ringserve.StreamingPrediction"

_PACKAGE: Final = "ringserve"
_PREDICT: Final = "tensorflow_serving.apis.predict_pb2"


@cache
def streaming_file() -> Any:
    """The FileDescriptor."""
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415 - 30 ms, once

    predict = message_module(_PREDICT).DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(name=FILE, package=_PACKAGE, syntax="proto3", dependency=[predict.name])
    _describe(file, descriptor_pb2.FieldDescriptorProto)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(FILE)


def _describe(file: Any, kinds: Any) -> None:
    """A test compares this with the .proto."""

    def message(name: str, *fields: tuple[str, int, str], label: int = kinds.LABEL_OPTIONAL) -> None:
        added = file.message_type.add(name=name)
        for number, (field, kind, type_name) in enumerate(fields, 1):
            added.field.add(name=field, number=number, label=label, type=kind, type_name=type_name or None)

    def all_of(name: str, field: str, type_name: str) -> None:
        message(name, (field, kinds.TYPE_MESSAGE, type_name), label=kinds.LABEL_REPEATED)

    request = ("request", kinds.TYPE_MESSAGE, ".tensorflow.serving.PredictRequest")
    response = ("response", kinds.TYPE_MESSAGE, ".tensorflow.serving.PredictResponse")
    message("StreamedRequest", request, ("timeout_in_ms", kinds.TYPE_UINT32, ""))
    all_of("StreamedRequests", "requests", ".ringserve.StreamedRequest")
    message("StreamedResult", response, ("code", kinds.TYPE_INT32, ""), ("message", kinds.TYPE_STRING, ""))
    all_of("StreamedResults", "results", ".ringserve.StreamedResult")
    file.service.add(name="StreamingPrediction").method.add(
        name="Predict",
        input_type=".ringserve.StreamedRequests",
        output_type=".ringserve.StreamedResults",
        client_streaming=True,
        server_streaming=True,
    )


@cache
def message_class(name: str) -> Any:
    """Of "StreamedRequest", "StreamedRequests", "StreamedResult" or "StreamedResults"."""
    from google.protobuf import message_factory  # noqa: PLC0415

    return message_factory.GetMessageClass(streaming_file().message_types_by_name[name])

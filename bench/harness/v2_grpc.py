"""KServe V2 over gRPC: its messages, made at run time of no more fields than are needed here; others are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from bench.harness.v2_tensors import listed_array, raw_array, raw_bytes, v2_name, v2_type
from ringserve.client.tensors import Array, Tensor
from ringserve.signature import PREDICT_METHOD, Signature, TensorSpec

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
METADATA: Final = "/inference.GRPCInferenceService/ModelMetadata"

_PACKAGE: Final = "inference"
_FILE: Final = "bench/v2_messages.proto"
_ID: Final = "1"  # else some servers give each answer one of its own
#: Fields of InferTensorContents, in their order from 1 on.
_CONTENTS: Final = (
    ("bool_contents", "BOOL"),
    ("int_contents", "INT32"),
    ("int64_contents", "INT64"),
    ("uint_contents", "UINT32"),
    ("uint64_contents", "UINT64"),
    ("fp32_contents", "FLOAT"),
    ("fp64_contents", "DOUBLE"),
    ("bytes_contents", "BYTES"),
)
_FIELD_OF: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def v2_message(model: str, version: int | None, inputs: Mapping[str, Tensor]) -> bytes:
    """A serialised ModelInferRequest. Raises ServingError (UNIMPLEMENTED) for types that V2 does not have."""
    request = _message("ModelInferRequest")(model_name=model, id=_ID, model_version="" if version is None else str(version))
    for alias, tensor in inputs.items():
        dtype, shape, _ = tensor
        request.inputs.add(name=alias, datatype=v2_name(dtype), shape=[int(size) for size in shape])
        request.raw_input_contents.append(raw_bytes(tensor))
    serialised: bytes = request.SerializeToString()
    return serialised


def v2_message_outputs(message: bytes) -> dict[str, Array]:
    """The tensors of a serialised ModelInferResponse by name. Raises ValueError, and DecodeError for no such message."""
    response = _message("ModelInferResponse").FromString(message)
    raw = list(response.raw_output_contents)
    if raw and len(raw) != len(response.outputs):
        raise ValueError(f"{len(raw)} contents of {len(response.outputs)} outputs")
    found: dict[str, Array] = {}
    for place, output in enumerate(response.outputs):
        shape = list(output.shape)
        if raw:
            found[output.name] = raw_array(output.datatype, shape, raw[place])
        else:
            field = _FIELD_OF.get(output.datatype, "bytes_contents")
            found[output.name] = listed_array(output.datatype, shape, list(getattr(output.contents, field)))
    return found


def v2_metadata_request(model: str, version: int | None) -> bytes:
    """A serialised ModelMetadataRequest."""
    request = _message("ModelMetadataRequest")(name=model, version="" if version is None else str(version))
    serialised: bytes = request.SerializeToString()
    return serialised


def v2_metadata_signature(message: bytes) -> Signature:
    """Of a serialised ModelMetadataResponse. Raises ValueError, and DecodeError for no such message."""
    response = _message("ModelMetadataResponse").FromString(message)
    inputs, outputs = (
        tuple(TensorSpec(each.name, each.name, v2_type(each.datatype), tuple(each.shape)) for each in tensors)
        for tensors in (response.inputs, response.outputs)
    )
    return Signature("", PREDICT_METHOD, inputs, outputs)


@cache
def _file() -> Any:
    """In a pool of its own: another library's definition of the same package may be in the default one."""
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415

    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    _describe(file, descriptor_pb2.FieldDescriptorProto)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(_FILE)


def _describe(file: Any, kinds: Any) -> None:
    def message(name: str, *fields: tuple[str, int, str, bool]) -> None:
        """Name, number, type, and is it repeated, of each field. A type that is none of protobuf's is a message."""
        added = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            known = hasattr(kinds, f"TYPE_{kind}")
            added.field.add(
                name=field,
                number=number,
                label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
                type=getattr(kinds, f"TYPE_{kind}") if known else kinds.TYPE_MESSAGE,
                type_name=None if known else f".{_PACKAGE}.{kind}",
            )

    names = ("name", 1, "STRING", False), ("datatype", 2, "STRING", False), ("shape", 3, "INT64", True)
    message("InferTensorContents", *((name, number, kind, True) for number, (name, kind) in enumerate(_CONTENTS, 1)))
    message("InferTensor", *names, ("contents", 5, "InferTensorContents", False))
    model = ("model_name", 1, "STRING", False), ("model_version", 2, "STRING", False), ("id", 3, "STRING", False)
    message("ModelInferRequest", *model, ("inputs", 5, "InferTensor", True), ("raw_input_contents", 7, "BYTES", True))
    message("ModelInferResponse", *model, ("outputs", 5, "InferTensor", True), ("raw_output_contents", 6, "BYTES", True))
    message("TensorMetadata", *names)
    message("ModelMetadataRequest", ("name", 1, "STRING", False), ("version", 2, "STRING", False))
    message("ModelMetadataResponse", ("inputs", 4, "TensorMetadata", True), ("outputs", 5, "TensorMetadata", True))


@cache
def _message(name: str) -> Any:
    from google.protobuf import message_factory  # noqa: PLC0415

    return message_factory.GetMessageClass(_file().message_types_by_name[name])

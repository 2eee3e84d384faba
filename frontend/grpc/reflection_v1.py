"""grpc.reflection.v1, which grpcio-reflection does not have: v1alpha under its later name, the same on the wire."""

from __future__ import annotations

from typing import Any, Final

SERVICE: Final = "grpc.reflection.v1.ServerReflection"

_FILE: Final = "grpc/reflection/v1/reflection.proto"
_PACKAGE: Final = "grpc.reflection.v1"


def describe_v1() -> None:
    """Put the file's description into the default pool, where there is none."""
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415 - only who reflects needs it
    from grpc_reflection.v1alpha import reflection_pb2  # noqa: PLC0415

    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_FILE)
    except KeyError:
        alpha = reflection_pb2.DESCRIPTOR
        file = descriptor_pb2.FileDescriptorProto()
        alpha.CopyToProto(file)
        file.name, file.package = _FILE, _PACKAGE
        file.ClearField("options")  # it is not deprecated, as v1alpha is
        _rename(file, f".{alpha.package}.", f".{_PACKAGE}.")
        pool.AddSerializedFile(file.SerializeToString())


def _rename(file: Any, before: str, after: str) -> None:
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(before, after)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(before, after)
            method.output_type = method.output_type.replace(before, after)

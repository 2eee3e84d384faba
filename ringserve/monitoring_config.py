"""The file of --monitoring_config_file: a text `tensorflow.serving.MonitoringConfig`."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from ringserve import text_proto
from ringserve.options import ServerOptions

#: Upstream's, where the file enables the page without saying where.
DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"

_PACKAGE: Final = "tensorflow.serving"


def prometheus_path(options: ServerOptions) -> str | None:
    """Where the page with TensorFlow Serving's metrics is on the REST port; None where it is not enabled.

    Reads the file: to be asked once, when the server starts. Without a REST port the file is not looked at, as upstream.
    Raises ServingError for a file that can't be read or parsed.
    """
    path = options.monitoring_config_file
    if not path or not options.rest_api_port:
        return None
    config = text_proto.parse(path, text_proto.read(path), _MonitoringConfig()()).prometheus_config
    return (config.path or DEFAULT_PATH) if config.enable else None


@cache
def _MonitoringConfig() -> Any:
    """The message's class, which tensorflow-serving-api lacks. In a pool of its own: another definition may be loaded."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - as in text_proto

    name = "tensorflow_serving/config/monitoring_config.proto"
    file = descriptor_pb2.FileDescriptorProto(name=name, package=_PACKAGE, syntax="proto3")
    prometheus = file.message_type.add(name="PrometheusConfig")
    config = file.message_type.add(name="MonitoringConfig")
    field = descriptor_pb2.FieldDescriptorProto
    optional = field.LABEL_OPTIONAL
    prometheus.field.add(name="enable", number=1, type=field.TYPE_BOOL, label=optional)
    prometheus.field.add(name="path", number=2, type=field.TYPE_STRING, label=optional)
    kind = f".{_PACKAGE}.PrometheusConfig"
    config.field.add(name="prometheus_config", number=1, type=field.TYPE_MESSAGE, label=optional, type_name=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.MonitoringConfig"))

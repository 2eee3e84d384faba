"""Server reflection: what services there are and what their messages look like, for grpcurl and its like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any, Final

from frontend.grpc.reflection_v1 import SERVICE as _V1
from frontend.grpc.reflection_v1 import describe_v1
from frontend.grpc.request_message import request_message
from frontend.grpc.stream import Stream
from ringserve.errors import Code
from ringserve.protos import message_module
from ringserve.streaming_messages import SERVICE as _STREAMING
from ringserve.streaming_messages import streaming_file

_V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
#: What puts a service's description into the default pool.
_DESCRIBE: Final[dict[str, Callable[[], object]]] = {
    "tensorflow.serving.PredictionService": partial(message_module, "tensorflow_serving.apis.prediction_service_pb2"),
    "tensorflow.serving.ModelService": partial(message_module, "tensorflow_serving.apis.model_service_pb2"),
    "grpc.health.v1.Health": partial(import_module, "grpc_health.v1.health_pb2"),
    _STREAMING: streaming_file,
    _V1: describe_v1,
    _V1ALPHA: partial(import_module, "grpc_reflection.v1alpha.reflection_pb2"),
}
_MOST_BYTES: Final = 1 << 16  # of a request: names, which its answer repeats


class Reflection:
    """What it needs is loaded with the first request: 40 ms, 4 MB."""

    def __init__(self, services: Iterable[str]) -> None:
        """`services`: the full names of those to tell of."""
        self._describe = {service: _DESCRIBE[service] for service in services}
        self._servicer: Any = None

    async def __call__(self, stream: Stream) -> None:
        """ServerReflectionInfo, of either version. Raises ServingError for what is no request; answers what is not found."""
        while (request := await stream.read()) is not None:
            await stream.write(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        from grpc_reflection.v1alpha import reflection_pb2  # noqa: PLC0415 - only who reflects needs it

        if self._servicer is None:
            self._servicer = self._load()
        message = request_message(reflection_pb2.ServerReflectionRequest, request, _MOST_BYTES)
        response = self._ask(message)
        if response.error_response.error_code == Code.NOT_FOUND and message.HasField("file_containing_symbol"):
            # Methods are symbols too, which Python's pool does not look for.
            service = _service_of(message.file_containing_symbol)
            if service is not None:
                response = self._ask(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
                response.original_request.CopyFrom(message)
        response.valid_host = message.host  # as in C++
        answer: bytes = response.SerializeToString()
        return answer

    def _ask(self, message: Any) -> Any:
        return next(self._servicer.ServerReflectionInfo(iter((message,)), None))

    def _load(self) -> Any:
        """Of grpcio-reflection, which answers from the default pool."""
        from grpc_reflection.v1alpha.reflection import ReflectionServicer  # noqa: PLC0415

        for describe in self._describe.values():
            describe()
        return ReflectionServicer(self._describe)


def _service_of(method: str) -> str | None:
    """The full name of the service that has the method."""
    from google.protobuf import descriptor_pool  # noqa: PLC0415

    try:
        name: str = descriptor_pool.Default().FindMethodByName(method).containing_service.full_name
    except KeyError:
        return None
    return name

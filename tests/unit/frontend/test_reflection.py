"""What tools without the .proto files learn from the server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import given
from hypothesis import strategies as some
from written_stream import WrittenStream

from frontend.grpc.reflection import Reflection
from ringserve.errors import Code, ServingError

SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "ringserve.StreamingPrediction",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
]


async def answers(reflection: Reflection, *requests: bytes) -> list[bytes]:
    stream = WrittenStream(*requests)
    await reflection(stream)
    return [await stream.take() for _ in range(stream.untaken)]


def ask(**wanted: Any) -> Any:
    """The answer to one request of a call."""
    request = reflection_pb2.ServerReflectionRequest(host="here", **wanted)
    [answer] = asyncio.run(answers(Reflection(SERVICES), request.SerializeToString()))
    response = reflection_pb2.ServerReflectionResponse.FromString(answer)
    assert response.original_request == request
    assert response.valid_host == "here"
    return response


def files(**wanted: Any) -> dict[str, Any]:
    """The files of an answer by name, the one asked for first."""
    found = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in served(**wanted)]
    names = {file.name: file for file in found}
    assert len(names) == len(found)
    assert {needed for file in found for needed in file.dependency} <= names.keys()
    return names


def served(**wanted: Any) -> list[bytes]:
    response = ask(**wanted)
    assert response.WhichOneof("message_response") == "file_descriptor_response"
    return list(response.file_descriptor_response.file_descriptor_proto)


def refusal(**wanted: Any) -> int:
    response = ask(**wanted)
    assert response.WhichOneof("message_response") == "error_response"
    assert response.error_response.error_message
    code: int = response.error_response.error_code
    return code


def test_services() -> None:
    found = ask(list_services="*").list_services_response.service
    assert [service.name for service in found] == SERVICES


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("tensorflow.serving.PredictionService", "tensorflow_serving/apis/prediction_service.proto"),
        ("tensorflow.serving.PredictionService.Predict", "tensorflow_serving/apis/prediction_service.proto"),
        ("tensorflow.serving.ModelService", "tensorflow_serving/apis/model_service.proto"),
        ("tensorflow.serving.PredictRequest", "tensorflow_serving/apis/predict.proto"),
        ("tensorflow.serving.PredictRequest.InputsEntry", "tensorflow_serving/apis/predict.proto"),
        ("tensorflow.serving.PredictRequest.inputs", "tensorflow_serving/apis/predict.proto"),
        ("tensorflow.DT_FLOAT", "tensorflow/core/framework/types.proto"),
        ("tensorflow.TensorProto", "tensorflow/core/framework/tensor.proto"),
        ("grpc.health.v1.Health", "grpc_health/v1/health.proto"),
        ("grpc.health.v1.Health.Watch", "grpc_health/v1/health.proto"),
        ("ringserve.StreamingPrediction", "ringserve/streaming.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "grpc/reflection/v1/reflection.proto"),
    ],
)
def test_files_of_symbols(symbol: str, file: str) -> None:
    found = files(file_containing_symbol=symbol)
    assert next(iter(found)) == file
    assert files(file_by_filename=file).keys() == found.keys()


def test_every_service_is_described() -> None:
    for service in SERVICES:
        [found] = [
            f"{file.package}.{described.name}"
            for file in files(file_containing_symbol=service).values()
            for described in file.service
            if f"{file.package}.{described.name}" == service
        ]
        assert found == service


@pytest.mark.parametrize(
    "wanted",
    [
        {"file_containing_symbol": "tensorflow.serving.NoService"},
        {"file_containing_symbol": "tensorflow.serving.PredictionService.PredictStreamed"},
        {"file_containing_symbol": ""},
        {"file_containing_symbol": "..\0é"},
        {"file_by_filename": "predict.proto"},
        {"file_by_filename": "/etc/passwd"},
        {"file_containing_extension": {"containing_type": "tensorflow.serving.PredictRequest", "extension_number": 1}},
        {"file_containing_extension": {"containing_type": "x", "extension_number": -1}},
        {"all_extension_numbers_of_type": "x"},
    ],
)
def test_not_found(wanted: dict[str, Any]) -> None:
    assert refusal(**wanted) == Code.NOT_FOUND


def test_nothing_is_asked_for() -> None:
    assert refusal() == Code.INVALID_ARGUMENT


def test_extensions() -> None:
    found = ask(all_extension_numbers_of_type="tensorflow.serving.PredictRequest").all_extension_numbers_response
    assert found.base_type_name == "tensorflow.serving.PredictRequest"
    assert list(found.extension_number) == []


def test_many_requests_of_one_call() -> None:
    wanted = ["tensorflow.serving.PredictRequest", "x", "grpc.health.v1.Health"]
    requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in wanted]
    found = asyncio.run(answers(Reflection(SERVICES), *(request.SerializeToString() for request in requests)))
    responses = [reflection_pb2.ServerReflectionResponse.FromString(answer) for answer in found]
    assert [response.original_request for response in responses] == requests
    assert [response.HasField("error_response") for response in responses] == [False, True, False]


@pytest.mark.parametrize(
    ("message", "code"),
    [(b"\xff", Code.INVALID_ARGUMENT), (b"\x22\x80\x80\x08" + b"x" * (1 << 17), Code.RESOURCE_EXHAUSTED)],
)
def test_what_is_no_request(message: bytes, code: Code) -> None:
    with pytest.raises(ServingError) as refused:
        asyncio.run(answers(Reflection(SERVICES), message))
    assert refused.value.code is code


def test_version_1_is_the_same_on_the_wire() -> None:
    """Its messages, as a client makes them that knows only these."""
    pool = descriptor_pool.DescriptorPool()
    for file in served(file_containing_symbol="grpc.reflection.v1.ServerReflection"):
        pool.AddSerializedFile(file)
    method = pool.FindServiceByName("grpc.reflection.v1.ServerReflection").methods_by_name["ServerReflectionInfo"]
    assert (method.client_streaming, method.server_streaming) == (True, True)
    request = message_factory.GetMessageClass(method.input_type)(file_containing_symbol="grpc.health.v1.Health")
    [answer] = asyncio.run(answers(Reflection(SERVICES), request.SerializeToString()))
    response = message_factory.GetMessageClass(method.output_type).FromString(answer)
    assert response.original_request == request
    [file] = response.file_descriptor_response.file_descriptor_proto
    assert descriptor_pb2.FileDescriptorProto.FromString(file).name == "grpc_health/v1/health.proto"


class Channel:
    """As much of grpc.Channel as the library's client needs to reach a handler."""

    def __init__(self, reflection: Reflection) -> None:
        self._reflection = reflection

    def stream_stream(
        self, path: str, request_serializer: Callable[[Any], bytes], response_deserializer: Any, **_: object
    ) -> Callable[[Iterable[Any]], Iterator[Any]]:
        assert path == "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

        def call(requests: Iterable[Any]) -> Iterator[Any]:
            sent = [request_serializer(request) for request in requests]
            return iter([response_deserializer(answer) for answer in asyncio.run(answers(self._reflection, *sent))])

        return call


def test_the_library_s_client() -> None:
    """Everything that it needs to make a message of ours comes from the server."""
    database = ProtoReflectionDescriptorDatabase(Channel(Reflection(SERVICES)))
    assert list(database.get_services()) == SERVICES
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName("tensorflow.serving.PredictionService").methods_by_name["Predict"]
    request = message_factory.GetMessageClass(method.input_type)()
    request.model_spec.name = "m"
    request.inputs["x"].float_val.append(1.0)
    assert request.SerializeToString()
    streamed = pool.FindMessageTypeByName("ringserve.StreamedRequest")
    assert streamed.fields_by_name["request"].message_type is method.input_type
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("tensorflow.serving.Nothing")


@given(
    some.one_of(
        some.builds(dict, file_containing_symbol=some.text()),
        some.builds(dict, file_by_filename=some.text()),
        some.builds(dict, all_extension_numbers_of_type=some.text()),
        some.builds(
            dict,
            file_containing_extension=some.fixed_dictionaries(
                {
                    "containing_type": some.one_of(some.text(), some.just("google.protobuf.FieldOptions")),
                    "extension_number": some.integers(-(2**31), 2**31 - 1),
                }
            ),
        ),
    )
)
def test_any_question_is_answered(wanted: dict[str, Any]) -> None:
    assert ask(**wanted).WhichOneof("message_response")


_FRESH = """
import asyncio, sys
from frontend.grpc.reflection import Reflection
reflection = Reflection(["tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"])
assert "google.protobuf" not in sys.modules

class Stream:
    messages = [bytes([0x22, 36]) + b"tensorflow.serving.PredictionService", None]
    async def read(self):
        return self.messages.pop(0)
    async def write(self, message):
        assert len(message) > 10_000

asyncio.run(reflection(Stream()))
assert "tensorflow_serving.apis.model_service_pb2" in sys.modules
assert not [name for name in sys.modules if name.startswith("tensorflow.python")]
"""


def test_it_is_loaded_when_it_is_needed_and_without_tensorflow() -> None:
    done = subprocess.run([sys.executable, "-c", _FRESH], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

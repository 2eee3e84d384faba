"""A gRPC server in the test's own process, whose answers are what the test says; its messages are protobuf's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from ringserve.errors import Code, ServingError
from ringserve.protos import message_module

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
REGRESS = "/tensorflow.serving.PredictionService/Regress"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
HEALTH = "/grpc.health.v1.Health/Check"
HEALTH_LIST = "/grpc.health.v1.Health/List"

#: A request's bytes and what the client said beside them, to the answer's bytes or a message. It may raise ServingError.
Answer = Callable[[bytes, Any], Any]
StreamAnswer = Callable[[Iterator[bytes], Any], Iterator[bytes]]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def serving(name: str, of: str) -> Any:
    """A message class of tensorflow_serving.apis."""
    return getattr(message_module(f"tensorflow_serving.apis.{of}_pb2"), name)


class AnsweringServer:
    """`answers` and `streams` are by method, and may change at any time."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.streams: dict[str, StreamAnswer] = {}

    def service(self, details: Any) -> Any:
        """As grpc.GenericRpcHandler has it."""
        if details.method in self.streams:
            return grpc.stream_stream_rpc_method_handler(self.streams[details.method])
        if details.method in self.answers:
            return grpc.unary_unary_rpc_method_handler(lambda message, call: self._answer(details.method, message, call))
        return None

    def _answer(self, method: str, message: bytes, call: Any) -> bytes:
        try:
            answer = self.answers[method](message, call)
        except ServingError as error:
            call.abort(_CODES[int(error.code)], error.message)
        return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: AnsweringServer) -> None:
        self._server = server

    def service(self, details: Any) -> Any:
        return self._server.service(details)


@contextmanager
def answering_server(address: str = "127.0.0.1:0", credentials: Any = None) -> Iterator[tuple[AnsweringServer, int]]:
    """And its port. `address`: as gRPC names it."""
    made = AnsweringServer()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(8), handlers=[_Handler(made)], options=options)
    add = server.add_insecure_port if credentials is None else None
    port = add(address) if add else server.add_secure_port(address, credentials)
    server.start()
    try:
        yield made, port
    finally:
        server.stop(0).wait(10)


def singles(values: Any) -> Any:
    """An array of TensorFlow's commonest type."""
    return np.array(values, np.float32)


def half_plus_two(message: bytes, _: Any) -> Any:
    """Predict's answer: y = 0.5 x + 2, from version 7; "boom" as signature fails."""
    request = serving("PredictRequest", "predict").FromString(message)
    if request.model_spec.signature_name == "boom":
        raise ServingError(Code.FAILED_PRECONDITION, "no such signature")
    response = serving("PredictResponse", "predict")()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = 7
    response.model_spec.signature_name = request.model_spec.signature_name or "serving_default"
    x = request.inputs["x"]
    assert x.dtype == 1, "as strict as a server"
    y = response.outputs["y"]
    y.dtype = 1
    y.tensor_shape.CopyFrom(x.tensor_shape)
    y.float_val.extend((np.frombuffer(x.tensor_content, "<f4") * 0.5 + 2).tolist())
    return response


def metadata_of(**inputs: int) -> Answer:
    """GetModelMetadata's answer: a signature with inputs of these types, by their numbers."""

    def answer(message: bytes, _: Any) -> Any:
        request = serving("GetModelMetadataRequest", "get_model_metadata").FromString(message)
        assert list(request.metadata_field) == ["signature_def"]
        response = serving("GetModelMetadataResponse", "get_model_metadata")()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = 7
        map_of_signatures = serving("SignatureDefMap", "get_model_metadata")()
        signature = map_of_signatures.signature_def["serving_default"]
        signature.method_name = "tensorflow/serving/predict"
        for alias, dtype in inputs.items():
            signature.inputs[alias].name = f"{alias}:0"
            signature.inputs[alias].dtype = dtype
            signature.inputs[alias].tensor_shape.dim.add(size=-1)
            signature.inputs[alias].tensor_shape.dim.add(size=3)
        signature.outputs["y"].dtype = 1
        signature.outputs["y"].tensor_shape.unknown_rank = True
        response.metadata["signature_def"].Pack(map_of_signatures)
        return response

    return answer

"""What is asked over gRPC, as bytes that are ready to send, and whether an answer is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from bench.half_plus_two import NAME
from bench.image_bodies import Image
from bench.load import WrongAnswerError
from ringserve.protos import message_module

SERVICE: Final = "tensorflow.serving.PredictionService"
PREDICT: Final = "Predict"
METADATA: Final = "GetModelMetadata"
_ANSWER_SECONDS: Final = 10.0
_TOLERANCE: Final = 1e-4

#: Of messages, in both directions.
ANY_SIZE: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
# A connection of its own, since one that failed would make the next wait, and no proxy.
_DIRECT: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


def channel_to(port: int) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=(*ANY_SIZE, *_DIRECT))


@dataclass(frozen=True, slots=True)
class GrpcTarget:
    """A method of PredictionService on this port, a request, and what tells whether an answer is right."""

    port: int
    method: str
    request: bytes
    right: Callable[[bytes], bool]

    def ask(self, count: int) -> bytes:
        """Send some requests, one after the other: the last answer.

        Raises WrongAnswerError, and ConnectionError while nobody listens.
        """
        answer = b""
        with channel_to(self.port) as channel:
            call = channel.unary_unary(f"/{SERVICE}/{self.method}")
            for _ in range(count):
                try:
                    answer = call(self.request, timeout=_ANSWER_SECONDS)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.UNAVAILABLE:
                        raise ConnectionError(error.details()) from error
                    raise WrongAnswerError(f"answered {error.code().name} {error.details()}") from error
                if not self.right(answer):
                    raise WrongAnswerError(f"answered {answer[:200]!r}")
        return answer


def grpc_predict(port: int) -> GrpcTarget:
    """Three floats to half_plus_two, as float_val: what perf_analyzer sends, and what bench.half_plus_two's REST says."""
    request = _predict_request(NAME)
    tensor = request.inputs["x"]
    tensor.float_val.extend([1.0, 2.0, 5.0])
    _shape(tensor, (3,))
    return GrpcTarget(port, PREDICT, request.SerializeToString(), lambda answer: _values(answer, "y") == [2.5, 3.0, 4.5])


def grpc_metadata(port: int) -> GrpcTarget:
    """The signatures of half_plus_two."""
    messages: Any = message_module("tensorflow_serving.apis.get_model_metadata_pb2")
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = NAME
    return GrpcTarget(port, METADATA, request.SerializeToString(), lambda answer: b"serving_default" in answer)


def grpc_image(port: int, model: str, image: Image) -> GrpcTarget:
    """Images as tensor_content to a model that answers with their mean."""
    request = _predict_request(model)
    tensor = request.inputs["image"]
    tensor.tensor_content = image.tobytes()
    _shape(tensor, image.shape)
    mean = float(image.mean(dtype=np.float64))

    def right(answer: bytes) -> bool:
        values = _values(answer, "mean")
        return len(values) == 1 and math.isclose(values[0], mean, rel_tol=_TOLERANCE)

    return GrpcTarget(port, PREDICT, request.SerializeToString(), right)


def _predict_request(model: str) -> Any:
    messages: Any = message_module("tensorflow_serving.apis.predict_pb2")
    request = messages.PredictRequest()
    request.model_spec.name = model
    return request


def _shape(tensor: Any, sizes: tuple[int, ...]) -> None:
    tensor.dtype = 1  # DT_FLOAT
    for size in sizes:
        tensor.tensor_shape.dim.add().size = size


def _values(answer: bytes, output: str) -> list[float]:
    """The floats of an answer to Predict, in either form; none when it is not one."""
    messages: Any = message_module("tensorflow_serving.apis.predict_pb2")
    try:
        tensor = messages.PredictResponse.FromString(answer).outputs[output]
    except DecodeError:
        return []
    if len(tensor.tensor_content) % 4:
        return []
    return [*np.frombuffer(tensor.tensor_content, "<f4").tolist(), *tensor.float_val]

"""TensorFlow Serving's own PredictRequest messages, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from frontend.bodies.arrays import MOST_DIMS, invalid, shaped
from frontend.bodies.asked import Asked
from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.bodies.tensor_body import TensorAnswer, chosen
from frontend.endpoint import TooLargeError
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.predict_request import predict_inputs, predict_signature
from ringserve.predict_response import predict_response
from ringserve.protos import message_module
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import dtype_of
from ringserve.tensor_proto import DecodedTensor, is_slow

PROTOBUF: Final = "application/x-protobuf"


def read_predict_request(body: Buffer) -> Any:
    """A PredictRequest message. Raises ServingError (INVALID_ARGUMENT)."""
    request, decode_error = _messages()
    try:
        return request.FromString(body if isinstance(body, bytes) else bytes(body))
    except decode_error as error:
        text = f"the body is no message ({error}); expected a serialised tensorflow.serving.PredictRequest"
        raise invalid(text) from None


@cache
def _messages() -> tuple[Any, type[Exception]]:
    """What a PredictRequest is, and the error for what is none: loaded when the first comes, for they take 30 ms."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    return message_module("tensorflow_serving.apis.predict_pb2").PredictRequest, DecodeError


class PredictRequestBody:
    """Implements `frontend.bodies.tensor_body.AskingBody`, with the texts of upstream's gRPC API."""

    def __init__(self, request: Any, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        """`asked`: what the message and the URL ask for together."""
        self.spec = asked.spec
        self.timeout = asked.timeout
        self.heavy = any(map(is_slow, request.inputs.values()))
        self._request = request
        self._answer = answer
        self._options = options

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return predict_signature(self._request, signatures, self._options.check_method)

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Once. Raises ServingError."""
        try:
            tensors = predict_inputs(self._request, signature, self._options.most_bytes)
        except ServingError as error:
            if error.code is Code.RESOURCE_EXHAUSTED:
                raise TooLargeError(error.code, error.message) from error
            raise
        self._answer.check(signature)
        self._request = None
        return [_tensor(tensor) for tensor in tensors]

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        return self._answer.encode(servable, signature, outputs)


def _tensor(decoded: DecodedTensor) -> Tensor:
    if len(decoded.shape) > MOST_DIMS:
        raise invalid(f"a tensor of {len(decoded.shape)} dimensions; expected at most {MOST_DIMS}")
    values = decoded.values
    data = values if isinstance(values, list) else shaped(values, decoded.shape)
    return Tensor(dtype_of(decoded.dtype), decoded.shape, data)


class PredictResponseAnswer:
    """A PredictResponse message. Implements `TensorAnswer`."""

    def __init__(self, outputs: Sequence[str], content: bool) -> None:
        """`content`: what --enable_serialization_as_tensor_content says."""
        self._outputs = outputs
        self._content = content

    def check(self, signature: Signature) -> None:
        chosen(self._outputs, signature)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        named = [(signature.outputs[index].alias, *outputs[index]) for index in chosen(self._outputs, signature)]
        return Answer(predict_response(servable, signature.name, named, self._content), PROTOBUF)

"""TensorFlow Serving's own PredictRequest messages, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from frontend.bodies.arrays import invalid, tensor_of
from frontend.bodies.asked import Asked
from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.bodies.tensor_body import TensorAnswer, chosen
from frontend.endpoint import TooLargeError
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.predict_message import PredictMessage, read_request
from ringserve.predict_request import predict_inputs, predict_signature
from ringserve.predict_response import predict_response
from ringserve.protobuf_wire import WireError
from ringserve.servable import ServableId
from ringserve.signature import Signature

PROTOBUF: Final = "application/x-protobuf"
#: What is left of a request whose tensors were read.
READ: Final = PredictMessage(None, {}, ())


def read_predict_request(body: Buffer) -> PredictMessage:
    """A PredictRequest message. Raises ServingError (INVALID_ARGUMENT)."""
    try:
        return read_request(body)
    except WireError as error:
        raise _no_message(error) from None


def predict_tensors(request: PredictMessage, signature: Signature, options: BodyOptions) -> list[Tensor]:
    """One for each of the signature's inputs, in its order; numbers are views of the message where that is possible.

    Raises ServingError.
    """
    try:
        return [tensor_of(decoded) for decoded in predict_inputs(request, signature, options.most_bytes)]
    except WireError as error:
        raise _no_message(error) from None
    except ServingError as error:
        if error.code is Code.RESOURCE_EXHAUSTED:
            raise TooLargeError(error.code, error.message) from error
        raise


def _no_message(error: WireError) -> ServingError:
    return invalid(f"the body is no message ({error}); expected a serialised tensorflow.serving.PredictRequest")


class PredictRequestBody:
    """Implements `frontend.bodies.tensor_body.AskingBody`, with the texts of upstream's gRPC API."""

    def __init__(self, request: PredictMessage, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        """`asked`: what the message and the URL ask for together."""
        self.spec = asked.spec
        self.timeout = asked.timeout
        self.heavy = any([tensor.is_slow for tensor in request.tensors.values()])
        self._request = request
        self._answer = answer
        self._options = options

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return predict_signature(self._request, signatures, self._options.check_method)

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Once. Raises ServingError."""
        tensors = predict_tensors(self._request, signature, self._options)
        self._answer.check(signature)
        self._request = READ
        return tensors

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        return self._answer.encode(servable, signature, outputs)


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

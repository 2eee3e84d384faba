"""TensorFlow Serving's own PredictRequest messages, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frontend.bodies.asked import Asked
from frontend.bodies.body_options import BodyOptions
from frontend.bodies.predict_messages import PROTOBUF, READ, predict_tensors
from frontend.bodies.tensor_body import TensorAnswer, chosen
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.predict_message import PredictMessage
from ringserve.predict_request import predict_signature
from ringserve.predict_response import predict_response
from ringserve.servable import ServableId
from ringserve.signature import Signature


class PredictRequestBody:
    """Implements `frontend.bodies.tensor_body.AskingBody`, with the texts of upstream's gRPC API."""

    def __init__(self, request: PredictMessage, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        """`asked`: what the message and the URL ask for together."""
        self.spec = asked.spec
        self.timeout = asked.timeout
        self.low = asked.low
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

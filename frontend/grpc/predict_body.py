"""Predict: a PredictRequest message, and the PredictResponse that answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.bodies.predict_messages import PROTOBUF, READ, predict_tensors, read_predict_request
from frontend.bodies.tensor_body import chosen
from frontend.grpc.model_spec import checked
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.predict_message import is_plain_request
from ringserve.predict_request import predict_signature
from ringserve.predict_response import predict_response
from ringserve.servable import ServableId
from ringserve.signature import Signature

SHORT: Final = 2 << 10  # bytes of a message that is read in about a ms, whatever is in it


def is_long(message: Buffer) -> bool:
    """Does it take more than about a ms to make a `PredictBody` of this message? Only of one that no client writes."""
    return len(message) > SHORT and not is_plain_request(message)


class PredictBody:
    """Implements `RequestBody`. Numbers stay where they are in the message until they are written to a lane."""

    def __init__(self, message: Buffer, options: BodyOptions) -> None:
        """Raises ServingError (INVALID_ARGUMENT)."""
        self._request = read_predict_request(message)
        self._options = options
        self._outputs = self._request.output_filter
        self.spec = checked(self._request.model_spec)

    @property
    def heavy(self) -> bool:
        return any([tensor.is_slow for tensor in self._request.tensors.values()])

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return predict_signature(self._request, signatures, self._options.check_method)

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Once: the message is let go, but for what is a view of it. Raises ServingError."""
        tensors = predict_tensors(self._request, signature, self._options)
        self._request = READ
        return tensors

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        named = [(signature.outputs[index].alias, *outputs[index]) for index in chosen(self._outputs, signature)]
        return Answer(predict_response(servable, signature.name, named, self._options.tensor_content), PROTOBUF)

"""The messages of Classify and Regress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frontend.bodies.body_options import BodyOptions
from frontend.bodies.predict_messages import PROTOBUF
from frontend.grpc.example_answer import classification_result, regression_result, response
from frontend.grpc.example_messages import example_message
from frontend.grpc.example_rows import ExampleRows, fed
from frontend.grpc.model_spec import model_spec
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.classification import classification
from ringserve.example_request import named_classify_signature, named_regress_signature
from ringserve.regression import regression
from ringserve.servable import ServableId
from ringserve.signature import Signature


class _ExampleBody:
    """Its examples are looked at last, as upstream does it: only when model and signature are known."""

    _message_name = ""

    def __init__(self, message: bytes, options: BodyOptions) -> None:
        """Raises ServingError: INVALID_ARGUMENT where the message can't be read, or names no model; RESOURCE_EXHAUSTED where
        it is larger than all tensors of a request may be.
        """
        request = example_message(self._message_name, message, options.most_bytes)
        self.spec = model_spec(request)
        self._signature_name: str = request.model_spec.signature_name
        self._check_method = options.check_method
        self._rows = ExampleRows(request.input, options.most_bytes)
        self._count = self._rows.count
        self.heavy = self._rows.heavy

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Once: the examples are forgotten then. Raises ServingError."""
        return fed(self._rows.take(), signature)


class ClassifyBody(_ExampleBody):
    """A ClassificationRequest; a `frontend.request_body.RequestBody`."""

    _message_name = "ClassificationRequest"

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return named_classify_signature(self._signature_name, signatures, self._check_method)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """Raises ServingError (INVALID_ARGUMENT) where the outputs are no labels and scores of these examples."""
        result = classification_result(classification(signature, outputs, self._count))
        return Answer(response(result, servable, signature.name), PROTOBUF)


class RegressBody(_ExampleBody):
    """A RegressionRequest; a `frontend.request_body.RequestBody`."""

    _message_name = "RegressionRequest"

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return named_regress_signature(self._signature_name, signatures, self._check_method)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """Raises ServingError (INVALID_ARGUMENT) where the output is not one number for each of these examples."""
        result = regression_result(regression(outputs, self._count))
        return Answer(response(result, servable, signature.name), PROTOBUF)

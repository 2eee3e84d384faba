"""The bodies of classify and regress requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frontend.endpoint import TooLargeError
from frontend.request_body import Answer
from frontend.rest.example_answer import encode_classification, encode_regression
from frontend.rest.json_document import parse_document
from frontend.rest.json_examples import examples_from_document
from frontend.rest.signature_name import signature_name
from frontend.tensors import Tensor
from ringserve.classification import classification
from ringserve.errors import Code, ServingError
from ringserve.example_request import example_inputs, named_classify_signature, named_regress_signature
from ringserve.regression import regression
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import dtype_of


class _ExampleBody:
    """Its examples are complete before any model is looked up, as upstream does it."""

    heavy = False

    def __init__(self, body: bytes, check_method: bool, most_bytes: int) -> None:
        """`check_method`: what --enable_signature_method_name_check says. `most_bytes`: of all examples with their context.

        Raises ServingError: INVALID_ARGUMENT with upstream's texts, or TooLargeError.
        """
        document = parse_document(body, last_inside=True)
        self._signature_name = signature_name(document)
        self._check_method = check_method
        try:
            self._examples = examples_from_document(document, most_bytes)
        except ServingError as error:
            if error.code is Code.RESOURCE_EXHAUSTED:
                raise TooLargeError(error.code, error.message) from error
            raise
        self._count = len(self._examples)

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Once: the examples are forgotten then. Raises ServingError (INVALID_ARGUMENT) where the input takes no strings."""
        fed = example_inputs(self._examples, signature)
        examples, self._examples = self._examples, []  # not to be kept while the request waits
        return [Tensor(dtype_of(fed.dtype), fed.shape, examples)]


class ClassifyBody(_ExampleBody):
    """The body of a classify request; a `frontend.request_body.RequestBody`."""

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return named_classify_signature(self._signature_name, signatures, self._check_method)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """Raises ServingError (INVALID_ARGUMENT) where the outputs are no labels and scores of these examples."""
        return Answer(encode_classification(classification(signature, outputs, self._count)))


class RegressBody(_ExampleBody):
    """The body of a regress request; a `frontend.request_body.RequestBody`."""

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return named_regress_signature(self._signature_name, signatures, self._check_method)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """Raises ServingError (INVALID_ARGUMENT) where the output is not one number for each of these examples."""
        return Answer(encode_regression(regression(outputs, self._count)))

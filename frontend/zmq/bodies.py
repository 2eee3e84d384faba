"""What ZeroMQ's messages ask for, as request bodies, and the forms of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack

from frontend.bodies.arrays import invalid
from frontend.bodies.asked import Asked, readable
from frontend.bodies.body_options import BodyOptions
from frontend.bodies.message_body import MSGPACK, MessageBody
from frontend.bodies.tensor_body import chosen
from frontend.bodies.tensor_message import NamedOutput, TensorRequest, answer_frames, identifier_of
from frontend.catalog import ModelSpec
from frontend.model_facts import asked_spec
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.classification import classification
from ringserve.errors import Code, ServingError
from ringserve.example_request import (
    example_inputs,
    named_classify_signature,
    named_regress_signature,
    with_context,
)
from ringserve.regression import regression
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.tensor import dtype_of
from ringserve.tensor_proto import STRING_BYTES

_MOST_EXAMPLES: Final = 1 << 20


class PredictBody(MessageBody):
    """A predict request's message."""

    def __init__(self, request: TensorRequest, options: BodyOptions) -> None:
        """Raises ServingError (INVALID_ARGUMENT) where it names no model, or a version and a label."""
        spec = predict_spec(request)
        asked = Asked(spec, request.signature or DEFAULT_SIGNATURE, request.outputs, request.timeout)
        super().__init__(request, asked, FramedAnswer(request.identifier, request.outputs), options)


def predict_spec(request: TensorRequest) -> ModelSpec:
    """Which version it is for. Raises ServingError (INVALID_ARGUMENT) where it does not say, or says two things."""
    if not request.model:
        raise invalid("The message has bad fields: model: nothing; expected the model's name")
    if request.version is not None and request.label:
        raise invalid(f"The message asks for version {request.version} and label {request.label} at once")
    return ModelSpec(request.model, request.version, request.label or None, request.key)


def asks_for_a_model(request: TensorRequest) -> bool:
    """Does `predict_spec` say which version?"""
    return bool(request.model) and (request.version is None or not request.label)


def limit_size(request: TensorRequest, most_bytes: int) -> None:
    """Raises ServingError (RESOURCE_EXHAUSTED) where its numbers take more; strings were looked at before."""
    size = sum(tensor.data.nbytes for tensor in request.inputs.values() if not isinstance(tensor.data, list))
    if size > most_bytes:
        text = f"The request's tensors take {size} bytes, more than the limit of {most_bytes}: "
        raise ServingError(Code.RESOURCE_EXHAUSTED, text + "start the server with a higher --max_request_bytes")


class FramedAnswer:
    """An answer's message, and the frames that follow it. Implements `frontend.bodies.tensor_body.TensorAnswer`."""

    def __init__(self, identifier: Any, outputs: Sequence[str]) -> None:
        self._identifier = identifier
        self._outputs = outputs

    def check(self, signature: Signature) -> None:
        chosen(self._outputs, signature)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        named = [NamedOutput(signature.outputs[index].alias, outputs[index]) for index in chosen(self._outputs, signature)]
        head, *frames = answer_frames(self._identifier, servable, signature, named)
        return Answer(head, MSGPACK, frames=frames)


class _ExampleBody:
    """The message of a classify or regress request: its `examples` are serialised tf.Examples."""

    heavy = False

    def __init__(self, fields: Mapping[str, Any], options: BodyOptions) -> None:
        """Raises ServingError: INVALID_ARGUMENT for bad fields, RESOURCE_EXHAUSTED for too many examples."""
        self._identifier = identifier_of(fields)
        self.spec = asked_spec(fields)
        signature = fields.get("signature") or ""
        if not isinstance(signature, str):
            raise invalid("The message has bad fields: signature; expected text")
        self._signature_name = readable(signature)
        self._check_method = options.check_method
        self._examples = _examples(fields, options.most_bytes)
        self._count = len(self._examples)

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Once: the examples are forgotten then. Raises ServingError (INVALID_ARGUMENT)."""
        dtype, shape, values = example_inputs(self._examples, signature)
        self._examples = []
        return [Tensor(dtype_of(dtype), shape, values)]

    def _answer(self, servable: ServableId, signature: Signature, name: str, values: Any) -> Answer:
        fields = {"v": 1, "id": self._identifier, "model": servable.name, "version": servable.version}
        whole = msgpack.packb({**fields, "signature": signature.name, name: values}, unicode_errors="surrogateescape")
        return Answer(whole, MSGPACK)


class ClassifyBody(_ExampleBody):
    """A `frontend.inference_request.AskingMessage`."""

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return named_classify_signature(self._signature_name, signatures, self._check_method)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """Raises ServingError (INVALID_ARGUMENT) where the outputs are no labels and scores of these examples."""
        examples, classes, labels, scores = classification(signature, outputs, self._count)
        count = examples * classes
        texts = [label.decode("utf-8", "replace") for label in labels] if labels is not None else [""] * count
        numbers = scores.tolist() if scores is not None else [0.0] * count
        pairs = list(zip(texts, numbers, strict=True))
        rows = [pairs[at : at + classes] for at in range(0, count, classes)] if classes else [()] * examples
        return self._answer(servable, signature, "rows", rows)


class RegressBody(_ExampleBody):
    """A `frontend.inference_request.AskingMessage`."""

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return named_regress_signature(self._signature_name, signatures, self._check_method)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """Raises ServingError (INVALID_ARGUMENT) where the output is not one number for each of these examples."""
        return self._answer(servable, signature, "values", regression(outputs, self._count).tolist())


def _examples(fields: Mapping[str, Any], most_bytes: int) -> list[bytes]:
    """Each with the context."""
    sent, context = fields.get("examples"), fields.get("context")
    if not isinstance(sent, list) or not all(isinstance(example, bytes | memoryview) for example in sent):
        raise invalid("The message has bad fields: examples; expected an array of serialised tf.Examples (bin)")
    if context is not None and not isinstance(context, bytes | memoryview):
        raise invalid("The message has bad fields: context; expected a serialised tf.Example (bin)")
    if not sent:
        raise invalid("Input is empty.")
    if len(sent) > _MOST_EXAMPLES or len(sent) * STRING_BYTES > most_bytes:
        text = f"{len(sent)} examples take {len(sent) * STRING_BYTES} bytes, more than the limit of {most_bytes}"
        raise ServingError(Code.RESOURCE_EXHAUSTED, text)
    return with_context(bytes(context or b""), [bytes(example) for example in sent], most_bytes)

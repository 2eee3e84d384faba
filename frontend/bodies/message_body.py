"""MessagePack bodies: the same messages that other protocols carry, whole in one body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from frontend.bodies.asked import Asked
from frontend.bodies.body_options import BodyOptions
from frontend.bodies.tensor_body import TensorAnswer, TensorBody, chosen
from frontend.bodies.tensor_message import NamedOutput, TensorRequest, answer_parts
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.servable import ServableId
from ringserve.signature import Signature

MSGPACK: Final = "application/x-msgpack"


class MessageBody(TensorBody):
    """A request's message."""

    def __init__(self, request: TensorRequest, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        super().__init__(asked, answer, options)
        self._sent = request.inputs

    def sent(self, signature: Signature) -> Mapping[str, Tensor]:
        return self._sent

    def forget(self) -> None:
        self._sent = {}


class MessageAnswer:
    """An answer's message. Implements `TensorAnswer`."""

    def __init__(self, outputs: Sequence[str], identifier: Any = None) -> None:
        """`identifier`: the request's "id", which is given back."""
        self._outputs = outputs
        self._identifier = identifier

    def check(self, signature: Signature) -> None:
        chosen(self._outputs, signature)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        named = [NamedOutput(signature.outputs[index].alias, outputs[index]) for index in chosen(self._outputs, signature)]
        return Answer(b"".join(answer_parts(self._identifier, servable, signature, named)), MSGPACK)

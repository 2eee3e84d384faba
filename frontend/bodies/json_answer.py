"""The answer to a binary request as JSON, where the client asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from frontend.bodies.tensor_body import chosen
from frontend.request_body import Answer
from frontend.rest.predict_answer import encode_answer
from frontend.tensors import Tensor
from ringserve.servable import ServableId
from ringserve.signature import Signature


class JsonAnswer:
    """Outputs in upstream's columnar format. Implements `TensorAnswer`."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = outputs

    def check(self, signature: Signature) -> None:
        chosen(self._outputs, signature)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        indices = chosen(self._outputs, signature)
        specs = [signature.outputs[index] for index in indices]
        return Answer(encode_answer(specs, [outputs[index] for index in indices], False))

"""The body of a request that is of a pattern: what was checked for one of them holds for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from frontend.bodies.body_options import BodyOptions
from frontend.request_body import Answer
from frontend.tensors import Tensor
from frontend.zmq.bodies import FramedAnswer, PredictBody
from frontend.zmq.pattern import Pattern
from ringserve.servable import ServableId
from ringserve.signature import Signature


class PatternBody:
    """A `frontend.inference_request.AskingMessage`."""

    __slots__ = ("_message", "_options", "_pattern", "_signatures", "_unchecked", "identifier", "spec")

    heavy = False

    def __init__(self, pattern: Pattern, message: bytes, options: BodyOptions) -> None:
        self.spec = pattern.spec
        self.identifier: Any = msgpack.unpackb(message[pattern.id_at], unicode_errors="surrogateescape")
        self._pattern = pattern
        self._message = message
        self._options = options
        self._unchecked: PredictBody | None = None
        self._signatures: Mapping[str, Signature] | None = None

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        """Raises ServingError as a `PredictBody` does."""
        checked = self._pattern.checked
        if checked is not None and checked[0] is signatures:
            return checked[1]
        self._signatures = signatures
        self._unchecked = PredictBody(self._pattern.request_of(self._message), self._options)
        return self._unchecked.signature(signatures)

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Raises ServingError as a `PredictBody` does."""
        pattern, unchecked = self._pattern, self._unchecked
        if unchecked is not None:
            tensors = unchecked.inputs(signature)
            if len(tensors) == 1 and self._signatures is not None:  # otherwise there are default values besides
                pattern.checked = (self._signatures, signature)
            return tensors
        array = np.frombuffer(self._message, pattern.dtype.numpy, offset=pattern.numbers_at).reshape(pattern.input_shape)
        self._message = b""
        return (Tensor(pattern.dtype, pattern.input_shape, array),)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        return FramedAnswer(self.identifier, self._pattern.request.outputs).encode(servable, signature, outputs)

"""What all binary bodies have in common: from named tensors to a signature's inputs, and an answer in their own kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from frontend.bodies.arrays import tensor_of
from frontend.bodies.asked import Asked
from frontend.bodies.body_options import BodyOptions
from frontend.catalog import ModelSpec
from frontend.endpoint import TooLargeError
from frontend.request_body import Answer, AnswerFormat, RequestBody
from frontend.tensors import Tensor
from ringserve.default_value import DefaultValue
from ringserve.errors import Code, ServingError
from ringserve.predict_checks import (
    check_all_used,
    check_dtypes,
    check_method_name,
    check_output_filter,
    in_order,
    rest_signature,
)
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import DType


class TensorAnswer(AnswerFormat, Protocol):
    """Writes some or all of the outputs."""

    def check(self, signature: Signature) -> None:
        """Raises ServingError where this signature's outputs can't be written so, before anything is run."""


class AskingBody(RequestBody, Protocol):
    """A body that may say more about the request than its URL does.

    `spec`: the version to resolve; `timeout` in ns, and `low`, whether it is of low priority: None where the body
    does not say. `inputs` may be called only once: whatever they don't need of the body is let go then.
    """

    spec: ModelSpec
    timeout: int | None
    low: bool | None


class Unread(Protocol):
    """A tensor of a body whose elements were not looked at."""

    @property
    def dtype(self) -> DType: ...

    def tensor(self, most_bytes: int) -> Tensor:
        """`most_bytes`: of strings on their way to a worker. Raises ServingError."""


class TensorBody:
    """Implements `AskingBody`; the subclasses parse, and know what was sent."""

    heavy = False

    def __init__(self, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        self.spec = asked.spec
        self.timeout = asked.timeout
        self.low = asked.low
        self._asked = asked
        self._answer = answer
        self._check_method = options.check_method
        self._most_bytes = options.most_bytes

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        """Raises ServingError with the text that upstream's REST API has for it."""
        signature = rest_signature(self._asked.signature, signatures)
        if self._check_method:
            check_method_name(signature)
        return signature

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """Once. Raises ServingError with the texts that upstream's gRPC API has: neither converts between types."""
        sent = self._in_order(signature)
        check_output_filter(self._asked.outputs, signature)
        check_dtypes([tensor.dtype.number for tensor in sent], signature)
        self._answer.check(signature)
        tensors = [tensor if isinstance(tensor, Tensor) else tensor.tensor(self._most_bytes) for tensor in sent]
        self.forget()
        return tensors

    def _in_order(self, signature: Signature) -> Sequence[Tensor | Unread]:
        sent = self.sent(signature)
        found = [self._default(each) if isinstance(each, DefaultValue) else each for each in in_order(sent, signature)]
        if signature.defaults:
            check_all_used(sent, signature)
        return found

    def _default(self, value: DefaultValue) -> Tensor:
        try:
            return tensor_of(value.decode(self._most_bytes))
        except ServingError as error:
            if error.code is Code.RESOURCE_EXHAUSTED:
                raise TooLargeError(error.code, error.message) from error
            raise

    def sent(self, signature: Signature) -> Mapping[str, Tensor | Unread]:
        """The tensors by alias. Raises ServingError."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go what was sent: the request may wait long for its answer."""
        raise NotImplementedError

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        return self._answer.encode(servable, signature, outputs)


def one_input(signature: Signature, kind: str) -> str:
    """The alias of the only input. Raises ServingError where there are more or none; `kind`: the body's content type."""
    if len(signature.inputs) != 1:
        aliases = ", ".join(spec.alias for spec in signature.inputs)
        text = (
            f'A body of {kind} is one array, but signature "{signature.name}" has {len(signature.inputs)} inputs '
            f"({aliases}): expected application/x-npz or application/x-msgpack"
        )
        raise ServingError(Code.INVALID_ARGUMENT, text)
    return signature.inputs[0].alias


def one_output(names: Sequence[str], signature: Signature, kind: str) -> int:
    """Where the output is that is asked for, if it is one. Raises ServingError otherwise."""
    if len(names) == 1 or (not names and len(signature.outputs) == 1):
        return check_output_filter(names, signature)[0] if names else 0
    aliases = ", ".join(names or [spec.alias for spec in signature.outputs])
    text = (
        f"An answer of {kind} is one array, not {len(names) or len(signature.outputs)} outputs ({aliases}): name one "
        "with X-Ringserve-Outputs, or ask for application/x-npz or application/x-msgpack with Accept"
    )
    raise ServingError(Code.INVALID_ARGUMENT, text)


def chosen(names: Sequence[str], signature: Signature) -> Sequence[int]:
    """Where the outputs are that are asked for: all, where none is named. Raises ServingError."""
    return check_output_filter(names, signature) if names else range(len(signature.outputs))

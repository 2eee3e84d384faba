"""What every kind of request body comes to: a signature, input tensors, and the form of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from frontend.tensors import Tensor
from ringserve.servable import ServableId
from ringserve.signature import Signature

JSON: str = "application/json"


class Answer(NamedTuple):
    """A body to send. `headers`: names and values besides the content's type and length; `frames`: what follows the body
    in protocols whose messages have several parts.
    """

    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    frames: Sequence[bytes] = ()


class AnswerFormat(Protocol):
    """Writes outputs to a body."""

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        """`outputs`: one for each of the signature's, in its order; arrays may be views of a lane, valid during the call.

        Raises ServingError where this format can't carry them.
        """


class RequestBody(AnswerFormat, Protocol):
    """A body that was read. It answers in its own kind where the client asks for no other.

    `heavy`: `inputs` takes more than a few ms, for reasons that its length does not tell. It may be called in any thread.
    """

    @property
    def heavy(self) -> bool: ...

    def signature(self, signatures: Mapping[str, Signature]) -> Signature:
        """The signature that is asked for, of those that the version has. Raises ServingError."""

    def inputs(self, signature: Signature) -> Sequence[Tensor]:
        """One tensor for each of the signature's inputs, in its order; views of the body where that saves a copy.

        Raises ServingError.
        """

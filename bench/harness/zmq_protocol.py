"""ZeroMQ, as requests are prepared for it."""

from __future__ import annotations

from typing import Any, Final

from bench.harness.payload import Inputs
from bench.harness.target import PreparationError, Target
from bench.harness.zmq_messages import NO_ID, around_id
from bench.harness.zmq_transport import CONNECT_SECONDS, Dealer
from ringserve.client.operations import Predict
from ringserve.client.tensor_message import error_of, predict_message, read_answer
from ringserve.errors import ServingError
from ringserve.signature import Signature

_INLINE_BELOW: Final = 64 << 10  # bytes; larger tensors are frames


class ZmqProtocol:
    """A `protocols.Protocol`. Requests and answers are a header and its frames, with an id of zeros."""

    def takes_bodies(self, target: Target) -> bool:
        return False

    def body(self, target: Target, body: bytes) -> tuple[bytes, ...]:
        raise PreparationError("ZeroMQ messages are no JSON")

    def request(self, target: Target, inputs: Inputs, signature: Signature) -> tuple[bytes, ...]:
        operation = Predict(target.which, target.signature, inputs)
        try:
            parts = predict_message(operation, NO_ID, None, _INLINE_BELOW)
        except ServingError as error:
            raise PreparationError(error.message) from error
        return tuple(bytes(part) for part in parts)

    def about(self, target: Target) -> dict[str, Any]:
        return {}

    def ask(self, target: Target, parts: tuple[bytes, ...], seconds: float) -> tuple[bytes, ...]:
        try:
            dealer = Dealer(target.url, min(seconds, CONNECT_SECONDS))
        except OSError as error:
            raise PreparationError(f"{target.url}: {error}") from error
        try:
            dealer.send(parts[0], list(parts[1:]))
            answer = dealer.receive_all(seconds)
        finally:
            dealer.close()
        if answer is None:
            raise PreparationError(f"{target.url} gave no answer in {seconds:g} s")
        try:
            fields = read_answer(answer[0], answer[1:])
            failure = error_of(fields) if isinstance(fields, dict) else None
            around_id(answer[0])
        except (ServingError, ValueError) as error:
            raise PreparationError(f"{target.url} answered what is no answer: {error}") from error
        if failure is not None:
            raise PreparationError(f"{target.url} answered {failure}")
        return tuple(answer)

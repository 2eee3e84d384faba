"""Local clients, as requests are prepared for them: asked by the client library, whose answers are what counts as right."""

from __future__ import annotations

from typing import Any

from bench.harness.payload import Inputs
from bench.harness.target import PreparationError, Target
from bench.harness.tensor_bytes import tensor_bytes, tensors_of
from ringserve.client import Client
from ringserve.client.tensors import array_of, tensor_of
from ringserve.errors import ServingError
from ringserve.signature import Signature


class ShmProtocol:
    """A `protocols.Protocol`. Requests and answers are their tensors, as in `tensor_bytes`."""

    def takes_bodies(self, target: Target) -> bool:
        return False

    def body(self, target: Target, body: bytes) -> tuple[bytes, ...]:
        raise PreparationError("local clients send no JSON")

    def request(self, target: Target, inputs: Inputs, signature: Signature) -> tuple[bytes, ...]:
        try:
            return (tensor_bytes(inputs),)
        except ServingError as error:
            raise PreparationError(error.message) from error

    def about(self, target: Target) -> dict[str, Any]:
        return {}

    def ask(self, target: Target, parts: tuple[bytes, ...], seconds: float) -> tuple[bytes, ...]:
        inputs = {alias: array_of(dtype, shape, values) for alias, (dtype, shape, values) in tensors_of(parts[0]).items()}
        model, version, label = target.which
        try:
            with Client(target.url, timeout=seconds) as client:
                answer = client.predict(model, inputs, version=version, label=label, signature=target.signature)
                return (tensor_bytes({alias: tensor_of(array) for alias, array in answer.items()}),)
        except ServingError as error:
            raise PreparationError(f"{target.url} answered {error}") from error

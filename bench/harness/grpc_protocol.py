"""gRPC, as requests are prepared for it: asked by grpcio, whose answers are what those of the load are compared with."""

from __future__ import annotations

from typing import Any, Final

from bench.harness.payload import Inputs
from bench.harness.target import PreparationError, Target
from bench.harness.v2_grpc import INFER, v2_message
from ringserve.client.grpc.address import Address
from ringserve.client.grpc.channel import GrpcChannel
from ringserve.client.grpc.messages import predict_message
from ringserve.client.operations import Predict
from ringserve.errors import ServingError
from ringserve.signature import Signature

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"


class GrpcProtocol:
    """A `protocols.Protocol`. Requests and answers are one serialised message."""

    def takes_bodies(self, target: Target) -> bool:
        return False

    def body(self, target: Target, body: bytes) -> tuple[bytes, ...]:
        raise PreparationError("gRPC messages are no JSON")

    def request(self, target: Target, inputs: Inputs, signature: Signature) -> tuple[bytes, ...]:
        try:
            if target.api == "v2":
                return (v2_message(target.model, target.version, inputs),)
            return (predict_message(Predict(target.which, target.signature, inputs)),)
        except ServingError as error:
            raise PreparationError(error.message) from error

    def about(self, target: Target) -> dict[str, Any]:
        return {"method": _method(target), "connections": target.connections}

    def ask(self, target: Target, parts: tuple[bytes, ...], seconds: float) -> tuple[bytes, ...]:
        return (exchanged(target, _method(target), parts[0], seconds),)


def exchanged(target: Target, method: str, message: bytes, seconds: float) -> bytes:
    """The answer to one call, alone. Raises PreparationError, with the server's words."""
    address = Address.of(target.url)
    if address.secure:
        raise ValueError(f"{target.url!r}: the load harness speaks gRPC without TLS")
    try:
        channel = GrpcChannel(address.target, None)
        try:
            return channel.call(method, message, seconds)
        finally:
            channel.close()
    except ServingError as error:
        raise PreparationError(f"{target.url} answered {error}") from error


def _method(target: Target) -> str:
    return INFER if target.api == "v2" else PREDICT

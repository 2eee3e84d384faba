"""What preparing requests needs of a protocol: a module of each has it."""

from __future__ import annotations

import typing
from typing import Any

from bench.harness.payload import Inputs
from bench.harness.target import Target
from ringserve.signature import Signature


class Protocol(typing.Protocol):
    """All raise PreparationError."""

    def takes_bodies(self, target: Target) -> bool:
        """Can a file with JSON bodies be sent as it is?"""
        ...

    def body(self, target: Target, body: bytes) -> tuple[bytes, ...]:
        """A request's parts, of a body that is there already."""
        ...

    def request(self, target: Target, inputs: Inputs, signature: Signature) -> tuple[bytes, ...]: ...

    def about(self, target: Target) -> dict[str, Any]:
        """What its transport wants to know besides, JSON-able."""
        ...

    def ask(self, target: Target, parts: tuple[bytes, ...], seconds: float) -> tuple[bytes, ...]:
        """Send it alone: the answer, as a `Request` keeps it. Raises where it is an error."""
        ...


def protocol_of(target: Target) -> Protocol:
    """Raises ValueError for a URL of another form."""
    if target.scheme == "http":
        from bench.harness.http_protocol import HttpProtocol  # noqa: PLC0415 - each brings what only it needs

        return HttpProtocol()
    if target.api == "raw":
        raise ValueError(f"{target.url!r}: a path of a server's own goes over http://")
    if target.scheme in ("grpc", "grpc+unix"):
        from bench.harness.grpc_protocol import GrpcProtocol  # noqa: PLC0415

        return GrpcProtocol()
    if target.scheme in ("zmq", "zmq+ipc") and target.api == "tfs":
        from bench.harness.zmq_protocol import ZmqProtocol  # noqa: PLC0415

        return ZmqProtocol()
    if target.scheme == "shm" and target.api == "tfs":
        from bench.harness.shm_protocol import ShmProtocol  # noqa: PLC0415

        return ShmProtocol()
    raise ValueError(f"{target.url!r}: only http://, grpc://, zmq://, zmq+ipc:// and shm:// can be asked")

"""What a server says of the model that is to be asked: its signature."""

from __future__ import annotations

import json

from bench.harness.http_reader import BadAnswerError
from bench.harness.http_transport import exchanged
from bench.harness.target import PreparationError, Target
from bench.harness.v2_http import v2_path, v2_signature
from ringserve.client import Client
from ringserve.client.http.address import HttpAddress
from ringserve.client.known_signatures import named_signature
from ringserve.errors import ServingError
from ringserve.signature import Signature


def signature_of(target: Target, seconds: float) -> Signature:
    """Raises PreparationError, with the server's words."""
    if target.api == "v2":
        return _v2_http(target, seconds) if target.scheme == "http" else _v2_grpc(target, seconds)
    try:
        with Client(target.url, timeout=seconds) as client:
            metadata = client.metadata(target.model, version=target.version, label=target.label)
            return named_signature(metadata, target.signature)
    except (ServingError, ValueError) as error:
        raise PreparationError(f"{target.url}: what {target.model!r} takes is not known: {error}") from error


def _v2_grpc(target: Target, seconds: float) -> Signature:
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - only these need it

    from bench.harness.grpc_protocol import exchanged as call  # noqa: PLC0415
    from bench.harness.v2_grpc import METADATA, v2_metadata_request, v2_metadata_signature  # noqa: PLC0415

    answer = call(target, METADATA, v2_metadata_request(target.model, target.version), seconds)
    try:
        return v2_metadata_signature(answer)
    except (DecodeError, ValueError) as error:
        raise PreparationError(f"{target.url}: the metadata of {target.model!r} can't be read: {error}") from error


def _v2_http(target: Target, seconds: float) -> Signature:
    address = HttpAddress.of(target.url)
    path = f"{address.prefix}{v2_path(target.model, target.version)}"
    message = f"GET {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n\r\n".encode()
    try:
        answer = exchanged(target.url, message, seconds)
        if answer.head.status != 200:
            raise PreparationError(f"{target.url}{path}: {answer.head.status} {answer.body[:500].decode(errors='replace')}")
        return v2_signature(json.loads(answer.body))
    except (OSError, BadAnswerError, ValueError) as error:
        raise PreparationError(f"{target.url}{path}: {error}") from error

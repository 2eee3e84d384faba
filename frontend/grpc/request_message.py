"""A request's bytes as the message that they should be."""

from __future__ import annotations

from typing import Any, Final

from ringserve.errors import Code, ServingError

#: Of requests that only name what they want: parsing takes many times the room, and the event loop's time.
SMALL_BYTES: Final = 1 << 20


def request_message(kind: Any, request: bytes, most_bytes: int = SMALL_BYTES) -> Any:
    """A message of the generated class `kind`.

    Raises ServingError: RESOURCE_EXHAUSTED beyond `most_bytes`, in gRPC's words, and INVALID_ARGUMENT for bytes that are
    no such message.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - `kind` has imported it

    if len(request) > most_bytes:
        text = f"Received message larger than max ({len(request)} vs. {most_bytes})"
        raise ServingError(Code.RESOURCE_EXHAUSTED, text)
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"The request is no {kind.DESCRIPTOR.name}: {error}") from error

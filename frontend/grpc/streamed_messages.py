"""The messages of ringserve/streaming.proto on the wire: requests out of theirs, results into theirs.

A request's own bytes are left to whoever reads it, and a result's are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from frontend.grpc.status_text import truncated
from ringserve.errors import Code, ServingError
from ringserve.protobuf_wire import BYTES, VARINT, Buffer, Span, WireError, fields, span
from ringserve.protobuf_wire import varint as varint_at
from ringserve.tensor_proto_writer import varint

_TAG: Final = b"\x0a"  # of a field 1 with a length
_REQUEST: Final = 0x0A
_TIMEOUT: Final = 0x10
_CODE: Final = b"\x10"
_MESSAGE: Final = b"\x1a"
_32_BITS: Final = 0xFFFF_FFFF
_MILLISECOND: Final = 1_000_000
_COPIED: Final = 16 << 10  # bytes of a request, up to which a copy is quicker read than a view


def requests_in(message: bytes) -> Iterator[Span | None]:
    """Where the StreamedRequests of a message lie. They are looked for one by one: of a message that goes wrong somewhere,
    those before are found. None for each field that is something else: whoever looks may want a rest.

    Raises ServingError (INVALID_ARGUMENT) where it comes to bytes that are no StreamedRequests, or to a group: no client
    writes them, and it takes long to get past a large one.
    """
    try:
        for number, kind, start, stop in fields(message, 0, len(message), depth=0):
            yield (start, stop) if number == 1 and kind == BYTES else None
    except WireError as error:
        text = f"The message can't be parsed: {error}; expected a serialised ringserve.StreamedRequests"
        raise ServingError(Code.INVALID_ARGUMENT, text) from None


def plain_request_at(message: bytes, start: int, stop: int) -> tuple[Buffer, int] | None:
    """As `request_at`, and at once, of a StreamedRequest as clients write it: its request, then perhaps its timeout. None of
    others.
    """
    if start >= stop or message[start] != _REQUEST:
        return None
    value = 0
    try:
        begin, end = span(message, start + 1, stop)
        if end < stop:
            if message[end] != _TIMEOUT:
                return None
            value, at = varint_at(message, end + 1, stop)
            if at < stop:
                return None
    except WireError:
        return None
    return _piece(message, begin, end), (value & _32_BITS) * _MILLISECOND


def request_at(message: bytes, start: int, stop: int) -> tuple[Buffer, int]:
    """A StreamedRequest's PredictRequest, as it was serialised, and its timeout in ns, 0: none. A large one is a view.

    This takes the longer, the more fields there are. Raises ServingError (INVALID_ARGUMENT).
    """
    request: Buffer = b""
    joined: bytearray | None = None
    timeout = 0
    try:
        for number, kind, begin, end in fields(message, start, stop):
            if number == 1 and kind == BYTES:
                if not request:
                    request = _piece(message, begin, end)
                    continue
                if joined is None:  # a message in pieces is the pieces joined
                    joined = bytearray(request)
                joined += _piece(message, begin, end)
            elif number == 2 and kind == VARINT:
                timeout = (begin & _32_BITS) * _MILLISECOND
    except WireError as error:
        text = f"The request can't be parsed: {error}; expected a serialised ringserve.StreamedRequest"
        raise ServingError(Code.INVALID_ARGUMENT, text) from None
    return request if joined is None else bytes(joined), timeout


def _piece(message: bytes, begin: int, end: int) -> Buffer:
    return message[begin:end] if end - begin <= _COPIED else memoryview(message)[begin:end]


@lru_cache(4096)  # answers of one model have few lengths
def result_head(length: int) -> bytes:
    """What stands in a StreamedResults before a PredictResponse of so many bytes."""
    head = _TAG + varint(length)
    return b"".join((_TAG, varint(len(head) + length), head))


def failed_result(error: ServingError) -> bytes:
    """The result, in a StreamedResults, of a request that ended in an error."""
    text = truncated(error.message)
    result = b"".join((_CODE, varint(int(error.code)), _MESSAGE, varint(len(text)), text))
    return b"".join((_TAG, varint(len(result)), result))

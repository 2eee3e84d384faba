"""The messages of ringserve/streaming.proto as a client writes and reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ringserve.protobuf_wire import BYTES, VARINT, Span, fields, text
from ringserve.tensor_proto_writer import varint

_REQUEST_TAG: Final = b"\x0a"  # of a StreamedRequest among others, and of the PredictRequest in it
_TIMEOUT_TAG: Final = b"\x10"
_MOST_TIMEOUT: Final = (1 << 32) - 1


class Result(NamedTuple):
    """A StreamedResult: where its response lies in the message, a google.rpc.Code, and its text."""

    response: Span
    code: int
    message: str


def streamed_request(request: bytes, timeout_ms: int) -> tuple[bytes, ...]:
    """The parts of one as a field of StreamedRequests. `timeout_ms`: from 1 on, 0 for none."""
    timeout = _TIMEOUT_TAG + varint(min(timeout_ms, _MOST_TIMEOUT)) if timeout_ms else b""
    length = varint(len(request))
    size = varint(1 + len(length) + len(request) + len(timeout))
    return _REQUEST_TAG, size, _REQUEST_TAG, length, request, timeout


def results(message: bytes) -> Iterable[Result]:
    """Of a StreamedResults, in order. Raises WireError."""
    for number, wire, start, stop in fields(message, 0, len(message)):
        if number == 1 and wire == BYTES:
            yield _result(message, start, stop)


def _result(message: bytes, start: int, stop: int) -> Result:
    response = stop, stop
    code, words = 0, ""
    for number, wire, begin, end in fields(message, start, stop):
        if number == 1 and wire == BYTES:
            response = begin, end
        elif number == 2 and wire == VARINT:
            code = begin
        elif number == 3 and wire == BYTES:
            words = text(message, begin, end)
    return Result(response, code, words)

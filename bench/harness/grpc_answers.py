"""gRPC answers: is a message the right one, and what is a call called that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.harness.answers import TOLERANCE, Expected
from bench.harness.http2_connection import Ended
from bench.harness.http_answers import predict_outputs
from bench.harness.request_set import Request, RequestSet
from bench.harness.transport import RIGHT, WRONG
from bench.harness.v2_grpc import v2_message_outputs
from ringserve.errors import Code

_PREFIX: Final = 5  # of a message: is it compressed, its length
_REASONS: Final = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}  # as gRPC says
_CODES: Final = {int(code): code.name for code in Code}


class GrpcAnswer:
    """What one request is answered with."""

    __slots__ = ("_expected", "_framed")

    def __init__(self, request: Request, requests: RequestSet) -> None:
        (message,) = request.answer
        self._framed = b"\0" + len(message).to_bytes(4, "big") + message
        decode: Callable[[bytes], Any] = v2_message_outputs if requests.api == "v2" else predict_outputs
        tolerance = requests.about.get("tolerance", TOLERANCE)
        self._expected: Expected[bytes] = Expected(message, message, decode, tolerance)

    def kind(self, ended: Ended) -> str:
        """Of the failure, or RIGHT."""
        status, framed = ended.status, ended.message
        if status == 0 and framed == self._framed:
            return RIGHT
        if status is None:
            return _REASONS.get(ended.reason, "INTERNAL") if ended.reason else WRONG
        if status:
            return _CODES.get(status, "UNKNOWN")
        is_whole = framed[:1] == b"\0" and int.from_bytes(framed[1:_PREFIX], "big") == len(framed) - _PREFIX
        message = framed[_PREFIX:]
        return RIGHT if is_whole and self._expected.is_right(message, message) else WRONG

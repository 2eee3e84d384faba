"""What is answered to an HTTP request, and what becomes of errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

import orjson

from ringserve.errors import Code, ServingError

JSON: Final = "application/json"
HTML: Final = "text/html"
_STATUS: Final = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
_RETRY: Final = (("Retry-After", "1"),)
_RETRIED: Final = (429, 503)  # the server is busy, or not ready yet: the same request may do in a second


#: Of an error: the canonical code, several of which share a status.
CODE: Final = "X-Ringserve-Code"


class Reply(NamedTuple):
    """`closes`: the connection is not used again. `content_type` "": the reply has none."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False


class TooLargeBodyError(ServingError):
    """A body over the limit."""

    def __init__(self, most_bytes: int) -> None:
        text = f"The request's body is larger than {most_bytes} bytes, the limit set by --max_request_bytes"
        super().__init__(Code.RESOURCE_EXHAUSTED, text)


class SlowBodyError(ServingError):
    """A body whose next piece did not come in time."""

    def __init__(self, seconds: float) -> None:
        text = f"The request's body is incomplete, and nothing more of it came for {seconds:.0f} s"
        super().__init__(Code.DEADLINE_EXCEEDED, text)


def status_of(code: Code) -> int:
    """HTTP's status for a canonical code, as upstream maps them."""
    return _STATUS.get(code, 500)


def error_reply(error: ServingError, status: int | None = None) -> Reply:
    """Upstream's error body; `status` where HTTP has a better one than the code's."""
    status = status or status_of(error.code)
    body = b'{\n    "error": %s\n}' % orjson.dumps(_utf8(error.message))
    code = (CODE, error.code.name)
    return Reply(body, status, headers=(code, *_RETRY) if status in _RETRIED else (code,))


def _utf8(text: str) -> str:
    """Text that JSON can carry: lone surrogates, from a client's escapes, replaced."""
    return text.encode("utf-8", "replace").decode()


def page(status: HTTPStatus) -> Reply:
    """The HTML page that upstream's HTTP layer answers with where no handler is reached."""
    text = (
        f"<HTML><HEAD>\n<TITLE>{status.value} {status.phrase}</TITLE>\n</HEAD><BODY>\n"
        f"<H1>{status.phrase}</H1>\n</BODY></HTML>\n"
    )
    return Reply(text.encode(), status.value, HTML, closes=True)

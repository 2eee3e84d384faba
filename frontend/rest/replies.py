"""HTTP answers, and what becomes of errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

from frontend.rest.quick_reply import QuickReply, is_quick
from ringserve.errors import Code, ServingError

JSON: Final = "application/json"
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


def reply(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """200 with a JSON body."""
    return QuickReply(body) if is_quick(request, body) else web.Response(body=body, headers=_JSON_HEADERS)


_JSON_HEADERS: Final = {"Content-Type": JSON}


def error_reply(error: ServingError, status: int | None = None) -> web.Response:
    """Upstream's error body; `status` where HTTP has a better one than the code's."""
    body = orjson.dumps({"error": _utf8(error.message)}, option=orjson.OPT_INDENT_2)
    return web.Response(body=body, status=status or _STATUS.get(error.code, 500), content_type=JSON)


def _utf8(text: str) -> str:
    """Text that JSON can carry: lone surrogates, from a client's escapes, replaced."""
    return text.encode("utf-8", "replace").decode()


def page(status: HTTPStatus) -> web.Response:
    """The HTML page that upstream's HTTP layer answers with where no handler is reached."""
    text = (
        f"<HTML><HEAD>\n<TITLE>{status.value} {status.phrase}</TITLE>\n</HEAD><BODY>\n"
        f"<H1>{status.phrase}</H1>\n</BODY></HTML>\n"
    )
    response = web.Response(text=text, status=status.value, content_type="text/html")
    response.force_close()
    return response

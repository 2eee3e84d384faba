"""Replies on the wire, to the byte."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import pytest

from frontend.rest.http_reply import head
from frontend.rest.reply import Reply, error_reply, page
from ringserve.errors import Code, ServingError


def lines(reply: Reply, connection: str = "") -> list[str]:
    text = head(reply, connection).decode()
    assert text.endswith("\r\n\r\n")
    return text.removesuffix("\r\n\r\n").split("\r\n")


def test_what_is_written() -> None:
    status, date, *others = lines(Reply(b"12345", headers=(("A", "b"), ("C", "d e"))))
    assert status == "HTTP/1.1 200 OK"
    assert re.fullmatch(r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    parsedate_to_datetime(date.removeprefix("Date: "))
    assert others == ["Content-Type: application/json", "Content-Length: 5", "A: b", "C: d e"]
    assert lines(Reply(content_type=""), "close")[2:] == ["Content-Length: 0", "Connection: close"]


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(200, "OK"), (404, "Not Found"), (429, "Client Error"), (499, "Client Error"), (504, "Gateway Time-out")],
)
def test_reason_phrases_are_upstream_s(status: int, phrase: str) -> None:
    assert lines(Reply(status=status))[0] == f"HTTP/1.1 {status} {phrase}"


@pytest.mark.parametrize("code", list(Code))
def test_every_error_has_a_status(code: Code) -> None:
    reply = error_reply(ServingError(code, 'a "b"\n\udc80'))
    assert lines(reply)[0].startswith(f"HTTP/1.1 {reply.status} ")
    assert reply.body == b'{\n    "error": "a \\"b\\"\\n?"\n}'
    assert ("Retry-After" in dict(reply.headers)) == (code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED))


def test_pages() -> None:
    reply = page(HTTPStatus.NOT_FOUND)
    assert (reply.status, reply.content_type, reply.closes) == (404, "text/html", True)
    assert reply.body == (b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n")


def test_a_header_that_is_no_text() -> None:
    """What a client sent comes back as it was."""
    assert b"X-Request-Id: \x80\r\n" in head(Reply(headers=(("X-Request-Id", "\udc80"),))) + b""

"""Quick replies: only where nothing but the plain four headers is called for, and then right to the byte."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11
from aiohttp.test_utils import make_mocked_request

from frontend.rest.quick_reply import QuickReply, is_quick

BODY = b'{"predictions":[2.5]}'


@pytest.mark.parametrize(
    ("method", "version", "headers", "size", "quick"),
    [
        ("POST", HttpVersion11, {}, 21, True),
        ("GET", HttpVersion11, {}, 64 << 10, True),
        ("GET", HttpVersion11, {}, (64 << 10) + 1, False),  # a copy of it would cost more than it saves
        ("HEAD", HttpVersion11, {}, 21, False),  # has no body
        ("POST", HttpVersion10, {"Connection": "keep-alive"}, 21, False),  # has to say that it stays
    ],
)
def test_which_requests_get_one(method: str, version: HttpVersion, headers: dict[str, str], size: int, quick: bool) -> None:
    request = make_mocked_request(method, "/v1/models/m", version=version, headers=headers)
    assert is_quick(request, b"x" * size) == quick


def test_what_is_written() -> None:
    head, _, body = QuickReply(BODY)._bytes.partition(b"\r\n\r\n")
    assert body == BODY
    status, *lines = head.decode().split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers.pop("Content-Length") == str(len(BODY))
    assert headers.pop("Content-Type") == "application/json"
    date = headers.pop("Date")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert parsedate_to_datetime(date).tzinfo is not None
    assert not headers

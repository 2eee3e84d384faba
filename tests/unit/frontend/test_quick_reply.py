"""Quick replies: only where nothing but the plain four headers is called for, and then right to the byte."""

from __future__ import annotations

import asyncio
import re
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web
from aiohttp.test_utils import make_mocked_request

from frontend.rest.quick_reply import QuickReply, is_quick


class Transport(asyncio.Transport):
    """As far as it is asked."""

    def __init__(self, buffered: int) -> None:
        super().__init__()
        self._buffered = buffered

    def get_write_buffer_size(self) -> int:
        return self._buffered


def request(
    method: str = "POST", version: HttpVersion = HttpVersion11, headers: dict[str, str] | None = None, buffered: int = 0
) -> web.Request:
    transport = Transport(buffered)
    return make_mocked_request(method, "/v1/models/m", version=version, headers=headers, transport=transport)


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
    assert is_quick(request(method, version, headers), b"x" * size) == quick


def test_not_for_a_client_that_does_not_read_its_answers() -> None:
    """aiohttp's own way waits until it does."""
    assert is_quick(request(buffered=64 << 10), BODY)
    assert not is_quick(request(buffered=(64 << 10) + 1), BODY)


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

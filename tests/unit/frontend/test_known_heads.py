"""Heads that are known, and where a connection's parser is: never said to be at a boundary where it is not."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frontend.rest.known_heads import Boundary, KnownHeads

PATH = "/v1/models/m:predict"


def request(body: bytes, *headers: str, method: str = "POST", path: str = PATH, version: str = "1.1") -> bytes:
    lines = (f"{method} {path} HTTP/{version}", "Host: x", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def sized(body: bytes, *headers: str, path: str = PATH) -> bytes:
    return request(body, f"Content-Length: {len(body)}", *headers, path=path)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Reception:
    """A parser that is given pieces, and what is made of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, heads: KnownHeads | None = None) -> None:
        self.heads = heads or KnownHeads()
        self.boundary = Boundary(self.heads)
        self._parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 16, max_line_size=8190, max_field_size=8190)
        self._messages: deque[Any] = deque()

    def give(self, data: bytes) -> None:
        known = len(self._messages)
        messages, _, _ = self._parser.feed_data(data)
        self._messages.extend(messages)
        self.boundary.passed(data, self._messages, known)

    def take(self) -> None:
        """Whoever answers takes a message."""
        if self._messages:
            self._messages.popleft()
            self._parser.message_consumed()


any_request = st.one_of(
    st.binary(max_size=40).map(sized),
    st.binary(max_size=40).map(lambda body: sized(body, "Content-Type: application/json")),
    st.binary(min_size=1, max_size=9).map(
        lambda body: request(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked")
    ),
    st.just(request(b"", method="GET", path="/v1/models/m")),
    st.just(request(b"")),
    st.just(b"\r\n" + sized(b"{}")),
    st.just(b"\r\n\r\n" + sized(b"[1]" * 40)),
    st.just(sized(b"\r\n\r\n")),
    st.just(sized(sized(b"[1]"))),  # a body that looks like a request
    st.just(sized(b"{}", "Expect: 100-continue")),
)


@settings(deadline=None)
@given(st.lists(any_request, min_size=1, max_size=6), st.lists(st.integers(0, 300), max_size=12), st.booleans())
@example([sized(sized(b"[1]")), sized(b"[1]")], [len(sized(sized(b"[1]"))) - len(sized(b"[1]"))], False)
@example([b"\r\n\r\n" + sized(b"[1]" * 40)], [124], False)  # as many bytes as its body, and the lines before its head
def test_said_to_be_at_a_boundary_only_there(
    loop: asyncio.AbstractEventLoop, requests: list[bytes], cuts: list[int], taken: bool
) -> None:
    """Whatever the pieces. Where each request is a piece of its own, or two, it is always known."""
    stream = b"".join(requests)
    ends = {sum(len(each) for each in requests[:count]) for count in range(len(requests) + 1)}
    reception = Reception(loop)
    places = sorted({cut for cut in cuts if 0 < cut < len(stream)} | {len(stream)})
    at = 0
    for place in places:
        reception.give(stream[at:place])
        at = place
        assert not reception.boundary.reached or at in ends
        if taken:
            reception.take()


@pytest.mark.parametrize("split", [None, 0, 1])
def test_plain_requests_are_followed(loop: asyncio.AbstractEventLoop, split: int | None) -> None:
    """Those whose body comes with the head, behind it, or partly."""
    reception = Reception(loop)
    for body in (b"[1]", b"[1, 2]", b""):
        data = sized(body)
        cut = len(data) if split is None else len(data) - len(body) + min(split, len(body))
        for piece in filter(None, (data[:cut], data[cut:])):
            reception.give(piece)
        reception.take()
        assert reception.boundary.reached
        known, end = reception.heads.find(data)
        assert known is not None
        assert (known.target.what, known.target.spec.name, known.length, data[end:]) == ("predict", "m", len(body), body)


@pytest.mark.parametrize(
    "data",
    [
        request(b"", method="GET", path="/v1/models/m"),
        sized(b"{}", path="/v1/models/m:unheard"),
        sized(b"{}", path="/other"),
        sized(b"{}", "Connection: close"),
        sized(b"{}", "Content-Encoding: gzip"),
        sized(b"{}", "Expect: 100-continue"),
        sized(b"{}", f"X-Long: {'x' * 2048}"),
        request(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        b"POST " + PATH.encode() + b" HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
        b"\r\n" + sized(b"{}"),
    ],
)
def test_only_plain_heads_are_kept(loop: asyncio.AbstractEventLoop, data: bytes) -> None:
    reception = Reception(loop)
    reception.give(data)
    assert reception.heads.find(data)[0] is None


def test_the_oldest_head_makes_room(loop: asyncio.AbstractEventLoop) -> None:
    reception = Reception(loop)
    sent = [sized(b"{}", f"X-Request-Id: {number}") for number in range(300)]
    for data in sent:
        reception.give(data)
        reception.take()
    known = [reception.heads.find(data)[0] is not None for data in sent]
    assert known == [False] * 44 + [True] * 256


def test_a_head_that_is_learned_again_makes_no_room(loop: asyncio.AbstractEventLoop) -> None:
    """As those of large bodies are, which are not held."""
    reception = Reception(loop)
    sent = [sized(b"{}", f"X-Request-Id: {number}") for number in range(256)]
    for data in [*sent, sent[-1]]:
        reception.give(data)
        reception.take()
    assert all(reception.heads.find(data)[0] is not None for data in sent)

"""HTTP answers in pieces of any size, against what they were made of."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.http_reader import BadAnswerError, HttpAnswer, HttpReader


@dataclass(frozen=True)
class Made:
    """An answer as its server meant it; `ends`: the connection's end is that of its body."""

    status: int
    body: bytes
    closes: bool
    ends: bool
    text: bytes


def _chunks(body: bytes, sizes: list[int], trailer: bytes, extension: bytes) -> bytes:
    parts = []
    at = 0
    for size in [*sizes, len(body)]:
        data = body[at : at + size]
        at += len(data)
        if data:
            parts.append(b"%x%s\r\n%s\r\n" % (len(data), extension, data))
    return b"".join([*parts, b"0\r\n", trailer, b"\r\n"])


@st.composite
def answers(draw: st.DrawFn) -> Made:
    status = draw(st.sampled_from((200, 201, 204, 304, 400, 404, 429, 500, 503)))
    framing = draw(st.sampled_from(("length", "chunks", "end")))
    body = draw(st.binary(max_size=300)) if status not in (204, 304) else b""
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.0")))
    connection = draw(st.sampled_from((b"", b"close", b"keep-alive", b"Keep-Alive")))
    reason = draw(st.sampled_from((b" OK", b" ", b"", b" Not Found")))
    name = draw(st.sampled_from((b"Content-Length", b"content-length", b"CONTENT-LENGTH")))
    lines = [b"HTTP/%s %d%s" % (version, status, reason), b"Date: Mon, 23 Nov 2026 17:44:58 GMT"]
    if connection:
        lines.append(b"Connection: " + connection)
    content = body
    if framing == "length":
        lines.append(b"%s: %d" % (name, len(body)))
    elif framing == "chunks" and status not in (204, 304):
        lines.append(b"Transfer-Encoding: chunked")
        sizes = draw(st.lists(st.integers(1, 40), max_size=8))
        trailer = draw(st.sampled_from((b"", b"X-Sum: 1\r\n")))
        content = _chunks(body, sizes, trailer, draw(st.sampled_from((b"", b";name=value"))))
    bodiless = status in (204, 304)
    ends = framing == "end" and not bodiless
    closes = ends or connection == b"close" or (version == b"1.0" and connection.lower() != b"keep-alive")
    before = draw(st.sampled_from((b"", b"HTTP/1.1 100 Continue\r\n\r\n")))
    return Made(status, body, closes, ends, before + b"\r\n".join(lines) + b"\r\n\r\n" + content)


def pieces(text: bytes, sizes: list[int]) -> list[bytes]:
    found = []
    at = 0
    for size in [*sizes, len(text)]:
        found.append(text[at : at + size])
        at += size
    return [piece for piece in found if piece]


def read(reader: HttpReader, made: Made, sizes: list[int]) -> HttpAnswer:
    """Fails where the answer is whole before its last piece, or not with it."""
    *first, last = pieces(made.text, sizes)
    for piece in first:
        assert reader.feed(piece) is None
    answer = reader.feed(last)
    if made.ends:
        assert answer is None
        answer = reader.end()
    assert answer is not None
    return answer


@given(st.lists(st.tuples(answers(), st.lists(st.integers(1, 60), max_size=12)), min_size=1, max_size=3))
def test_answers_are_read_whatever_their_pieces(several: list[tuple[Made, list[int]]]) -> None:
    reader = HttpReader()
    for made, sizes in several:
        answer = read(reader, made, sizes)
        assert (answer.head.status, answer.body, answer.head.closes) == (made.status, made.body, made.closes)
        assert answer.head.field(b"date") == b"Mon, 23 Nov 2026 17:44:58 GMT"
        assert answer.head.field(b"x-none") == b""


@given(answers(), st.integers(0, 500))
def test_the_end_of_a_connection_is_no_answer(made: Made, cut: int) -> None:
    """But where the body has no other end."""
    begun = made.text[: min(cut, len(made.text) - 1)]
    reader = HttpReader()
    early = reader.feed(begun) if begun else None
    assert early is None
    if not made.ends:
        assert reader.end() is None


@given(answers(), st.binary(min_size=1, max_size=20))
def test_more_than_one_answer_is_refused(made: Made, more: bytes) -> None:
    if not made.ends:
        with pytest.raises(BadAnswerError, match="more than one"):
            HttpReader().feed(made.text + more)


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=5))
def test_anything_else_is_waited_for_or_refused(text: bytes, sizes: list[int]) -> None:
    reader = HttpReader()
    try:
        for piece in pieces(text, sizes):
            if reader.feed(piece) is not None:
                assert text.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
                return
    except BadAnswerError:
        return


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "two lengths"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "no size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n", "no size"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", "a chunk of"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "longer than it says"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nab\r\n", "no end of a line"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, "head without an end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 20_000, "trailers without an end"),
    ],
)
def test_what_no_server_should_say(text: bytes, why: str) -> None:
    with pytest.raises(BadAnswerError, match=why):
        HttpReader().feed(text)

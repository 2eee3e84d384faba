"""The stream's messages on the wire: read as protobuf reads them, and written so that it can."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from played_stream import Request, Requests, Results, message, request

from frontend.grpc.status_text import truncated
from frontend.grpc.streamed_messages import failed_result, plain_request_at, request_at, requests_in, result_head
from ringserve.errors import Code, ServingError
from ringserve.protobuf_wire import WireError, fields
from ringserve.streaming_messages import message_class

PIECES = [
    b"\x0a",
    b"\x12",
    b"\x10",
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x05",
    b"\x80",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
]
PIECES += [b"\x0b", b"\x0c", b"\x0d", b"\x09", b"\x08", message(request(1)), message(request(1, timeout_in_ms=7))]
PIECES += [request(1).SerializeToString(), message(request(2), request(3))]


def read(data: bytes) -> list[tuple[bytes, int]] | None:
    """What is asked for; None for what can't be parsed."""
    try:
        found = [request_at(data, *where) for where in requests_in(data) if where is not None]
        return [(bytes(body), timeout) for body, timeout in found]
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
        return None


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=8).map(b"".join))
@example(b"\x0a\x00")
@example(b"\x0a\x06\x10\xff\xff\xff\xff\x1f")
@example(b"\x0a\x08\x10\xff\xff\xff\xff\xff\xff\x01")
def test_as_protobuf_reads_it(data: bytes) -> None:
    """Where that can; what it finds wrong inside a PredictRequest is not looked at here, and groups are refused."""
    ours = read(data)
    try:
        theirs = Requests.FromString(data)
    except Exception:
        return
    if ours is None:
        with pytest.raises(WireError, match="groups"):
            list(fields(data, 0, len(data), 0))
        return
    assert len(ours) == len(theirs.requests)
    for (body, timeout), expected in zip(ours, theirs.requests, strict=True):
        again = Request(timeout_in_ms=timeout // 1_000_000)
        again.request.ParseFromString(body)
        expected.request.SetInParent()
        assert again == expected


@given(st.binary(max_size=40))
def test_bytes_that_mean_nothing(data: bytes) -> None:
    read(data)


def test_there_is_a_step_for_every_field() -> None:
    """So that whoever takes them can let others have their turn."""
    one = message(request(1))
    assert list(requests_in(b"\x10\x00" * 500 + one + b"\x15abcd")) == [*[None] * 500, (1002, 1000 + len(one)), None]


def test_a_group_is_not_walked_through() -> None:
    """It would be one step, however long it is. In a request groups are unknown fields as others are."""
    assert read(b"\x13\x14") is None
    with pytest.raises(ServingError, match="groups"):
        next(requests_in(b"\x13" + b"\x08\x00" * 100))
    one = request(1).SerializeToString() + b"\x1b\x08\x00\x1c"
    assert read(b"\x0a%c%b" % (len(one), one)) == [(request(1).request.SerializeToString(), 0)]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=4).map(b"".join))
@example(b"\x0a\x01a\x10\xff\xff\xff\xff\x1f")
@example(b"\x0a\x01a\x10\x05\x10\x06")
def test_what_is_plain_is_read_the_same(data: bytes) -> None:
    plain = plain_request_at(data, 0, len(data))
    assert plain is None or plain == request_at(data, 0, len(data))


def test_which_requests_are_plain() -> None:
    """Those that clients write, whatever is in them."""
    inner = request(1).request.SerializeToString()
    for made in (
        request(1),
        request(*range(10_000)),
        request(1, timeout_in_ms=7),
        request(*range(9999), timeout_in_ms=1 << 31),
    ):
        data = made.SerializeToString()
        plain = plain_request_at(data, 0, len(data))
        assert plain == (made.request.SerializeToString(), made.timeout_in_ms * 1_000_000)
    whole = b"\x0a%c%b" % (len(inner), inner)
    for odd in (
        b"\x10\x07" + whole,
        whole + b"\x0a\x00",
        whole + b"\x18\x00",
        whole + b"\x10\x07\x18\x00",
        whole[:-1],
        b"\x0a",
    ):
        assert plain_request_at(odd, 0, len(odd)) is None


def test_many_pieces_are_joined_once() -> None:
    """To join each to those before it would copy 32 GiB here."""
    piece = b"\x0a\x80\x20" + bytes(1 << 12)
    began = time.thread_time()
    body, _ = request_at(piece * (1 << 12), 0, len(piece) << 12)
    assert time.thread_time() - began < 1, "a limit: it takes some ms"
    assert bytes(body) == bytes(1 << 24)


def test_large_requests_are_not_copied() -> None:
    data = message(request(*range(10_000)), request(*range(10_000), timeout_in_ms=3))
    for where, expected in zip(requests_in(data), (0, 3_000_000), strict=True):
        assert where is not None
        body, timeout = request_at(data, *where)
        assert isinstance(body, memoryview) and body.obj is data
        assert timeout == expected


@pytest.mark.parametrize("length", [0, 1, 100, 119, 120, 121, 122, 123, 124, 125, 16_370, 16_375, 16_380, 1 << 21])
def test_a_result(length: int) -> None:
    expected = message_class("StreamedResult")()
    expected.response.model_spec.name = "m" * length
    response = expected.response.SerializeToString()
    assert list(Results.FromString(result_head(len(response)) + response).results) == [expected]


@given(st.sampled_from(list(Code)[1:]), st.text(max_size=1200))
def test_a_failure(code: Code, text: str) -> None:
    (result,) = Results.FromString(failed_result(ServingError(code, text))).results
    assert not result.HasField("response")
    assert (result.code, result.message.encode()) == (code, truncated(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b""),
        ("x" * 1024, b"x" * 1024),
        ("x" * 1025, b"x" * 1024 + b"...TRUNCATED"),
        ("x" + "é" * 511 + "y", b"x" + "é".encode() * 511 + b"y"),
        ("x" + "é" * 512, b"x" + "é".encode() * 511 + b"...TRUNCATED"),
        ("\ud800", b"?"),
    ],
)
def test_texts(text: str, expected: Any) -> None:
    assert truncated(text) == expected

"""HTTP/2 as the load harness speaks it: fields, frames in pieces of any size, windows; and against grpcio's own server."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from driven import LIMIT, drive
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.grpc_transport import GrpcTransport, grpc_address
from bench.harness.http2_connection import REFUSED, Ended, Http2Connection
from bench.harness.http2_fields import BadFieldsError, huffman, kept_fields, literal_fields, statuses
from bench.harness.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    MOST_STREAMS,
    PADDED,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    TABLE_SIZE,
    WINDOW,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    BadConnectionError,
    Template,
)
from bench.harness.request_set import Request, RequestSet

FIELDS = ((b":authority", b"localhost"), (b"te", b"trailers"), (b"content-type", b"application/grpc"))
METHOD = "/package.Service/Method"
OK = b"\x88\x00\x0bgrpc-status\x010"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def frames(text: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream, payload of each; whole ones only."""
    found = []
    while text:
        length = int.from_bytes(text[:3], "big")
        assert len(text) >= 9 + length
        found.append((text[3], text[4], int.from_bytes(text[5:9], "big"), text[9 : 9 + length]))
        text = text[9 + length :]
    return found


def sent(connection: Http2Connection) -> list[tuple[int, int, int, bytes]]:
    text = bytes(connection.outgoing)
    connection.outgoing.clear()
    return frames(text.removeprefix(PREFACE))


def opened() -> Http2Connection:
    connection = Http2Connection(METHOD.encode(), FIELDS)
    sent(connection)
    return connection


# Fields


def test_huffman_as_the_rfc_has_it() -> None:
    """Appendix C.4 and C.6 of RFC 7541."""
    assert huffman("302").hex() == "6402"
    assert huffman("307").hex() == "640eff"
    assert huffman("no-cache").hex() == "a8eb10649cbf"
    assert huffman("grpc-status").hex() == "9acac8b21234da8f"  # as grpc-go sends it


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (OK, (200, 0)),
        (b"\x20\x88\x40\x0bgrpc-status\x0214", (200, 14)),
        (b"\x8d", (404, None)),
        (b"\x08\x03503", (503, None)),
        (b"\x48\x82" + huffman("302"), (302, None)),
        (b"\x10\x88" + huffman("grpc-status") + b"\x01" + b"5", (None, 5)),
        (b"\x00\x88" + huffman("grpc-status") + b"\x82" + huffman("16"), (None, 16)),
        (b"\x00\x0bgrpc-status\x01x", (None, -1)),
        (b"\x0f\x10\x03abc\x00\x0cgrpc-message\x7f\x01" + b"x" * 128 + OK, (200, 0)),
        (b"", (None, None)),
    ],
)
def test_statuses(block: bytes, found: tuple[int | None, int | None]) -> None:
    assert statuses(block) == found


@pytest.mark.parametrize(
    "block", [b"\xbe", b"\x80", b"\x7e\x01a", b"\x00\x05ab", b"\x00", b"\xff\xff\xff\xff\xff\xff\xff", b"\x3f"]
)
def test_blocks_that_are_none(block: bytes) -> None:
    with pytest.raises(BadFieldsError):
        statuses(block)


@given(st.binary(max_size=60))
def test_any_block_is_read_or_refused(block: bytes) -> None:
    try:
        http, status = statuses(block)
    except BadFieldsError:
        return
    assert http is None or http >= -1
    assert status is None or status >= -1


# Connections


@given(st.lists(st.integers(1, 40), max_size=30), st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.booleans())
def test_answers_in_pieces_of_any_size(sizes: list[int], messages: list[bytes], padded: bool) -> None:
    connection = opened()
    text = frame(SETTINGS, 0, 0)
    for key, message in enumerate(messages):
        connection.call(key, Template.of(b"request"))
        stream, whole = 2 * key + 1, framed(message)
        text += frame(HEADERS, END_HEADERS | WITH_PRIORITY, stream, bytes(5) + b"\x88")
        for part in (whole[:7], whole[7:]):
            text += frame(DATA, PADDED, stream, b"\x03" + part + bytes(3)) if padded else frame(DATA, 0, stream, part)
        text += frame(HEADERS, END_STREAM, stream, OK[:4]) + frame(CONTINUATION, END_HEADERS, stream, OK[4:])
    ended: list[Ended] = []
    at = 0
    for size in [*sizes, len(text)]:
        ended += connection.feed(text[at : at + size])
        at += size
    assert ended == [Ended(key, 0, 0, framed(message)) for key, message in enumerate(messages)]
    assert connection.keys == []


def test_the_first_call_says_what_later_ones_refer_to() -> None:
    connection = opened()
    for key in range(2):
        connection.call(key, Template.of(b"ab"))
    first, data, later, _ = sent(connection)
    assert first[:3] == (HEADERS, END_HEADERS, 1)
    assert later[:3] == (HEADERS, END_HEADERS, 3)
    assert data == (DATA, END_STREAM, 1, framed(b"ab"))
    assert (first[3], later[3]) == kept_fields(METHOD.encode(), FIELDS)
    assert later[3] == b"\x83\x86\xc1\xc0\xbf\xbe"


def test_a_server_without_a_table_is_told_everything() -> None:
    connection = opened()
    assert connection.feed(frame(SETTINGS, 0, 0, struct.pack(">HI", TABLE_SIZE, 0))) == []
    assert sent(connection) == [(SETTINGS, ACK, 0, b"")]
    for key in range(2):
        connection.call(key, Template.of(b"ab"))
    blocks = [payload for kind, _, _, payload in sent(connection) if kind == HEADERS]
    literal = literal_fields(METHOD.encode(), FIELDS)
    assert blocks == [b"\x20" + literal, literal]


def test_large_requests_keep_to_the_windows() -> None:
    """Those of the connection, of the stream, and of a frame; whatever order they grow in."""
    connection = opened()
    message = bytes(range(256)) * 1000
    connection.feed(frame(SETTINGS, 0, 0, struct.pack(">HIHI", WINDOW, 100_000, FRAME_SIZE, 20_000)))
    sent(connection)
    connection.call(0, Template.of(message))
    got = sent(connection)
    parts = [payload for kind, _, _, payload in got if kind == DATA]
    assert [len(part) for part in parts] == [20_000, 20_000, 20_000, 5535]  # 65535 of the connection's
    connection.feed(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1_000_000)))
    parts += [payload for kind, _, _, payload in sent(connection)]
    assert sum(map(len, parts)) == 100_000
    connection.call(1, Template.of(b"small"))  # has windows of its own
    assert [kind for kind, *_ in sent(connection)] == [HEADERS, DATA]
    connection.feed(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 500_000)))
    rest = sent(connection)
    assert rest[-1][1] == END_STREAM
    assert b"".join(parts + [payload for _, _, _, payload in rest]) == framed(message)


def test_smaller_windows_of_streams_that_are_open() -> None:
    connection = opened()
    connection.call(0, Template.of(bytes(70_000)))
    assert sum(len(payload) for kind, _, _, payload in sent(connection) if kind == DATA) == 65535
    connection.feed(frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 10)))
    connection.feed(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 100_000)))
    assert [kind for kind, *_ in sent(connection)] == [SETTINGS]  # the stream's window is far below nothing
    connection.feed(frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 100_000)))
    assert sum(len(payload) for kind, _, _, payload in sent(connection) if kind == DATA) == 70_005 - 65535


def test_calls_beyond_the_servers_limit_wait() -> None:
    connection = opened()
    connection.feed(frame(SETTINGS, 0, 0, struct.pack(">HI", MOST_STREAMS, 1)))
    sent(connection)
    for key in range(3):
        connection.call(key, Template.of(b"a"))
    assert [stream for kind, _, stream, _ in sent(connection) if kind == HEADERS] == [1]
    assert connection.keys == [0, 1, 2]
    connection.cancel(1)
    assert [each.key for each in connection.feed(frame(HEADERS, END_STREAM | END_HEADERS, 1, OK))] == [0]
    assert [stream for kind, _, stream, _ in sent(connection) if kind == HEADERS] == [3]
    assert connection.keys == [2]


def test_calls_that_end_badly() -> None:
    connection = opened()
    for key in range(3):
        connection.call(key, Template.of(b"a"))
    assert connection.feed(frame(RST_STREAM, 0, 1, struct.pack(">I", 11))) == [Ended(0, None, 11, b"")]
    status = frame(HEADERS, END_STREAM | END_HEADERS, 3, b"\x88\x00\x0bgrpc-status\x013")
    assert connection.feed(status) == [Ended(1, 3, 0, b"")]
    assert connection.feed(frame(DATA, END_STREAM, 5, b"abc")) == [Ended(2, None, 0, b"abc")]
    assert connection.feed(frame(DATA, END_STREAM, 5, b"abc")) == []  # of nobody any more


def test_a_server_that_goes_has_not_looked_at_later_calls() -> None:
    connection = opened()
    for key in range(3):
        connection.call(key, Template.of(b"a"))
    ended = connection.feed(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)))
    assert ended == [Ended(1, None, REFUSED, b""), Ended(2, None, REFUSED, b"")]
    assert connection.is_going
    assert connection.keys == [0]


def test_pings_and_windows_are_answered() -> None:
    connection = opened()
    connection.feed(frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"12345678"))
    assert sent(connection) == [(PING, ACK, 0, b"12345678")]
    connection.call(0, Template.of(b"a"))
    sent(connection)
    piece = frame(DATA, 0, 1, bytes(1 << 20))
    updates = []
    for _ in range(1023):
        connection.feed(piece)
        updates += sent(connection)
    assert updates == []
    with pytest.raises(BadConnectionError, match="message without an end"):
        for _ in range(3):
            connection.feed(piece)


@pytest.mark.parametrize(
    "text",
    [
        frame(PUSH_PROMISE, 0, 1, bytes(4)),
        b"\xff\xff\xff" + bytes(6),
        frame(SETTINGS, 0, 0, b"abc"),
        frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 1 << 31)),
        frame(HEADERS, 0, 1, b"\x88") + frame(DATA, 0, 1),
        frame(HEADERS, 0, 1, b"\x88") + frame(CONTINUATION, 0, 1, bytes(70_000)),
        frame(CONTINUATION, END_HEADERS, 1, b"\x88"),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff"),
        frame(DATA, PADDED, 1, b"\x05a"),
        frame(DATA, PADDED, 1, b""),
        frame(RST_STREAM, 0, 1, b"a"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_what_breaks_the_rules(text: bytes) -> None:
    connection = opened()
    connection.call(0, Template.of(b"a"))
    with pytest.raises(BadConnectionError):
        connection.feed(text)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=20)), max_size=8))
def test_any_frames_are_taken_or_refused(several: list[tuple[int, int, int, bytes]]) -> None:
    connection = opened()
    for key in range(2):
        connection.call(key, Template.of(b"a"))
    try:
        ended = connection.feed(b"".join(frame(*each) for each in several))
    except BadConnectionError:
        return
    keys = [each.key for each in ended]
    assert sorted([*keys, *connection.keys]) == [0, 1]


# Against grpcio's server

Answer = Callable[[bytes, Any], bytes]


@contextmanager
def serving(answer: Answer) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)))
    handlers = {"Method": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("package.Service", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(LIMIT)


def transport_to(port: int, message: bytes, right: bytes, slots: int, connections: int = 1) -> GrpcTransport:
    about = {"method": METHOD, "connections": connections}
    return GrpcTransport(RequestSet(f"grpc://127.0.0.1:{port}", "tfs", (Request((message,), (right,)),), about), slots)


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("size", [0, 3, 16379, 16380, 70_000, 9 << 20])
def test_messages_of_any_size_there_and_back(size: int, connections: int) -> None:
    message = bytes(index % 251 for index in range(1000)) * (size // 1000) + bytes(size % 1000)
    with serving(lambda request, _: request) as port:
        transport = transport_to(port, message, message, 4, connections)
        try:
            assert drive(transport, 12, 4) == {"": 12}
        finally:
            transport.close()


def test_statuses_of_a_server() -> None:
    def answer(request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full, and a text that is “long”" * 20)
        return b""

    with serving(answer) as port:
        transport = transport_to(port, b"a", b"a", 2)
        try:
            assert drive(transport, 10, 2) == {"RESOURCE_EXHAUSTED": 10}
        finally:
            transport.close()
        transport = GrpcTransport(
            RequestSet(f"grpc://127.0.0.1:{port}", "tfs", (Request((b"",), (b"",)),), {"method": "/package.Service/No"}), 1
        )
        try:
            assert drive(transport, 2, 1) == {"UNIMPLEMENTED": 2}
        finally:
            transport.close()


def test_wrong_messages() -> None:
    with serving(lambda request, _: b"\xff\x01") as port:
        transport = transport_to(port, b"a", b"\xff\x02", 2)
        try:
            assert drive(transport, 6, 2) == {"wrong answer": 6}
        finally:
            transport.close()


def test_abandoned_calls_are_cancelled() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def answer(request: bytes, context: Any) -> bytes:
        if not begun.is_set():
            context.add_callback(cancelled.set)
            begun.set()
            cancelled.wait(LIMIT)
        return request

    with serving(answer) as port:
        transport = transport_to(port, b"a", b"a", 1)
        try:
            transport.send(0, 0)
            gives_up = time.monotonic() + LIMIT
            while not begun.is_set():
                assert list(transport.poll(0.02)) == []
                assert time.monotonic() < gives_up
            transport.abandon(0)
            assert cancelled.wait(LIMIT)
            assert drive(transport, 3, 1) == {"": 3}
        finally:
            transport.close()


def test_an_answer_that_was_read_and_not_told_is_abandoned_too() -> None:
    """Whoever polls need not look at all that there is."""
    with serving(lambda request, _: request) as port:
        transport = transport_to(port, b"a", b"a", 3)
        try:
            for _ in range(20):
                assert drive(transport, 3, 3) == {"": 3}
                for slot in range(3):
                    transport.send(slot, 0)
                told: list[int] = []
                gives_up = time.monotonic() + LIMIT
                while not told:
                    assert time.monotonic() < gives_up
                    for slot, _kind in transport.poll(0.05):
                        told.append(slot)
                        break
                for slot in {0, 1, 2} - {*told}:
                    transport.abandon(slot)
                    assert slot not in [each for each, _kind in transport.poll(0)]
        finally:
            transport.close()


def test_a_server_that_is_gone_is_told_and_not_at_once() -> None:
    with serving(lambda request, _: request) as port:
        transport = transport_to(port, b"a", b"a", 2)
        assert drive(transport, 4, 2) == {"": 4}
    try:
        began = time.monotonic()
        assert drive(transport, 8, 2) == {"connection lost": 8}
        assert time.monotonic() - began > 0.03
    finally:
        transport.close()
    with pytest.raises(ConnectionRefusedError):
        transport_to(port, b"a", b"a", 1)


def test_addresses() -> None:
    assert grpc_address("grpc://127.0.0.1:5")[1][:2] == ("127.0.0.1", 5)
    assert grpc_address("grpc://127.0.0.1")[1][:2] == ("127.0.0.1", 8500)
    assert grpc_address("grpc+unix:///tmp/x")[1] == "/tmp/x"
    for wrong in ("grpcs://h:1", "grpc://", "grpc://h:1/path", "http://h:1"):
        with pytest.raises(ValueError, match=r"grpc://host:port"):
            grpc_address(wrong)

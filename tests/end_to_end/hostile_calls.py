"""What hostile clients send to a gRPC server: bytes that break HTTP/2's rules, or keep them as wastefully as they can."""

from __future__ import annotations

import random

import numpy as np

from end_to_end.grpc_questions import PREDICT, predict_message
from end_to_end.http2_frames import (
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call_headers,
    data,
    frame,
    header,
    headers,
    settings,
)
from end_to_end.http2_frames import (
    DATA as DATA_FRAME,
)

REQUEST = predict_message("half_plus_two", x=np.array([2.0, 4.0], "f4"))
ANSWER = np.array([4.0, 5.0], "f4")
WATCH = "/grpc.health.v1.Health/Watch"


def numbered(count: int) -> range:
    return range(1, 2 * count, 2)


OPEN = PREFACE + settings()
CALL = call_headers(PREDICT.encode())
CHANCE = random.Random(5)

HOSTILE: dict[str, bytes] = {
    "noise": CHANCE.randbytes(100_000),
    "zeros": bytes(100_000),
    "http/1.1": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000,
    "half a preface": PREFACE[:12],
    "a preface alone": PREFACE,
    "noise behind the preface": OPEN + CHANCE.randbytes(100_000),
    "settings": OPEN + settings((3, 100), (4, 65535)) * 20_000,
    "settings that can't be": OPEN + settings((4, 0xFFFFFFFF), (5, 1), (2, 7)),
    "settings of a length that can't be": OPEN + frame(SETTINGS, payload=bytes(5)),
    "acknowledgements of nothing": OPEN + frame(SETTINGS, 1) * 50_000,
    "pings": OPEN + frame(PING, payload=bytes(8)) * 50_000,
    "a frame longer than allowed": OPEN + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(100_000),
    "huge headers": OPEN + b"".join(headers(n, CALL + header(b"x", b"y" * 16_000)) for n in numbered(300)),
    "headers that never end": OPEN
    + headers(1, CALL, 0)
    + b"".join(frame(CONTINUATION, 0, 1, header(b"x", b"y" * 16_000)) for _ in range(1000)),
    "empty continuations": OPEN + headers(1, CALL, 0) + frame(CONTINUATION, 0, 1) * 50_000,
    "many headers": OPEN + b"".join(headers(n, CALL + header(b"a", b"b") * 3000) for n in numbered(100)),
    "headers that are no HPACK": OPEN + headers(1, b"\xff" * 1000) + headers(3, CHANCE.randbytes(1000)),
    "a table size out of bounds": OPEN + headers(1, b"\x3f\xff\xff\xff\xff\x0f" + CALL),
    "streams without messages": OPEN + b"".join(headers(n, CALL) for n in numbered(20_000)),
    "streams without headers": OPEN + b"".join(data(n, REQUEST) for n in numbered(10_000)),
    "rapid resets": OPEN
    + b"".join(headers(n, CALL) + data(n, REQUEST) + frame(RST_STREAM, 0, n, b"\0\0\0\x08") for n in numbered(10_000)),
    "rapid resets without messages": OPEN
    + b"".join(headers(n, CALL) + frame(RST_STREAM, 0, n, b"\0\0\0\x08") for n in numbered(20_000)),
    "resets of streams of another method": OPEN
    + b"".join(
        headers(n, call_headers(b"/a.B/" + str(n).encode())) + frame(RST_STREAM, 0, n, b"\0\0\0\x08")
        for n in numbered(10_000)
    ),
    "watches that are reset": OPEN
    + b"".join(
        headers(n, call_headers(WATCH.encode())) + data(n, b"") + frame(RST_STREAM, 0, n, b"\0\0\0\x08")
        for n in numbered(10_000)
    ),
    "window updates": OPEN + frame(WINDOW_UPDATE, payload=b"\0\0\0\1") * 50_000,
    "a window that overflows": OPEN + frame(WINDOW_UPDATE, payload=b"\x7f\xff\xff\xff") * 3,
    "a window update of nothing": OPEN + frame(WINDOW_UPDATE, payload=bytes(4)),
    "priorities": OPEN + b"".join(frame(PRIORITY, 0, n, b"\0\0\0\0\x10") for n in numbered(50_000)),
    "a promise": OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + CALL),
    "padding longer than its frame": OPEN + headers(1, CALL) + frame(DATA_FRAME, PADDED, 1, b"\xff" + bytes(10)),
    "empty data": OPEN + headers(1, CALL) + frame(DATA_FRAME, 0, 1) * 50_000,
    "a message longer than it says": OPEN + headers(1, CALL) + frame(DATA_FRAME, 1, 1, b"\0\0\0\0\1" + bytes(100)),
    "a message shorter than it says": OPEN + headers(1, CALL) + frame(DATA_FRAME, 1, 1, b"\0\0\0\1\0" + bytes(100)),
    "a message that says 4 GB": OPEN + headers(1, CALL) + frame(DATA_FRAME, 0, 1, b"\0\xff\xff\xff\xff" + bytes(100)),
    "a compressed message that is not": OPEN
    + headers(1, call_headers(PREDICT.encode(), header(b"grpc-encoding", b"gzip")))
    + frame(DATA_FRAME, 1, 1, b"\1\0\0\0\x64" + bytes(100)),
    "an unknown compression": OPEN
    + headers(1, call_headers(PREDICT.encode(), header(b"grpc-encoding", b"nope")))
    + frame(DATA_FRAME, 1, 1, b"\1\0\0\0\x64" + bytes(100)),
    "a time-out that is none": OPEN
    + headers(1, call_headers(PREDICT.encode(), header(b"grpc-timeout", b"-1S")))
    + data(1, REQUEST),
    "many messages in a unary call": OPEN + headers(1, CALL) + data(1, REQUEST, 0) * 5000,
    "stream 0": OPEN + headers(0, CALL) + data(0, REQUEST),
    "even streams": OPEN + headers(2, CALL) + data(2, REQUEST),
    "streams backwards": OPEN + headers(5, CALL) + data(5, REQUEST) + headers(3, CALL) + data(3, REQUEST),
    "a farewell": OPEN + frame(GOAWAY, payload=bytes(8)) + headers(1, CALL) + data(1, REQUEST),
    "frames of unknown kinds": OPEN + b"".join(frame(kind, 255, 1, CHANCE.randbytes(50)) for kind in range(10, 256)),
    "headers twice": OPEN + (headers(1, CALL) * 1000) + data(1, REQUEST),
}

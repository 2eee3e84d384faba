"""A request's body as it comes, within limits of size and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import StreamReader, hdrs, web

from frontend.rest.body_memory import Lease
from frontend.rest.content_encoding import coding_of, damaged, inflated
from frontend.rest.reply import SlowBodyError, TooLargeBodyError

#: In which so many bytes of a body have to come, or all that are left of it. The time is upstream's limit for a single byte.
BODY_SECONDS: Final = 50.0
BODY_BYTES: Final = 64 << 10
#: Bodies up to this size are read whatever others take.
_SMALL: Final = 256 << 10


class _Pace:
    """How long the next piece may take to come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + BODY_SECONDS
        self._bytes = 0

    @property
    def seconds(self) -> float:
        return self._until - self._clock()

    def came(self, size: int) -> None:
        self._bytes += size
        if self._bytes >= BODY_BYTES:
            self._until = self._clock() + BODY_SECONDS
            self._bytes = 0


async def read_body(request: web.BaseRequest, most_bytes: int, lease: Lease, binary: bool = False) -> bytes | bytearray:
    """The whole body, inflated where it is compressed. One that announces itself as too large is refused before it is read.

    `binary`: it is not JSON, and may be any buffer. What comes is taken from `lease`, but for small bodies.

    Raises ServingError: RESOURCE_EXHAUSTED over `most_bytes`, UNAVAILABLE when other bodies take all memory that bodies may,
    DEADLINE_EXCEEDED when it does not come in time, INVALID_ARGUMENT where a binary one is not compressed as it says.
    """
    content = request.content
    length = request.content_length or 0
    if not content.is_eof():
        if length > most_bytes:
            raise TooLargeBodyError(most_bytes)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":  # curl waits for it, before large bodies
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun
    content_encoding = request.headers.get(hdrs.CONTENT_ENCODING, "")
    coding = coding_of(content_encoding) if content_encoding else None
    body: bytes | bytearray
    try:
        if binary and length and not coding:
            body = await _read_into_place(content, length, lease)
        else:
            body = await _read_pieces(content, most_bytes, lease)
    except TimeoutError:
        raise SlowBodyError(BODY_SECONDS) from None
    if not coding:
        return body
    whole = await inflated(body, coding, most_bytes, lease)
    if whole is None and binary:
        raise damaged(content_encoding)
    return whole or b""  # damaged JSON is an empty body to upstream


async def _read_pieces(content: StreamReader, most_bytes: int, lease: Lease) -> bytes:
    pieces: list[bytes] = []
    size = taken = 0
    pace = _Pace()
    while not content.at_eof():
        async with asyncio.timeout(pace.seconds):
            piece = await content.readany()
        pace.came(len(piece))
        pieces.append(piece)
        size += len(piece)
        if size > most_bytes:
            raise TooLargeBodyError(most_bytes)
        if size > _SMALL:
            lease.take(size - taken)
            taken = size
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _read_into_place(content: StreamReader, size: int, lease: Lease) -> bytearray:
    """Each piece is copied while the processor's caches still have it; memory is taken as it comes, not before."""
    body = bytearray(size)
    at = 0
    pace = _Pace()
    while not content.at_eof():
        async with asyncio.timeout(pace.seconds):
            piece = await content.readany()
        pace.came(len(piece))
        if size > _SMALL:
            lease.take(len(piece))
        body[at : at + len(piece)] = piece
        at += len(piece)
    return body

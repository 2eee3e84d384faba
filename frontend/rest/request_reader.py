"""A request's body as it comes, within limits of size and time."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import StreamReader, hdrs, web

from frontend.rest.body_memory import Lease
from frontend.rest.reply import SlowBodyError, TooLargeBodyError

#: Without a byte: upstream's limit.
BODY_SECONDS: Final = 50.0


async def read_body(request: web.BaseRequest, most_bytes: int, lease: Lease, at_once: bool = False) -> bytes | bytearray:
    """The whole body, inflated where it was compressed. One that announces itself as too large is refused before it is read.

    `at_once`: into one piece of memory from the start, where its length is known. What comes is taken from `lease`.

    Raises ServingError: RESOURCE_EXHAUSTED over `most_bytes`, UNAVAILABLE when other bodies take all memory that bodies may,
    DEADLINE_EXCEEDED when the next piece does not come.
    """
    content = request.content
    if not content.is_eof():
        if (request.content_length or 0) > most_bytes:
            raise TooLargeBodyError(most_bytes)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":  # curl waits for it, before large bodies
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun
    try:
        if at_once and request.content_length and hdrs.CONTENT_ENCODING not in request.headers:
            return await _read_into_place(content, request.content_length, lease)
        return await _read_pieces(content, most_bytes, lease)
    except web.RequestPayloadError:
        return b""  # not compressed as it says: upstream takes that for an empty body too
    except TimeoutError:
        raise SlowBodyError(BODY_SECONDS) from None


async def _read_pieces(content: StreamReader, most_bytes: int, lease: Lease) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while not content.at_eof():
        async with asyncio.timeout(BODY_SECONDS):
            piece = await content.readany()
        pieces.append(piece)
        size += len(piece)
        if size > most_bytes:
            raise TooLargeBodyError(most_bytes)
        lease.take(len(piece))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _read_into_place(content: StreamReader, size: int, lease: Lease) -> bytearray:
    """Each piece is copied while the processor's caches still have it; memory is taken as it comes, not before."""
    body = bytearray(size)
    at = 0
    while not content.at_eof():
        async with asyncio.timeout(BODY_SECONDS):
            piece = await content.readany()
        lease.take(len(piece))
        body[at : at + len(piece)] = piece
        at += len(piece)
    return body

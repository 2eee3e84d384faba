"""A request's body as it comes, within limits of size and time."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import hdrs, web

from frontend.rest.reply import SlowBodyError, TooLargeBodyError

#: Without a byte: upstream's limit.
BODY_SECONDS: Final = 50.0


async def read_body(request: web.BaseRequest, most_bytes: int) -> bytes:
    """The whole body, inflated where it was compressed. One that announces itself as too large is refused before it is read.

    Raises ServingError: RESOURCE_EXHAUSTED over `most_bytes`, DEADLINE_EXCEEDED when its next piece does not come.
    """
    content = request.content
    if not content.is_eof():
        if (request.content_length or 0) > most_bytes:
            raise TooLargeBodyError(most_bytes)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":  # curl waits for it, before large bodies
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun
    pieces: list[bytes] = []
    size = 0
    try:
        while not content.at_eof():
            async with asyncio.timeout(BODY_SECONDS):
                piece = await content.readany()
            pieces.append(piece)
            size += len(piece)
            if size > most_bytes:
                raise TooLargeBodyError(most_bytes)
    except web.RequestPayloadError:
        return b""  # not compressed as it says: upstream takes that for an empty body too
    except TimeoutError:
        raise SlowBodyError(BODY_SECONDS) from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)

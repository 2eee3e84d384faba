"""Bodies of requests that are compressed: inflated in steps, none of them long, and never beyond the limit."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Iterator
from typing import Any, Final

from frontend.rest.body_memory import Lease
from frontend.rest.reply import TooLargeBodyError
from ringserve.errors import Code, ServingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_STEP: Final = 4 << 20  # bytes of an inflated body, some 5 ms
_QUICK: Final = 4 << 10  # bytes of a compressed body, which stand for 4 MiB at most
_SLICE: Final = 64 << 10
_MOST_MEMBERS: Final = 1024
_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's word for a gzip header
_RAW: Final = -zlib.MAX_WBITS  # deflate without a header, as some clients send it


class _DamagedError(Exception):
    """The body is not what its Content-Encoding says."""


def coding_of(content_encoding: str) -> str | None:
    """What a body with this header is compressed with; None: it is taken as it is.

    Upstream looks for "gzip" anywhere in the header, and knows no other.
    """
    if "gzip" in content_encoding:
        return "gzip"
    name = content_encoding.strip().lower()
    return name if name in ("gzip", "deflate", "zstd") else None


async def inflated(body: bytes | bytearray, coding: str, most_bytes: int, lease: Lease) -> bytes | None:
    """The body itself; None where it is damaged or not complete. What it takes is taken from `lease`.

    Raises ServingError: RESOURCE_EXHAUSTED beyond `most_bytes`, UNAVAILABLE when other bodies take all memory for bodies.
    """
    pieces: list[bytes] = []
    size = 0
    steps = _members(bytes(body), coding)
    loop = asyncio.get_running_loop()
    quick = len(body) <= _QUICK
    try:
        while True:
            piece = next(steps, None) if quick else await loop.run_in_executor(None, next, steps, None)
            if piece is None:
                return b"".join(pieces)
            size += len(piece)
            if size > most_bytes:
                raise TooLargeBodyError(most_bytes)
            lease.take(len(piece))
            pieces.append(piece)
    except (_DamagedError, zlib.error, zstd.ZstdError):
        return None


def damaged(content_encoding: str) -> ServingError:
    """For bodies that are not JSON; of these upstream says that they are empty."""
    return ServingError(Code.INVALID_ARGUMENT, f"The body is damaged or incomplete: it is not {content_encoding}")


def _members(body: bytes, coding: str) -> Iterator[bytes]:
    """The pieces of all members, which follow one another in one body."""
    decompressor = None
    members = at = 0
    while at < len(body):
        if decompressor is None:
            decompressor = _decompressor(body[at : at + 2], coding)
            members += 1
            if members > _MOST_MEMBERS:
                raise _DamagedError
        slice_ = body[at : at + _SLICE]  # what is left of it behind a member's end is copied
        at += len(slice_)
        yield from _pieces(decompressor, slice_)
        if decompressor.eof:
            at -= len(decompressor.unused_data)
            decompressor = None
    if decompressor is not None:
        raise _DamagedError


def _decompressor(start: bytes, coding: str) -> Any:
    if coding == "zstd":
        return zstd.ZstdDecompressor()
    if coding == "gzip":
        return zlib.decompressobj(_GZIP)
    # A zlib header is a multiple of 31 and says method 8; hardly any raw stream begins so.
    has_header = len(start) > 1 and start[0] & 0x0F == 8 and int.from_bytes(start, "big") % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if has_header else _RAW)


def _pieces(decompressor: Any, data: bytes) -> Iterator[bytes]:
    """All that these bytes of a member stand for."""
    while not decompressor.eof:
        piece = decompressor.decompress(data, _STEP)
        data = getattr(decompressor, "unconsumed_tail", b"")  # zstd's keeps what it has not used
        if piece:
            yield piece
        if not data and len(piece) < _STEP:
            return

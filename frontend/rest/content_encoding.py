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
    while body:
        decompressor = _decompressor(body, coding)
        yield from _pieces(decompressor, body)
        body = decompressor.unused_data


def _decompressor(body: bytes, coding: str) -> Any:
    if coding == "zstd":
        return zstd.ZstdDecompressor()
    if coding == "gzip":
        return zlib.decompressobj(_GZIP)
    # A zlib header is a multiple of 31 and says method 8; hardly any raw stream begins so.
    has_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if has_header else _RAW)


def _pieces(decompressor: Any, body: bytes) -> Iterator[bytes]:
    is_zstd = not hasattr(decompressor, "unconsumed_tail")
    rest = body
    while not decompressor.eof:
        piece = decompressor.decompress(rest, _STEP)
        rest = b"" if is_zstd else decompressor.unconsumed_tail  # zstd's keeps what it has not used
        if not piece and not decompressor.eof and not rest and (not is_zstd or decompressor.needs_input):
            raise _DamagedError
        if piece:
            yield piece

"""Bodies of answers, compressed for clients that accept it."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from aiohttp import hdrs

from frontend.rest.reply import Reply

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_TEXTS: Final = ("application/json", "text/")
SMALLEST: Final = 1400  # bytes; what fits into one packet comes no sooner for being smaller
MOST_AT_ONCE: Final = 64 << 10  # bytes: about 1 ms of the loop's time
_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's word for a gzip header
_ZSTD_LEVEL: Final = 1
_GZIP_LEVEL: Final = 1  # three times as fast as the default, for a tenth more bytes
_CODINGS: Final = ("zstd", "gzip")  # in our order of preference


@lru_cache(64)
def coding(accepted: str) -> str | None:
    """The coding to use for this Accept-Encoding header; None: as it is."""
    weights: dict[str, float] = {}
    for entry in accepted.split(","):
        name, _, parameter = entry.partition(";")
        weights[name.strip().lower()] = _weight(parameter)
    named = [name for name in _CODINGS if weights.get(name, 0.0) > 0]
    if named:
        return max(named, key=weights.__getitem__)
    return "gzip" if weights.get("*", 0.0) > 0 and "gzip" not in weights else None


def wanted(reply: Reply, headers: Mapping[str, str]) -> str | None:
    """The coding in which this reply goes to a client with these headers; None: as it is.

    Tensors as bytes go as they are: they hardly get smaller, and cost the more time.
    """
    if len(reply.body) < SMALLEST or not reply.content_type.startswith(_TEXTS):
        return None
    accepted = headers.get(hdrs.ACCEPT_ENCODING)
    return coding(accepted) if accepted else None


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def compressed(reply: Reply, how: str) -> Reply:
    """The same in this coding. Some MB take tens of ms: those are not for the event loop."""
    if how == "zstd":
        body = zstd.compress(reply.body, level=_ZSTD_LEVEL)
    else:
        compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
        body = compressor.compress(reply.body) + compressor.flush()
    headers = (*reply.headers, ("Content-Encoding", how), ("Vary", "Accept-Encoding"))
    return reply._replace(body=body, headers=headers)

"""Texts of errors as they go over gRPC."""

from __future__ import annotations

from typing import Final

_MOST_BYTES: Final = 1024
_CUT: Final = b"...TRUNCATED"


def truncated(text: str) -> bytes:
    """In UTF-8: upstream cuts what has more than 1024 bytes, and says so behind them. No character is cut in two."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _MOST_BYTES:
        return encoded
    return encoded[:_MOST_BYTES].decode("utf-8", "ignore").encode() + _CUT

"""The kinds of bodies and answers, by content type."""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Final

_MOST_KEPT: Final = 512  # content types and accepted ones whose meaning is remembered


class Kind(enum.Enum):
    """What a body's bytes mean."""

    JSON = enum.auto()
    NPY = enum.auto()
    NPZ = enum.auto()
    RAW = enum.auto()
    MESSAGE = enum.auto()
    PROTOBUF = enum.auto()


_NAMES: Final = {
    "application/json": Kind.JSON,
    "application/x-npy": Kind.NPY,
    "application/x-npz": Kind.NPZ,
    "application/octet-stream": Kind.RAW,
    "application/x-msgpack": Kind.MESSAGE,
    "application/msgpack": Kind.MESSAGE,
    "application/vnd.msgpack": Kind.MESSAGE,
    "application/x-protobuf": Kind.PROTOBUF,
    "application/vnd.google.protobuf": Kind.PROTOBUF,
    "application/x-google-protobuf": Kind.PROTOBUF,
}


@lru_cache(_MOST_KEPT)
def kind_of(content_type: str) -> Kind | None:
    """None: no kind that is known here. Parameters and letter case mean nothing."""
    return _NAMES.get(content_type.partition(";")[0].strip().lower())


@lru_cache(_MOST_KEPT)
def accepted_kind(accept: str) -> Kind | None:
    """The known kind that an Accept header likes best, the first of equals; None: no preference among them.

    A wildcard that is liked better than any of them is no preference.
    """
    best, most, any_kind = None, 0.0, 0.0
    for part in accept.split(","):
        quality = _quality(part)
        kind = kind_of(part)
        if kind is not None and quality > most:
            best, most = kind, quality
        elif part.partition(";")[0].strip() in ("*/*", "application/*"):
            any_kind = max(any_kind, quality)
    return best if most >= any_kind else None


def _quality(part: str) -> float:
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return min(quality, 1.0) if quality > 0 else 0.0  # what is no number isn't above 0
    return 1.0

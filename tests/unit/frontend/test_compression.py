"""Which answers are compressed, and how."""

from __future__ import annotations

import gzip

import pytest
from backports import zstd

from frontend.rest.compression import SMALLEST, coding, compressed, wanted
from frontend.rest.reply import Reply

GZIP = {"Accept-Encoding": "gzip"}
LARGE = b'{"predictions":[' + b"0.125," * 1000 + b"1]}"


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip;q=0.8", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, zstd;q=0", None),
        ("gzip;q=0, *", None),
        ("*", "gzip"),
        ("*;q=0", None),
        ("identity", None),
        ("br, deflate", None),
        ("", None),
        (",;q=,gzip;q=x", None),
        ("gzip ; q=0.2", "gzip"),
    ],
)
def test_codings(accepted: str, expected: str | None) -> None:
    assert coding(accepted) == expected


def test_which_answers() -> None:
    assert wanted(Reply(LARGE), GZIP) == "gzip"
    assert wanted(Reply(LARGE, content_type="text/html; charset=utf-8"), GZIP) == "gzip"
    assert wanted(Reply(LARGE), {}) is None
    assert wanted(Reply(LARGE[: SMALLEST - 1]), GZIP) is None
    assert wanted(Reply(LARGE, content_type="application/x-npy"), GZIP) is None, "floats hardly get smaller"


def test_compressed() -> None:
    for how, undo in (("gzip", gzip.decompress), ("zstd", zstd.decompress)):
        reply = compressed(Reply(LARGE, 200, headers=(("X", "y"),)), how)
        assert undo(reply.body) == LARGE
        assert len(reply.body) < len(LARGE) / 4
        assert reply.headers == (("X", "y"), ("Content-Encoding", how), ("Vary", "Accept-Encoding"))

"""Compressed bodies: whole, in several members, damaged, and too large."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from frontend.rest.body_memory import BodyMemory
from frontend.rest.content_encoding import coding_of, inflated
from frontend.rest.reply import TooLargeBodyError
from ringserve.errors import Code, ServingError

Compress = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


CODINGS: list[tuple[str, Compress]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstd.compress),
]
TEXT = bytes(range(256)) * 64


def inflate(body: bytes, coding: str, most: int = 1 << 20, room: int = 1 << 30) -> bytes | None:
    memory = BodyMemory(room)
    with memory.lease() as lease:
        found = asyncio.run(inflated(body, coding, most, lease))
        assert memory.held == len(found or b"") or found is None
    assert not memory.held
    return found


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
@pytest.mark.parametrize("data", [b"", b"a", TEXT, b"x" * 1_000_000], ids=len)
def test_whole_bodies(coding: str, compress: Compress, data: bytes) -> None:
    assert inflate(compress(data), coding) == data


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
def test_several_members(coding: str, compress: Compress) -> None:
    assert inflate(compress(b"one ") + compress(TEXT) + compress(b" three"), coding) == b"one " + TEXT + b" three"


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
def test_members_without_end(coding: str, compress: Compress) -> None:
    """Each costs a decompressor, for a few bytes."""
    assert inflate(compress(b"") * 1000, coding) == b""
    assert inflate(compress(b"") * 2000, coding) is None


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
def test_incomplete_bodies(coding: str, compress: Compress) -> None:
    body = compress(TEXT)
    for end in (*range(1, 12), len(body) // 2, *range(len(body) - 9, len(body))):
        assert inflate(body[:end], coding) is None, end
    assert inflate(b"", coding) == b""


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
def test_damaged_bodies(coding: str, compress: Compress) -> None:
    assert inflate(b"no such thing", coding) is None
    body = bytearray(compress(TEXT))
    if compress is not raw_deflate:  # which has no checksum
        body[-1] ^= 1
        assert inflate(bytes(body), coding) in (None, TEXT if coding == "zstd" else None)
    assert inflate(compress(TEXT) + b"\0garbage", coding) is None


@pytest.mark.parametrize(("coding", "compress"), CODINGS)
def test_too_large(coding: str, compress: Compress) -> None:
    assert inflate(compress(b"x" * 1000), coding, most=1000) == b"x" * 1000
    with pytest.raises(TooLargeBodyError):
        inflate(compress(b"x" * 1001), coding, most=1000)
    with pytest.raises(TooLargeBodyError):
        inflate(compress(b"x" * 50_000_000), coding, most=1 << 20)
    with pytest.raises(ServingError) as caught:
        inflate(compress(b"x" * 1000), coding, room=999)
    assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("identity, gzip", "gzip"),
        ("GZIP", "gzip"),
        ("deflate", "deflate"),
        ("Zstd", "zstd"),
        ("br", None),
        ("identity", None),
        ("", None),
    ],
)
def test_codings(header: str, coding: str | None) -> None:
    assert coding_of(header) == coding

"""TF_TStrings of each of their four kinds, built byte by byte as TensorFlow's header describes them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from tf_runs import address_of, aligned

from shm.packed import pack_strings, unpack_strings
from workers.tf import strings

LONG = b"longer than the twenty-two bytes that fit inside"


def small(text: bytes) -> bytes:
    return struct.pack("<B23s", len(text) << 2, text)


def large(text: bytes, address: int) -> bytes:
    return struct.pack("<QQQ", len(text) << 2 | 1, 2 * len(text), address)


def offset(text: bytes, distance: int) -> bytes:
    return struct.pack("<IIQ8x", len(text) << 2 | 2, distance, 1)


def view(text: bytes, address: int) -> bytes:
    return struct.pack("<QQ8x", len(text) << 2 | 3, address)


def test_every_kind_is_read() -> None:
    texts = [b"", b"22 bytes, and no more!", LONG, b"behind the array", LONG[::-1], b""]
    memory = aligned(1024)
    at = address_of(memory) + 512
    place = {text: 80 * index for index, text in enumerate(texts)}
    for text, start in place.items():
        memory[512 + start : 512 + start + len(text)] = np.frombuffer(text, dtype=np.uint8)
    elements = [
        small(texts[0]),
        small(texts[1]),
        large(texts[2], at + place[texts[2]]),
        offset(texts[3], 512 + place[texts[3]] - 3 * strings.TSTRING_BYTES),  # counted from the element itself
        view(texts[4], at + place[texts[4]]),
        view(texts[5], 0),
    ]
    whole = b"".join(elements)
    memory[: len(whole)] = np.frombuffer(whole, dtype=np.uint8)
    assert unpack_strings(strings.read(address_of(memory), len(texts)), len(texts)) == texts


def test_views_are_read_back_where_they_point() -> None:
    texts = [b"a", b"", LONG, b"\0\0", b""]
    data = pack_strings(texts)
    array = strings.views(data, len(texts))
    assert array.nbytes == len(texts) * strings.TSTRING_BYTES
    assert strings.read(address_of(array), len(texts)) == data


@pytest.mark.parametrize(
    ("ends", "text"),
    [([3, 2], b"ab"), ([1, 5], b"abc"), ([0, 1], b"abc"), ([2**63, 2], b"ab"), ([2], b"")],
)
def test_a_table_that_does_not_fit_is_refused(ends: list[int], text: bytes) -> None:
    with pytest.raises(ValueError, match="table"):
        strings.views(struct.pack(f"<{len(ends)}Q", *ends) + text, 2 if len(ends) == 2 else 1)

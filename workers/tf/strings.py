"""TensorFlow's string tensors: arrays of 24-byte TF_TString.

The first word's two lowest bits tell the kind: 0 small (length in the first byte, text behind it), 1 large (length << 2,
capacity, pointer), 2 offset (u32 length << 2, u32 offset from the element, count), 3 view (length << 2, pointer).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shm.packed import Buffer, pack_strings, string_table

TSTRING_BYTES: Final = 24
_SMALL, _LARGE, _OFFSET, _VIEW = range(4)


def views(data: Buffer, count: int) -> npt.NDArray[np.uint64]:
    """TF_TStrings of a packed string tensor, shape (count, 3), that point into `data` without a copy of the text.

    `data` must outlive them. Raises ValueError when the tensor's table does not fit its bytes.
    """
    ends, blob = string_table(data, count)
    address = np.frombuffer(blob, dtype=np.uint8).__array_interface__["data"][0] if len(blob) else 0
    strings = np.zeros((count, 3), dtype=np.uint64)
    starts = np.empty_like(ends)
    starts[:1], starts[1:] = 0, ends[:-1]
    strings[:, 0] = (ends - starts) << np.uint64(2) | np.uint64(_VIEW)
    strings[:, 1] = starts + np.uint64(address)
    return strings


def read(address: int, count: int) -> bytes:
    """The packed form of the `count` TF_TStrings at this address: a copy."""
    return pack_strings(list(_texts(address, count)))


def _texts(address: int, count: int) -> Iterator[bytes]:
    raw: Any = (ctypes.c_uint64 * (3 * count)).from_address(address)
    words = memoryview(raw).cast("B").cast("Q")
    for index in range(0, 3 * count, 3):
        first = words[index]
        kind = first & 3
        if kind == _SMALL:
            yield ctypes.string_at(address + 8 * index + 1, (first & 0xFF) >> 2)
        elif kind == _LARGE:
            yield ctypes.string_at(words[index + 2], first >> 2)
        elif kind == _OFFSET:
            yield ctypes.string_at(address + 8 * index + (first >> 32), (first & 0xFFFFFFFF) >> 2)
        else:
            yield ctypes.string_at(words[index + 1], first >> 2)

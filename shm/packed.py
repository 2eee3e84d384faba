"""Packed tensors: the tensors of one request or answer as a header and 64-byte-aligned bytes.

For what columns can't hold: strings, unknown inner dimensions, shapes that differ from the lane's. All numbers are
little-endian::

    u64 length of the whole message    u32 tensors   u32 zero
    per tensor:  u32 dtype   u32 rank   u64 offset from the message's start   u64 bytes   i64 dims[rank]
    … padding to 64 bytes …  tensor bytes, each tensor from a multiple of 64

`dtype` is TensorFlow's DataType number. Numbers lie as C arrays. Strings lie as u64 ends[n] and then all bytes: string i
is bytes[ends[i-1]:ends[i]].
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from shm.layout import ALIGNMENT, align

_HEAD = struct.Struct("<QII")
_TENSOR = struct.Struct("<IIQQ")
_JOINED = 1 << 14  # strings at a time: Python's join takes 80 bytes for each, until it is done
MOST_TENSORS = 1 << 16
MOST_DIMS = 254  # TensorFlow's own limit of a shape's rank

Buffer = bytes | bytearray | memoryview


class PackedTensor(NamedTuple):
    """`dtype`: TensorFlow's number; `data`: the bytes as described above."""

    dtype: int
    shape: tuple[int, ...]
    data: Buffer


def size(tensors: Sequence[PackedTensor]) -> int:
    """Bytes that `write` will need for these tensors, a multiple of 64."""
    length = _header_bytes(tensors)
    for tensor in tensors:
        length += align(len(tensor.data), ALIGNMENT)
    return length


def _header_bytes(tensors: Sequence[PackedTensor]) -> int:
    return align(_HEAD.size + sum(_TENSOR.size + 8 * len(tensor.shape) for tensor in tensors), ALIGNMENT)


def write(target: memoryview, tensors: Sequence[PackedTensor]) -> None:
    """Write the message to the start of `target`, which has at least `size(tensors)` bytes."""
    _HEAD.pack_into(target, 0, size(tensors), len(tensors), 0)
    at = _HEAD.size
    offset = _header_bytes(tensors)
    for dtype, shape, data in tensors:
        _TENSOR.pack_into(target, at, dtype, len(shape), offset, len(data))
        at += _TENSOR.size
        struct.pack_into(f"<{len(shape)}q", target, at, *shape)
        at += 8 * len(shape)
        target[offset : offset + len(data)] = data
        offset += align(len(data), ALIGNMENT)


def read(source: memoryview) -> list[PackedTensor]:
    """The tensors of the message at the start of `source`, as views of it.

    Raises ValueError when a length or offset points outside: the writer may be another's process.
    """
    if len(source) < _HEAD.size:
        raise ValueError("packed message is shorter than its header")
    length, count, _ = _HEAD.unpack_from(source, 0)
    if length > len(source) or count > MOST_TENSORS:
        raise ValueError("packed message is longer than its room")
    tensors = []
    at = _HEAD.size
    for _ in range(count):
        if at + _TENSOR.size > length:
            raise ValueError("packed message ends inside its header")
        dtype, rank, offset, nbytes = _TENSOR.unpack_from(source, at)
        at += _TENSOR.size
        if rank > MOST_DIMS or at + 8 * rank > length or offset % ALIGNMENT or offset + nbytes > length:
            raise ValueError("packed tensor lies outside its message")
        shape: tuple[int, ...] = struct.unpack_from(f"<{rank}q", source, at)
        at += 8 * rank
        if rank and min(shape) < 0:
            raise ValueError("packed tensor has a negative dimension")
        tensors.append(PackedTensor(dtype, shape, source[offset : offset + nbytes]))
    return tensors


def message_length(source: memoryview) -> int:
    """Bytes of the message at the start of `source`, as its writer wrote them."""
    return int(_HEAD.unpack_from(source, 0)[0])


def pack_strings(strings: Sequence[bytes]) -> bytes:
    """The bytes of a string tensor."""
    count = len(strings)
    ends = np.cumsum(np.fromiter(map(len, strings), dtype="<u8", count=count), dtype="<u8")
    if count <= _JOINED:
        return b"".join((ends.tobytes(), *strings))
    if not ends[-1]:
        return ends.tobytes()
    return b"".join((ends.data, *[b"".join(strings[at : at + _JOINED]) for at in range(0, count, _JOINED)]))


def unpack_strings(data: Buffer, count: int) -> list[bytes]:
    """The strings of a tensor of `count` elements. Raises ValueError when its table does not fit its bytes."""
    ends, blob = string_table(data, count)
    if not len(blob):
        return [b""] * count
    text = blob.tobytes()
    starts = [0, *ends.tolist()]
    return [text[a:b] for a, b in pairwise(starts)]


def string_table(data: Buffer, count: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint64]], memoryview]:
    """Ends of the strings (u64) and their bytes, both as views. Raises ValueError as `unpack_strings` does."""
    view = memoryview(data)
    if count < 0 or len(view) < 8 * count:
        raise ValueError("string tensor is shorter than its table")
    ends = np.frombuffer(view, dtype="<u8", count=count)
    blob = view[8 * count :]
    if count and (int(ends[-1]) != len(blob) or bool((ends[1:] < ends[:-1]).any())):
        raise ValueError("string tensor's table does not fit its bytes")
    return ends, blob

"""Packed whole numbers of protobuf messages, many at a time."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.protobuf_wire import Buffer, WireError, varint

Array = npt.NDArray[Any]

_MOST_BYTES: Final = 10  # of one number
_FEW: Final = 48  # bytes whose numbers are sooner read one by one
_CHUNK: Final = 1 << 16  # bytes that are read at a time: their temporary arrays stay in the processor's cache


def unpack(message: Buffer, start: int, stop: int, storage: np.dtype[Any]) -> Array:
    """The numbers between two offsets. What does not fit in `storage` is cut off; of bools, all but 0 is true.

    Raises WireError for what is no sequence of varints.
    """
    if stop - start <= _FEW:
        return narrowed(_one_by_one(message, start, stop), storage)
    table = np.frombuffer(message, np.uint8, stop - start, start)
    if table.max() < 0x80:
        return narrowed(table, storage)
    check_packed(message, start, stop)
    numbers = np.empty(int(np.count_nonzero(table < 0x80)), storage)
    done = at = 0
    while at < len(table):
        chunk, at = _chunk(table, at)
        numbers[done : done + len(chunk)] = narrowed(chunk, storage)
        done += len(chunk)
    return numbers


def check_packed(message: Buffer, start: int, stop: int) -> None:
    """Raises WireError where the bytes between two offsets are no sequence of varints."""
    if stop - start <= _FEW:
        _one_by_one(message, start, stop)
        return
    table = np.frombuffer(message, np.uint8, stop - start, start)
    if table[-1] >= 0x80:
        raise WireError(f"the last of the numbers up to byte {stop} has no end")
    for at in range(0, len(table), _CHUNK):
        goes_on = table[at : at + _CHUNK + _MOST_BYTES - 1] >= 0x80
        for doubled in (1, 2, 4):  # true where 2, 4, 8 in a row go on, then 10
            goes_on = goes_on[:-doubled] & goes_on[doubled:]
        if (goes_on[:-2] & goes_on[2:]).any():
            raise WireError(f"one of the numbers up to byte {stop} has no end")


def narrowed(numbers: Array, storage: np.dtype[Any]) -> Array:
    """Whole numbers without a sign as a field's type takes them."""
    if storage.kind == "b":
        return numbers.astype(np.bool_)
    return numbers.astype(f"<u{storage.itemsize}").view(storage)


def _one_by_one(message: Buffer, start: int, stop: int) -> Array:
    numbers = []
    at = start
    while at < stop:
        number, at = varint(message, at, stop)
        numbers.append(number)
    return np.array(numbers, np.uint64)


def _chunk(table: Array, at: int) -> tuple[Array, int]:
    """The numbers that end in the next bytes, and where the last of them does. They are known to be varints."""
    part = table[at : at + _CHUNK]
    ends = np.flatnonzero(part < 0x80) + 1
    sizes = np.diff(ends, prepend=0)
    places = ends - sizes
    numbers = (part[places] & 0x7F).astype(np.uint64)
    which = np.flatnonzero(sizes > 1)
    shift = 0
    while len(which):  # the second bytes of all numbers that have one, then the third ones, and so on
        shift += 1
        numbers[which] |= (part[places[which] + shift] & 0x7F).astype(np.uint64) << np.uint64(7 * shift)
        which = which[sizes[which] > shift + 1]
    return numbers, at + int(ends[-1])

"""Memory of the worker's own, for what must not change while it is used."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import memmove
from typing import Any

import numpy as np
import numpy.typing as npt

from shm.layout import ALIGNMENT

Array = npt.NDArray[Any]


def aligned(nbytes: int) -> Array:
    """So many bytes, of any content, from a 64-byte boundary on: what TensorFlow uses without a copy of its own."""
    raw = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    skip = -raw.__array_interface__["data"][0] % ALIGNMENT
    return raw[skip : skip + nbytes]


def as_bools(memory: Array) -> None:
    """Let each byte be 0 or 1, as it has to be in a bool: programs may do anything with others."""
    np.minimum(memory, 1, out=memory)


class PrivateRows:
    """Room for some rows of some columns."""

    __slots__ = ("_memory", "addresses", "rows")

    def __init__(self, row_bytes: Sequence[int], rows: int) -> None:
        """`row_bytes`: of a row of each column."""
        self._memory = [aligned(rows * size) for size in row_bytes]
        self.addresses: list[int] = [memory.__array_interface__["data"][0] for memory in self._memory]
        self.rows = rows

    def fill(self, sources: Sequence[int], row: int, rows: int, row_bytes: Sequence[int]) -> None:
        """Copy `rows` rows from `row` on. `sources`: the address of row 0 of each column."""
        for target, source, size in zip(self.addresses, sources, row_bytes):  # noqa: B905 - of one length by construction
            memmove(target, source + row * size, rows * size)

    def make_bools(self, columns: Sequence[int], row_bytes: Sequence[int], rows: int) -> None:
        """Let the first `rows` rows of these columns be bools, which are 0 or 1, whatever was copied."""
        for index in columns:
            as_bools(self._memory[index][: rows * row_bytes[index]])

    def columns(self, row_bytes: Sequence[int], rows: int) -> list[Array]:
        """The bytes of the first `rows` rows of each column."""
        return [memory[: rows * size] for memory, size in zip(self._memory, row_bytes, strict=True)]

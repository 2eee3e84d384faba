"""Latencies as counts in log-linear buckets: exact to 1/256, whatever their number, and added up by adding counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_BITS: Final = 7
_PER_OCTAVE: Final = 1 << _BITS  # buckets from one power of two to the next
_MOST_BITS: Final = 44  # of a value: 2**44 ns are five hours
_BUCKETS: Final = (_MOST_BITS - _BITS + 1) * _PER_OCTAVE

Counts = npt.NDArray[np.int64]


class Histogram:
    """Values are whole numbers from 0 on, here nanoseconds. Below 256 each has its own bucket."""

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(_BUCKETS, dtype=np.int64)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def record(self, values: Sequence[int] | npt.NDArray[Any]) -> None:
        """Count many values at once."""
        array = np.clip(np.asarray(values, dtype=np.int64), 0, (1 << _MOST_BITS) - 1)
        self.counts += np.bincount(_bucket(array), minlength=_BUCKETS)

    def add(self, other: Histogram) -> None:
        self.counts += other.counts

    def percentile(self, percent: float) -> float:
        """The value that `percent` of all values do not exceed: the middle of its bucket. Raises ValueError when empty."""
        ends = np.cumsum(self.counts)
        total = int(ends[-1])
        if not total:
            raise ValueError("no values")
        rank = max(1, int(np.ceil(total * percent / 100)))
        bucket = int(np.searchsorted(ends, rank))
        low, width = _range(bucket)
        return low + (width - 1) / 2

    def to_wire(self) -> list[list[int]]:
        """The buckets that hold anything, as [bucket, count] pairs: JSON-able."""
        found = np.flatnonzero(self.counts)
        return [[int(bucket), int(self.counts[bucket])] for bucket in found]

    @classmethod
    def from_wire(cls, pairs: Sequence[Sequence[int]]) -> Histogram:
        histogram = cls()
        for bucket, count in pairs:
            histogram.counts[bucket] += count
        return histogram


def _bucket(values: Counts) -> Counts:
    """The position of the highest bit chooses the octave, the next bits the bucket in it."""
    _, exponents = np.frexp(values.astype(np.float64))  # exact: values are below 2**53
    shifts: Counts = np.maximum(exponents - (_BITS + 1), 0).astype(np.int64)
    buckets: Counts = shifts * _PER_OCTAVE + (values >> shifts)
    return buckets


def _range(bucket: int) -> tuple[int, int]:
    """The lowest value of a bucket, and how many values it takes."""
    shift = max(bucket // _PER_OCTAVE - 1, 0)
    return (bucket - shift * _PER_OCTAVE) << shift, 1 << shift

"""Adding to the words of a histogram, as `shm.counter_families` lays them out, where many values come together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from shm.lane import Array

_MOST: Final = (1 << 63) - 1  # of a sum, which stays there


def add(words: memoryview, bounds: Sequence[int], value: int, count: int) -> None:
    """So many values alike, from 0."""
    words[bisect_right(bounds, value)] += count
    words[-1] = min(words[-1] + value * count, _MOST)


def add_each(words: memoryview, bounds: Array, values: Array) -> None:
    """Values from 0; the two arrays have numbers of one kind."""
    counts = np.bincount(bounds.searchsorted(values, side="right"))
    for bucket in counts.nonzero()[0].tolist():
        words[bucket] += int(counts[bucket])
    words[-1] = min(words[-1] + int(values.sum()), _MOST)

"""When the requests of an open loop are due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from bench.harness.plan import Open

_CHUNK: Final = 1024  # made at once


def due_times(shape: Open, seed: int, index: int = 0, count: int = 1) -> Iterator[int]:
    """Nanoseconds since the load began, growing, without end: those of process `index` of `count`, which share the rate.

    Constant arrivals of all processes together are one regular beat. Poisson arrivals of each are a process of their own
    with its share of the rate, and together one with all of it. The same seed gives the same times.
    """
    return _constant(shape.rate, index, count) if shape.arrivals == "constant" else _poisson(shape.rate / count, seed, index)


def _constant(rate: float, index: int, count: int) -> Iterator[int]:
    first = 0
    while True:
        numbers = index + count * np.arange(first, first + _CHUNK)
        yield from (numbers * (1e9 / rate)).astype(np.int64).tolist()
        first += _CHUNK


def _poisson(rate: float, seed: int, index: int) -> Iterator[int]:
    random = np.random.default_rng([seed, index])
    last = 0.0
    while True:
        times = last + np.cumsum(random.exponential(1e9 / rate, _CHUNK))
        last = float(times[-1])
        yield from times.astype(np.int64).tolist()

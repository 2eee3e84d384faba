"""Points that no other point beats in everything: the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.tune.setting import Setting

#: Memory that differs by less than about this share is the same: two runs of one setting differ by as much.
_MEMORY_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Point:
    """A setting under a load."""

    setting: Setting
    clients: int
    rate: float  # right answers per second
    p50: float  # ms
    p99: float  # ms
    memory: float  # MB of all processes
    failed: int = 0
    runs: int = 1  # medians of so many

    @property
    def goods(self) -> tuple[float, float, float]:
        """More is better in each."""
        return self.rate, -self.p99, -math.floor(math.log(max(self.memory, 1.0)) / math.log1p(_MEMORY_SHARE))


def keeps(point: Point, limit: float) -> bool:
    """Whether all was answered, with the 99th percentile at most `limit` ms."""
    return not point.failed and point.p99 <= limit


def score(points: Sequence[Point], limit: float) -> float:
    """Of one setting: its highest rate within the limit, plus 1; where it keeps it nowhere, how near it comes, below 1."""
    within = [point.rate for point in points if keeps(point, limit)]
    if within:
        return 1 + max(within)
    return max((limit / point.p99 for point in points if not point.failed and limit < point.p99 < math.inf), default=0.0)


def front(points: Sequence[Point], limit: float = math.inf) -> list[Point]:
    """Those within the limit that no other one within it beats: as good in throughput, p99 and memory, and better in one.

    The highest throughput first.
    """
    within = [point for point in points if keeps(point, limit)]
    kept = [point for point in within if not any(_beats(other, point) for other in within)]
    return sorted(kept, key=lambda point: (-point.rate, point.p99))


def _beats(other: Point, point: Point) -> bool:
    pairs = list(zip(other.goods, point.goods, strict=True))
    return all(its >= mine for its, mine in pairs) and any(its > mine for its, mine in pairs)

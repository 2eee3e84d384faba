"""What a server does with so many clients, each of which waits for its answer before it asks again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.harness.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Level:
    """`rate`: right answers per second; times in ms, not a number where nothing was answered."""

    clients: int
    rate: float
    p50: float
    p99: float
    errors: int
    requests: int
    generator: float = 0.0  # share of a processor that the load generator took

    @classmethod
    def of(cls, clients: int, outcome: Outcome) -> Self:
        p50, p99 = outcome.percentile(50), outcome.percentile(99)
        cpu = sum(generator.cpu for generator in outcome.generators)
        return cls(clients, outcome.rate, p50, p99, outcome.failed, outcome.whole.requests, cpu)

    def to_wire(self) -> dict[str, Any]:
        """JSON-able: what is not a number is null."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        fields: dict[str, Any] = {name: math.nan if value is None else value for name, value in wire.items()}
        return cls(**fields)


def best_within(levels: Iterable[Level], limit: float) -> Level | None:
    """The highest rate of those without an error whose 99th percentile is within the limit, in ms; None: there is none."""
    within = [level for level in levels if not level.errors and level.p99 <= limit]
    return max(within, key=lambda level: level.rate, default=None)


def alone(levels: Sequence[Level]) -> Level | None:
    """That of one client."""
    return next((level for level in levels if level.clients == 1 and level.requests), None)

"""What a run of the load harness is to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Arrivals = Literal["poisson", "constant"]

#: Where a run's rows of windows come from: each window is this long, in seconds.
WINDOW_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Closed:
    """So many clients, each with one request on its way at any time."""

    clients: int

    @property
    def slots(self) -> int:
        """How many requests may be on their way at the same time."""
        return self.clients

    def __str__(self) -> str:
        return f"{self.clients} client{'s' * (self.clients != 1)}"


@dataclass(frozen=True, slots=True)
class Open:
    """Requests at times of their own, whatever became of those before; their time counts from when they were due."""

    rate: float  # requests per second
    arrivals: Arrivals = "poisson"
    slots: int = 256  # requests on their way at the same time at most; one that is due meanwhile waits, and its time runs

    def __str__(self) -> str:
        return f"{self.rate:g} requests/s, {self.arrivals}"


Shape = Closed | Open


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: a load of one shape for so long. `warmup` seconds before are sent and not counted."""

    shape: Shape
    seconds: float
    warmup: float = 1.0
    timeout: float = 10.0  # seconds; a request that has no answer by then has failed
    processes: int = 1  # generators, which share the slots and the rate
    window: float = WINDOW_SECONDS
    seed: int = 0

    def to_wire(self) -> dict[str, Any]:
        """JSON-able; `from_wire` reads it."""
        kind = "closed" if isinstance(self.shape, Closed) else "open"
        return {**asdict(self), "shape": {"kind": kind, **asdict(self.shape)}}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Plan:
        fields = dict(wire["shape"])
        shape = {"closed": Closed, "open": Open}[fields.pop("kind")](**fields)
        return cls(**{**wire, "shape": shape})

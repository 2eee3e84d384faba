"""What a run of the load harness found out. Times are in nanoseconds where histograms hold them, else in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from bench.histogram import Histogram

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0)


@dataclass(slots=True)
class Window:
    """A stretch of a run. A request belongs to the window in which its answer came; its index counts from 0 at the start."""

    requests: int = 0  # answered as they should be, while it was measured: not those that were waited for at the end
    errors: dict[str, int] = field(default_factory=dict)  # by kind, as in transport.py
    latencies: Histogram = field(default_factory=Histogram)  # ns; of those answered right

    def add(self, other: Window) -> None:
        """Put together what generators counted in the same stretch."""
        self.requests += other.requests
        for kind, count in other.errors.items():
            self.errors[kind] = self.errors.get(kind, 0) + count
        self.latencies.add(other.latencies)

    def to_wire(self) -> dict[str, Any]:
        return {"requests": self.requests, "errors": self.errors, "latencies": self.latencies.to_wire()}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Window:
        return cls(wire["requests"], dict(wire["errors"]), Histogram.from_wire(wire["latencies"]))


@dataclass(frozen=True, slots=True)
class Generator:
    """How one generator process fared: one that is short of processor time measures itself."""

    cpu: float  # share of one processor while it measured, 0 to 1 and a little
    late: float  # s; p99 of how late a request went out though a slot was free; 0 when closed
    unsent: int = 0  # requests that were due and had found no slot when the run ended


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to the server in the middle of a run."""

    seconds: float  # since the measuring began
    what: str


@dataclass(slots=True)
class Outcome:
    """One run, warm-up left out. `about` says what was asked of whom; one JSON line holds all of it."""

    about: dict[str, Any]  # url, api, model, signature, version, rows per request, payload, …
    plan: dict[str, Any]  # Plan.to_wire()
    began: str  # UTC, ISO 8601
    seconds: float
    windows: list[Window]
    generators: list[Generator]
    stable: bool = True  # the rates of the windows did not drift
    complete: bool = True  # False: interrupted
    events: list[Event] = field(default_factory=list)
    batch_sizes: dict[str, int] = field(default_factory=dict)  # rows of a batch: how many, where the server's metrics say it
    sent: Histogram = field(
        default_factory=Histogram
    )  # ns from when a request really went out; the same as latencies when closed
    failed_after: Histogram = field(default_factory=Histogram)  # ns from when a request that failed really went out

    @property
    def whole(self) -> Window:
        """All windows together."""
        whole = Window()
        for window in self.windows:
            whole.add(window)
        return whole

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return sum(window.requests for window in self.windows) / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        return sum(sum(window.errors.values()) for window in self.windows)

    def percentile(self, percent: float) -> float:
        """Milliseconds; not a number when nothing was answered."""
        latencies = self.whole.latencies
        return latencies.percentile(percent) / 1e6 if latencies.total else math.nan

    def to_wire(self) -> dict[str, Any]:
        """JSON-able; figures that a reader wants without adding up histograms are in `summary`."""
        whole = self.whole
        latencies = (
            {f"p{percent:g}_ms": self.percentile(percent) for percent in PERCENTILES} if whole.latencies.total else {}
        )
        return {
            "about": self.about,
            "plan": self.plan,
            "began": self.began,
            "seconds": self.seconds,
            "summary": {"requests": whole.requests, "rate": self.rate, "errors": whole.errors, **latencies},
            "stable": self.stable,
            "complete": self.complete,
            "events": [[event.seconds, event.what] for event in self.events],
            "batch_sizes": self.batch_sizes,
            "generators": [[each.cpu, each.late, each.unsent] for each in self.generators],
            "windows": [window.to_wire() for window in self.windows],
            "sent": self.sent.to_wire(),
            "failed_after": self.failed_after.to_wire(),
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Outcome:
        return cls(
            about=wire["about"],
            plan=wire["plan"],
            began=wire["began"],
            seconds=wire["seconds"],
            windows=[Window.from_wire(each) for each in wire["windows"]],
            generators=[Generator(*each) for each in wire["generators"]],
            stable=wire["stable"],
            complete=wire["complete"],
            events=[Event(*each) for each in wire["events"]],
            batch_sizes=wire["batch_sizes"],
            sent=Histogram.from_wire(wire["sent"]),
            failed_after=Histogram.from_wire(wire["failed_after"]),
        )

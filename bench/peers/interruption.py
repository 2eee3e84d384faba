"""What requests feel of something that is done to their server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from bench.harness.outcome import Outcome, Window

#: Length of the windows that are looked at, in seconds.
WINDOW: Final = 0.2


@dataclass(frozen=True, slots=True)
class Interruption:
    """Times since what was done began. `p99`s in ms; not a number where nothing was answered."""

    requests: int  # answered right, in the whole run
    failed: int
    kinds: dict[str, int]  # of the failures
    p99_before: float
    p99_during: float
    seconds: float | None  # that what was done took; None: it was not over when the run was, or is over at once
    back: float | None  # s; until the last stretch with a failure or without an answer was over. None: not within the run
    words: str = ""  # why it did not go as it should

    @classmethod
    def of(cls, outcome: Outcome, settle: float) -> Self:
        """Of a run with windows of `WINDOW`, whose events are what was done; `settle`: seconds after the last of them that
        belong to it. Raises ValueError for one without an event.
        """
        if not outcome.events:
            raise ValueError("nothing was done in this run")
        failures = [event.what for event in outcome.events if event.what.startswith("failed")]
        began = outcome.events[0].seconds
        ended = outcome.events[-1].seconds if len(outcome.events) > 1 and not failures else None
        windows = outcome.windows
        first = int(began / WINDOW)
        last = len(windows) if ended is None and settle == 0 else int(((ended or began) + settle) / WINDOW) + 1
        kinds = outcome.whole.errors
        return cls(
            requests=outcome.whole.requests,
            failed=outcome.failed,
            kinds=dict(kinds),
            p99_before=_p99(windows[:first]),
            p99_during=_p99(windows[first:last]),
            seconds=None if ended is None else ended - began,
            back=_back(windows, began, first),
            words="; ".join(failures),
        )

    def to_wire(self) -> dict[str, Any]:
        """JSON-able: what is not a number is null."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        times = {name: math.nan if wire[name] is None else wire[name] for name in ("p99_before", "p99_during")}
        return cls(**{**wire, **times})


def _back(windows: list[Window], began: float, first: int) -> float | None:
    """The last window of a run is a part of one, and answers that came after its end."""
    whole = windows[:-1]
    troubled = [index for index in range(first, len(whole)) if whole[index].errors or not whole[index].requests]
    if not troubled:
        return 0.0
    if troubled[-1] >= len(whole) - 1:
        return None
    return max(0.0, (troubled[-1] + 1) * WINDOW - began)


def _p99(windows: list[Window]) -> float:
    together = Window()
    for window in windows:
        together.add(window)
    return together.latencies.percentile(99) / 1e6 if together.latencies.total else math.nan

"""A batch on its way: what it has of which lanes, and why it was closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workers.limits import Closed
from workers.queued_lane import Part
from workers.waiting import Slice


@dataclass(slots=True)
class Batch:
    """Of plain rows, as `parts`, or of requests that are known one by one, as `slices`."""

    rows: int
    executed: int  # with the rows that fill it up
    closed: Closed
    oldest: int  # when its oldest request came, in ns of CLOCK_MONOTONIC
    parts: Sequence[Part] = ()
    slices: Sequence[Slice] = ()
    # When it was run:
    is_retried: bool = False  # its requests had to be run apart
    aside: int = 0  # ns that went into gathering it and taking it apart
    has_rows: bool = True  # its outputs' first dimension was the batch

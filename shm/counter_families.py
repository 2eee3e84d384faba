"""The counters that front ends and workers keep: what they are called, what tells one from another, which words they have.

A histogram's words are its buckets, one more than bounds, and then the sum of what it counted. A value equal to a bound
falls into the next bucket, as upstream's do.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Upstream's for latencies, 10 x 1.8^i microseconds for i = 0..32, in ns. Whole ones: a time reaches a bound when it reaches
#: the next whole ns.
TIME_BOUNDS: Final = tuple(-(-10_000 * 9**i // 5**i) for i in range(33))
#: Upstream's for batch sizes.
ROWS_BOUNDS: Final = tuple(1 << i for i in range(14))


class Family(NamedTuple):
    """`bounds`: of a histogram; a single number has none. A gauge is written anew, the others only grow."""

    name: str
    labels: tuple[str, ...]
    bounds: tuple[int, ...] = ()
    is_gauge: bool = False

    @property
    def words(self) -> int:
        return len(self.bounds) + 2 if self.bounds else 1


_WAY: Final = ("model", "version", "signature", "api", "entrypoint")
_BATCH: Final = ("model", "version", "signature", "device")

REQUESTS: Final = Family("requests", (*_WAY, "code"))
DURATION: Final = Family("duration", _WAY, TIME_BOUNDS)  # ns, of successes only, like the next two
QUEUE: Final = Family("queue", _WAY, TIME_BOUNDS)
RUN: Final = Family("run", _WAY, TIME_BOUNDS)
INFLIGHT: Final = Family("inflight", ("model", "worker"), is_gauge=True)
RING_OCCUPANCY: Final = Family("ring_occupancy", ("model", "worker"), is_gauge=True)  # millionths
BATCHES: Final = Family("batches", _BATCH, ROWS_BOUNDS)  # by a batch's rows
BATCH_RUN: Final = Family("batch_run", _BATCH, TIME_BOUNDS)  # ns

FAMILIES: Final = {
    family.name: family for family in (REQUESTS, DURATION, QUEUE, RUN, INFLIGHT, RING_OCCUPANCY, BATCHES, BATCH_RUN)
}

"""The counters that front ends and workers keep: what they are called, what tells one from another, which words they have.

A histogram's words are its buckets, one more than bounds, and then the sum of what it counted. A value equal to a bound
falls into the next bucket, as upstream's do.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Upstream's for latencies, 10 x 1.8^i microseconds for i = 0..32, in ns. Whole ones: a time reaches a bound when it reaches
#: the next whole ns.
TIME_BOUNDS: Final[tuple[int, ...]] = tuple(-(-10_000 * 9**i // 5**i) for i in range(33))
#: Upstream's for batch sizes.
ROWS_BOUNDS: Final = tuple(1 << i for i in range(14))
#: Upstream's for the time that a request waits for its batch, 100 x 1.2^i microseconds for i = 0..51, in ns.
QUEUING_BOUNDS: Final[tuple[int, ...]] = tuple(-(-100_000 * 6**i // 5**i) for i in range(52))


class Family(NamedTuple):
    """`bounds`: of a histogram; a single number has none. A gauge is written anew, the others only grow."""

    name: str
    labels: tuple[str, ...]
    bounds: tuple[int, ...] = ()
    is_gauge: bool = False

    @property
    def words(self) -> int:
        return len(self.bounds) + 2 if self.bounds else 1

    @property
    def is_of_a_version(self) -> bool:
        """Do its labels begin with a model, a version and a signature?"""
        return self.labels[: len(_OF_SIGNATURE)] == _OF_SIGNATURE


_OF_SIGNATURE: Final = ("model", "version", "signature")
_WAY: Final = (*_OF_SIGNATURE, "api", "entrypoint")
_BATCH: Final = (*_OF_SIGNATURE, "device")

REQUESTS: Final = Family("requests", (*_WAY, "code"))
DURATION: Final = Family("duration", _WAY, TIME_BOUNDS)  # ns, of successes only, like the next two
QUEUE: Final = Family("queue", _WAY, TIME_BOUNDS)
RUN: Final = Family("run", _WAY, TIME_BOUNDS)
INFLIGHT: Final = Family("inflight", ("model", "worker"), is_gauge=True)
RING_OCCUPANCY: Final = Family("ring_occupancy", ("model", "worker"), is_gauge=True)  # millionths
BATCHES: Final = Family("batches", _BATCH, ROWS_BOUNDS)  # by a batch's rows
BATCH_RUN: Final = Family("batch_run", _BATCH, TIME_BOUNDS)  # ns
BATCH_CLOSED: Final = Family("batch_closed", (*_BATCH, "reason"))  # why it was not held open for more requests
PADDING: Final = Family("padding", (*_BATCH, "execution_batch_size"), ROWS_BOUNDS)  # rows added to a batch of allowed size
INPUT_ROWS: Final = Family("input_rows", _BATCH, ROWS_BOUNDS)  # of requests, once for each input tensor
EXECUTED_ROWS: Final = Family("executed_rows", _BATCH, ROWS_BOUNDS)  # of batches, with those that were added
LINGER: Final = Family("linger", _BATCH, TIME_BOUNDS)  # ns from the arrival of a batch's oldest request to the run
MERGE: Final = Family("merge", _BATCH, TIME_BOUNDS)  # ns of gathering and splitting a batch, beside its run
QUEUING: Final = Family("queuing", _BATCH, QUEUING_BOUNDS)  # ns, of each request in a batch
RETRIED: Final = Family("retried", _BATCH)  # batches that failed as a whole, so that their requests were run apart
REJECTED: Final = Family("rejected", (*_OF_SIGNATURE, "reason"))  # requests, by front ends and workers
ENQUEUED: Final = Family("enqueued", ("model", "worker"), is_gauge=True)

FAMILIES: Final = {
    family.name: family
    for family in (
        REQUESTS,
        DURATION,
        QUEUE,
        RUN,
        INFLIGHT,
        RING_OCCUPANCY,
        BATCHES,
        BATCH_RUN,
        BATCH_CLOSED,
        PADDING,
        INPUT_ROWS,
        EXECUTED_ROWS,
        LINGER,
        MERGE,
        QUEUING,
        RETRIED,
        REJECTED,
        ENQUEUED,
    )
}

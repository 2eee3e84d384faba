"""What a worker counts, in shared memory: its batches, what they were made of, and requests that never got into one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from ringserve.servable import ServableId
from shm.counter_families import (
    BATCH_CLOSED,
    BATCH_RUN,
    BATCHES,
    EXECUTED_ROWS,
    FAMILIES,
    INPUT_ROWS,
    LINGER,
    MERGE,
    PADDING,
    QUEUING,
    QUEUING_BOUNDS,
    REJECTED,
    RETRIED,
    ROWS_BOUNDS,
    TIME_BOUNDS,
    Family,
)
from shm.counters import CounterTable
from shm.lane import Array
from workers.histogram_words import add_each
from workers.local_meter import LocalMeter

#: The version, and the signature, under which is kept what versions counted that are gone.
GONE: Final = ""

#: How many labels the families have that a worker may count in, all of which begin with model, version and signature.
_LABELS: Final = {family.name: len(family.labels) for family in FAMILIES.values() if family.is_of_a_version}
_LONGEST_BITS: Final = 50  # ns, 13 days: a wait of more, or of less than nothing, is that of a damaged lane
_QUEUING: Final = np.array(QUEUING_BOUNDS, dtype=np.float64)
_FEW: Final = 32  # waits; where one by one and array operations cost about the same


class BatchMeter:
    """The batches of one signature. Of the loop's thread: the table's words have a single writer.

    What not every queue has, has words only once it was counted.
    """

    __slots__ = (
        "_closed",
        "_executed",
        "_inputs",
        "_labels",
        "_merges",
        "_padding",
        "_queued",
        "_rejected",
        "_retries",
        "_rounds",
        "_sizes",
        "_table",
        "_times",
        "_waits",
    )

    _executed: memoryview
    _waits: memoryview

    def __init__(self, table: CounterTable, labels: tuple[str, str, str, str], rounds: bool = False) -> None:
        """`labels`: model, version, signature, device. `rounds`: batches are padded to allowed sizes, and so counted with
        how much, also where that is nothing.
        """
        self._table = table
        self._labels = labels
        self._rounds = rounds
        self._sizes = self._cells(BATCHES)
        self._times = self._cells(BATCH_RUN)
        self._closed: dict[str, memoryview] = {}
        self._padding: dict[int, memoryview] = {}
        self._rejected: dict[str, memoryview] = {}
        self._inputs: memoryview | None = None
        self._merges: memoryview | None = None
        self._queued: memoryview | None = None
        self._retries: memoryview | None = None

    def ran(self, rows: int, nanoseconds: int) -> None:
        """A batch of so many rows took so long."""
        sizes, times = self._sizes, self._times
        sizes[bisect_right(ROWS_BOUNDS, rows)] += 1
        sizes[-1] += rows
        times[bisect_right(TIME_BOUNDS, nanoseconds)] += 1
        times[-1] += nanoseconds

    def batch(self, reason: str, rows: int, executed: int, waited_ns: int) -> None:
        """A batch was closed and run.

        `reason`: why it was not held open: "full", "timeout", "idle" (the worker was free, and nothing to be waited for),
        "linger" (a short wait has ended), "alone" (of a request that none can join), "closing". `executed`: the rows with
        those that it was padded with. `waited_ns`: of its oldest request, from its arrival to the run.
        """
        closed = self._closed.get(reason)
        if closed is None:
            closed = self._open(reason)
        closed[0] += 1
        sizes = self._executed
        sizes[bisect_right(ROWS_BOUNDS, executed)] += 1
        sizes[-1] += executed
        if not waited_ns >> _LONGEST_BITS:
            waits = self._waits
            waits[bisect_right(TIME_BOUNDS, waited_ns)] += 1
            waits[-1] += waited_ns
        if self._rounds or executed > rows:
            self._pad(executed, executed - rows)

    def inputs(self, rows: int, tensors: int) -> None:
        """A request, or several alike, with so many input tensors of so many rows each: upstream counts each tensor."""
        cells = self._inputs
        if cells is None:
            cells = self._inputs = self._cells(INPUT_ROWS)
        cells[bisect_right(ROWS_BOUNDS, rows)] += tensors
        cells[-1] += rows * tensors

    def queued(self, waits_ns: Sequence[int]) -> None:
        """How long each request of a batch waited for its run. For servers that batch as upstream does, which count that in
        buckets of their own.
        """
        cells = self._queued
        if cells is None:
            cells = self._queued = self._cells(QUEUING)
        if len(waits_ns) <= _FEW:
            for wait in waits_ns:
                if not wait >> _LONGEST_BITS:
                    cells[bisect_right(QUEUING_BOUNDS, wait)] += 1
                    cells[-1] += wait
            return
        waits: Array = np.array(waits_ns, dtype=np.float64)  # which takes whatever a damaged lane may hold
        add_each(cells, _QUEUING, waits[(waits >= 0) & (waits < 1 << _LONGEST_BITS)])

    def merged(self, nanoseconds: int) -> None:
        """So long it took to gather a batch and to split what came of it."""
        cells = self._merges
        if cells is None:
            cells = self._merges = self._cells(MERGE)
        cells[bisect_right(TIME_BOUNDS, nanoseconds)] += 1
        cells[-1] += nanoseconds

    def rejected(self, reason: str, count: int) -> None:
        """Requests that were answered without a run: "expired", "cancelled", or "failed" for another reason."""
        cells = self._rejected.get(reason)
        if cells is None:
            labels = (*self._labels[:3], reason)
            cells = self._rejected[reason] = self._table.cells(REJECTED.name, labels, REJECTED.words)
        cells[0] += count

    def retried(self) -> None:
        """A batch failed as a whole, and its requests were run apart."""
        cells = self._retries
        if cells is None:
            cells = self._retries = self._cells(RETRIED)
        cells[0] += 1

    def _open(self, reason: str) -> memoryview:
        """The first batch that was closed for this reason."""
        self._executed = self._cells(EXECUTED_ROWS)
        self._waits = self._cells(LINGER)
        cells = self._closed[reason] = self._cells(BATCH_CLOSED, reason)
        return cells

    def _pad(self, executed: int, rows: int) -> None:
        cells = self._padding.get(executed)
        if cells is None:
            cells = self._padding[executed] = self._cells(PADDING, str(executed))
        cells[bisect_right(ROWS_BOUNDS, rows)] += 1
        cells[-1] += rows

    def _cells(self, family: Family, *more: str) -> memoryview:
        return self._table.cells(family.name, (*self._labels, *more), family.words)


class BatchCounters:
    """The meters of a worker, which `device` names ("cpu:0"). Of the loop's thread too."""

    def __init__(self, table: CounterTable, device: str) -> None:
        self._table = table
        self._device = device
        self._counted: set[tuple[str, str]] = set()  # models and versions that have meters

    def meter(self, servable: ServableId, signature: str, rounds: bool = False) -> BatchMeter:
        """Those of one signature count together. `rounds`: its batches are padded to allowed sizes."""
        model, version = servable.name, str(servable.version)
        self._counted.add((model, version))
        return BatchMeter(self._table, (model, version, signature, self._device), rounds)

    def local_meter(self, servable: ServableId, signature: str) -> LocalMeter:
        """Of the requests of local clients to one signature. One for each of their lanes: what one adds the others see."""
        self._counted.add((servable.name, str(servable.version)))
        return LocalMeter(self._table, servable, signature)

    def retire(self, servable: ServableId) -> None:
        """The version is gone, and nothing counts for it any more. A model's sum over all versions stays what it is."""
        self._counted.discard((servable.name, str(servable.version)))
        self._table.fold(self._kept)

    def _kept(self, family: str, labels: tuple[str, ...]) -> tuple[str, ...] | None:
        """Also of versions that went while no worker was there: none has a meter now."""
        if len(labels) != _LABELS.get(family):
            return None
        model, version, _, *others = labels
        return labels if (model, version) in self._counted else (model, GONE, GONE, *others)

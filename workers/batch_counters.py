"""What a worker counts, in shared memory: of the batches that it ran, how many rows each had and how long it took."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from ringserve.servable import ServableId
from shm.counter_families import BATCH_RUN, BATCHES, DURATION, REQUESTS, ROWS_BOUNDS, TIME_BOUNDS
from shm.counters import CounterTable
from workers.local_meter import LocalMeter

#: The version, and the signature, under which is kept what versions counted that are gone.
GONE: Final = ""

_LABELS: Final = {len(family.labels) for family in (BATCHES, DURATION, REQUESTS)}  # of all that a worker counts


class BatchMeter:
    """The batches of one signature. Of the loop's thread: the table's words have a single writer."""

    __slots__ = ("_sizes", "_times")

    def __init__(self, sizes: memoryview, times: memoryview) -> None:
        """The words of two histograms, as `shm.counter_families` lays them out."""
        self._sizes = sizes
        self._times = times

    def ran(self, rows: int, nanoseconds: int) -> None:
        """A batch of so many rows took so long."""
        sizes, times = self._sizes, self._times
        sizes[bisect_right(ROWS_BOUNDS, rows)] += 1
        sizes[-1] += rows
        times[bisect_right(TIME_BOUNDS, nanoseconds)] += 1
        times[-1] += nanoseconds


class BatchCounters:
    """The meters of a worker, which `device` names ("cpu:0"). Of the loop's thread too."""

    def __init__(self, table: CounterTable, device: str) -> None:
        self._table = table
        self._device = device
        self._counted: set[tuple[str, str]] = set()  # models and versions that have meters

    def meter(self, servable: ServableId, signature: str) -> BatchMeter:
        """Those of one signature count together."""
        model, version = servable.name, str(servable.version)
        self._counted.add((model, version))
        labels = (model, version, signature, self._device)
        cells = [self._table.cells(family.name, labels, family.words) for family in (BATCHES, BATCH_RUN)]
        return BatchMeter(*cells)

    def local_meter(self, servable: ServableId, signature: str) -> LocalMeter:
        """Of the requests of local clients to one signature. One for each of their lanes: what one adds the others see."""
        self._counted.add((servable.name, str(servable.version)))
        return LocalMeter(self._table, servable, signature)

    def retire(self, servable: ServableId) -> None:
        """The version is gone, and nothing counts for it any more. A model's sum over all versions stays what it is."""
        self._counted.discard((servable.name, str(servable.version)))
        self._table.fold(self._kept)

    def _kept(self, _: str, labels: tuple[str, ...]) -> tuple[str, ...] | None:
        """Also of versions that went while no worker was there: none has a meter now."""
        if len(labels) not in _LABELS:
            return None
        model, version, _, *others = labels
        return labels if (model, version) in self._counted else (model, GONE, GONE, *others)

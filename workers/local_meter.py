"""What a worker counts of the requests of local clients, which no front end sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ringserve.errors import Code
from ringserve.servable import ServableId
from shm.counter_families import DURATION, QUEUE, REQUESTS, RUN, TIME_BOUNDS, Family
from shm.counters import CounterTable
from shm.lane import Array
from workers.histogram_words import add, add_each

_API: Final = "predict"
_ENTRYPOINT: Final = "SHM"
_BOUNDS: Final = np.array(TIME_BOUNDS, dtype=np.int64)

_Cells = tuple[memoryview, memoryview, memoryview, memoryview]


class LocalMeter:
    """The requests of one signature, batch by batch. Of the loop's thread: the table's words have a single writer."""

    def __init__(self, table: CounterTable, servable: ServableId, signature: str) -> None:
        self._table = table
        self._labels = (servable.name, str(servable.version), signature, _API, _ENTRYPOINT)
        self._codes: dict[int, memoryview] = {}
        self._ok: _Cells | None = None

    def finished(self, enqueued: Array, since: int, codes: Sequence[int] | None, begun: int, ended: int) -> None:
        """Requests of a batch that ended. `enqueued`: when each came, by the client's word, but none before `since`;
        `codes`: how each ended, None where all did well. Times are ns of CLOCK_MONOTONIC.
        """
        if codes is not None:
            for code in filter(None, codes):
                self._code(code)[0] += 1
            enqueued = enqueued[np.array(codes) == 0]
        count = len(enqueued)
        if not count:
            return
        if bool((enqueued == enqueued[0]).all()):
            self.ok(int(enqueued[0]), since, begun, ended, count)
            return
        each = np.minimum(np.maximum(enqueued, np.uint64(since)), np.uint64(begun)).astype(np.int64)
        ok, duration, queue, run = self._ok or self._open()
        ok[0] += count
        add_each(duration, _BOUNDS, ended - each)
        add_each(queue, _BOUNDS, begun - each)
        add(run, TIME_BOUNDS, ended - begun, count)

    def ok(self, enqueued: int, since: int, begun: int, ended: int, count: int) -> None:
        """So many that did well, and came together."""
        came = min(max(enqueued, since), begun)
        ok, duration, queue, run = self._ok or self._open()
        ok[0] += count
        add(duration, TIME_BOUNDS, ended - came, count)
        add(queue, TIME_BOUNDS, begun - came, count)
        add(run, TIME_BOUNDS, ended - begun, count)

    def _open(self) -> _Cells:
        self._ok = self._code(0), self._cells(DURATION), self._cells(QUEUE), self._cells(RUN)
        return self._ok

    def _code(self, code: int) -> memoryview:
        cells = self._codes.get(code)
        if cells is None:
            labels = (*self._labels, Code(code).name)
            cells = self._codes[code] = self._table.cells(REQUESTS.name, labels, REQUESTS.words)
        return cells

    def _cells(self, family: Family) -> memoryview:
        return self._table.cells(family.name, self._labels, family.words)

"""What a front end counts of its requests, in a table that the supervisor reads."""

from __future__ import annotations

from bisect import bisect_right as _bucket
from collections.abc import Iterable
from typing import Final

from ringserve.errors import Code
from ringserve.servable import ServableId
from shm.counter_families import (
    DURATION,
    ENQUEUED,
    INFLIGHT,
    QUEUE,
    REJECTED,
    REQUESTS,
    RING_OCCUPANCY,
    RUN,
    TIME_BOUNDS,
    Family,
)
from shm.counters import CounterTable

_MOST_OTHERS: Final = 1000  # names that clients made up
_LONGEST_OTHER: Final = 200
_SUM: Final = len(TIME_BOUNDS) + 1
_LONGEST_BITS: Final = 50  # ns, 13 days: a queue or run of more, or of less than nothing, is a damaged lane's
_MILLIONTHS: Final = 1_000_000
_LOADS: Final = (INFLIGHT, ENQUEUED, RING_OCCUPANCY)
_GAUGES: Final = frozenset(family.name for family in _LOADS)

_Key = tuple[str, int | None, str, str, str]


class Meter:
    """Counts the requests of one kind.

    Sums are kept here too, since it costs half as much to write a word of the table as to add to it: there is one meter for
    the same labels, and when the table is changed otherwise, it is to `reload`.
    """

    __slots__ = (
        "_duration",
        "_durations",
        "_failed",
        "_labels",
        "_ok",
        "_oks",
        "_queue",
        "_queues",
        "_run",
        "_runs",
        "_successor",
        "_table",
    )

    _duration: memoryview
    _run: memoryview
    _oks: int
    _durations: int
    _queues: int
    _runs: int

    def __init__(self, table: CounterTable, labels: tuple[str, ...]) -> None:
        self._table = table
        self._labels = labels
        self._successor: Meter | None = None
        self.reload()

    def follow(self, meter: Meter) -> None:
        """Let another one count what still comes."""
        self._successor = meter
        self.reload()

    def reload(self) -> None:
        """Go on with what the table says."""
        self._ok: memoryview | None = None
        self._queue: memoryview | None = None
        self._failed: dict[Code, memoryview] = {}

    def ok(self, queue: int, run: int, total: int) -> None:
        """A success; how long it waited in its lane, how long its batch ran (0 for both where no model did), and how long it
        took as a whole, in ns.
        """
        cells = self._ok
        if cells is None:
            if self._successor is not None:
                self._successor.ok(queue, run, total)
                return
            cells = self._open()
        self._oks = count = self._oks + 1
        cells[0] = count
        cells = self._duration
        cells[_bucket(TIME_BOUNDS, total)] += 1
        self._durations = count = self._durations + total
        cells[_SUM] = count
        if run and not (queue | run) >> _LONGEST_BITS:
            queues = self._queue
            if queues is None:
                queues = self._open_run()
            queues[_bucket(TIME_BOUNDS, queue)] += 1
            self._queues = count = self._queues + queue
            queues[_SUM] = count
            cells = self._run
            cells[_bucket(TIME_BOUNDS, run)] += 1
            self._runs = count = self._runs + run
            cells[_SUM] = count

    def ok_each(self, count: int, queue: int, run: int, total: int) -> None:
        """As many successes, whose times are the same."""
        if not count:
            return
        self.ok(queue, run, total)
        if self._ok is None:  # its successor has counted the first
            if self._successor is not None:
                self._successor.ok_each(count - 1, queue, run, total)
            return
        more = count - 1
        self._oks = self._ok[0] = self._oks + more
        self._durations = _add(self._duration, self._durations, total, more)
        if run and not (queue | run) >> _LONGEST_BITS and self._queue is not None:
            self._queues = _add(self._queue, self._queues, queue, more)
            self._runs = _add(self._run, self._runs, run, more)

    def failed(self, code: Code, total: int) -> None:
        """A request that ended in an error. Its `total` is not counted: upstream times successes only, and so do we."""
        cells = self._failed.get(code)
        if cells is None:
            if self._successor is not None:
                self._successor.failed(code, total)
                return
            cells = self._failed[code] = self._table.cells(REQUESTS.name, (*self._labels, code.name), REQUESTS.words)
        cells[0] += 1

    def _open(self) -> memoryview:
        self._duration = self._cells(DURATION)
        self._durations = self._duration[_SUM]
        self._ok = self._table.cells(REQUESTS.name, (*self._labels, Code.OK.name), REQUESTS.words)
        self._oks = self._ok[0]
        return self._ok

    def _open_run(self) -> memoryview:
        self._run = self._cells(RUN)
        self._runs = self._run[_SUM]
        self._queue = self._cells(QUEUE)
        self._queues = self._queue[_SUM]
        return self._queue

    def _cells(self, family: Family) -> memoryview:
        return self._table.cells(family.name, self._labels, family.words)


def _add(cells: memoryview, before: int, time: int, count: int) -> int:
    """To a histogram whose sum was `before`: as many times alike. Returns the new sum."""
    cells[_bucket(TIME_BOUNDS, time)] += count
    cells[_SUM] = after = before + time * count
    return after


class RequestCounters:
    """Meters by what a request asked for: of what is served all, of names that clients made up so many.

    Where the version is not served (any more), or the signature unknown, their labels are "", and so is the name of a model
    beyond the first 1000 that are not served. That bounds the table, whatever clients send.
    """

    def __init__(self, table: CounterTable) -> None:
        self._table = table
        self._meters: dict[_Key, Meter] = {}
        self._served: dict[str, dict[str, frozenset[str]]] = {}  # signatures by model and version
        self._loads: dict[tuple[str, str], list[memoryview]] = {}
        self._rejected: dict[tuple[str, int | None, str, str], memoryview] = {}
        self._has_tidied = False
        # A process before may have counted, and left a load that is not this one's.
        table.fold(lambda family, labels: None if family in _GAUGES else labels)
        self._others = {labels[0] for _, labels in table.entries() if labels[1:2] == ("",)}

    def meter(self, model: str, version: int | None, signature: str, api: str, entrypoint: str) -> Meter:
        """`version`: None where none was found; `api`: "predict" and so on, or "" for what runs no model."""
        found = self._meters.get((model, version, signature, api, entrypoint))
        return self._find(model, version, signature, api, entrypoint) if found is None else found

    def _find(self, model: str, version: int | None, signature: str, api: str, entrypoint: str) -> Meter:
        model, number, signature = self._place(model, "" if version is None else str(version), signature)
        key = (model, int(number) if number else None, signature, api, entrypoint)
        meter = self._meters.get(key)
        if meter is None:
            meter = self._meters[key] = Meter(self._table, (model, number, signature, api, entrypoint))
        return meter

    def rejected(self, model: str, version: int | None, signature: str, reason: str, count: int = 1) -> None:
        """Requests that were not put into a lane, and so will be in no batch: "queue_full" and so on.

        They count as requests that failed too, which their meters are told.
        """
        cells = self._rejected.get((model, version, signature, reason))
        if cells is None:
            labels = (*self._place(model, "" if version is None else str(version), signature), reason)
            cells = self._table.cells(REJECTED.name, labels, REJECTED.words)
            if labels[:3] == (model, str(version), signature):  # else there may be as many as clients make up
                self._rejected[model, version, signature, reason] = cells
        cells[0] += count

    def _place(self, model: str, version: str, signature: str) -> tuple[str, str, str]:
        """The labels that a request is counted under."""
        versions = self._served.get(model)
        if versions is None:
            return model if self._is_noted(model) else "", "", ""
        signatures = versions.get(version)
        if signatures is None:
            return model, "", ""
        return model, version, signature if signature in signatures else ""

    def _is_noted(self, model: str) -> bool:
        if model not in self._others:
            if len(self._others) >= _MOST_OTHERS or len(model) > _LONGEST_OTHER:
                return False
            self._others.add(model)
        return True

    def serve(self, servable: ServableId, signatures: Iterable[str]) -> None:
        """Requests may find this version from now on."""
        self._served.setdefault(servable.name, {})[str(servable.version)] = frozenset(signatures)
        self._others.discard(servable.name)

    def retire(self, servable: ServableId) -> None:
        """Nobody uses the version any more: what was counted of it goes to its model's version "", so that a server on which
        versions come and go does not run out of room.
        """
        versions = self._served.get(servable.name, {})
        versions.pop(str(servable.version), None)
        if not versions:
            self._served.pop(servable.name, None)
        self._loads = {key: cells for key, cells in self._loads.items() if key[0] in self._served}
        changed = (servable.name, "")
        everything, self._has_tidied = not self._has_tidied, True  # versions that went while no process was there

        def onto(family: str, labels: tuple[str, ...]) -> tuple[str, ...] | None:
            if labels[0] not in changed and not everything:
                return labels
            if family in _GAUGES:
                return labels if labels in self._loads else None
            model, version, signature, *rest = labels
            return (*self._place(model, version, signature), *rest)

        self._table.fold(onto)
        self._rejected.clear()
        for key, meter in list(self._meters.items()):
            if key[0] in changed or everything:
                self._reload(key, meter)

    def _reload(self, key: _Key, meter: Meter) -> None:
        model, version, signature, _, _ = key
        before = (model, "" if version is None else str(version), signature)
        if self._place(*before) == before:
            meter.reload()
        else:
            del self._meters[key]
            meter.follow(self._find(*key))  # whoever still has it counts where it belongs

    def set_load(self, lanes: Iterable[tuple[str, str, int, int, float]]) -> None:
        """How full all the lanes are: model, worker, requests submitted and not answered, of these those that no batch has
        begun with, occupied share (0 to 1).

        Those of a model on a worker are added up; of their shares the largest counts.
        """
        loads = dict.fromkeys(self._loads, (0, 0, 0.0))
        for model, worker, inflight, enqueued, share in lanes:
            before = loads.get((model, worker), (0, 0, 0.0))
            loads[model, worker] = (before[0] + inflight, before[1] + enqueued, max(before[2], share))
        for key, (inflight, enqueued, share) in loads.items():
            cells = self._loads.get(key)
            if cells is None:
                cells = self._loads[key] = [self._table.cells(family.name, key, family.words) for family in _LOADS]
            cells[0][0] = inflight
            cells[1][0] = enqueued
            cells[2][0] = int(share * _MILLIONTHS)

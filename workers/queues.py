"""All queues of a worker: lanes are put into them and taken out, a version's are taken away before it is unloaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ringserve.channel import Message
from ringserve.options import schedulable_cpus
from ringserve.servable import ServableId
from shm.bell import Bell
from shm.consumer import LaneConsumer
from workers.absent_version import AbsentVersion
from workers.batch_counters import BatchCounters, BatchMeter
from workers.batch_seats import BatchSeats
from workers.engine import LoadedVersion
from workers.front_end_doorbells import FrontEndDoorbells
from workers.limits import Limits
from workers.local_consumer import LocalConsumer
from workers.local_lane import LocalLane
from workers.loop import Loop
from workers.probe import Report
from workers.queue import Queue
from workers.queued_lane import QueuedLane
from workers.route import Route
from workers.runner import Runner

_POOL_THREADS: Final = 16  # batches that take long, of all queues together
_JOINED_IN_FLIGHT: Final = 2  # batches of one queue: while one runs, what comes meanwhile becomes the next


class Queues:
    """Of the loop's thread: everything here is called there."""

    def __init__(
        self,
        loop: Loop,
        find: Callable[[ServableId], LoadedVersion | None],
        limits: Callable[[ServableId, Report], Limits] = lambda _, report: Limits(report.most_rows if report.batched else 1),
        batch_threads: Callable[[], int] = schedulable_cpus,
        counters: BatchCounters | None = None,
    ) -> None:
        """`find`: the version, if this worker holds it; `limits`: of its batches; `batch_threads`: how many batches run at a
        time, of all queues that have batching parameters.
        """
        self._loop = loop
        self._find = find
        self._limits = limits
        self._batch_threads = batch_threads
        self._seats: BatchSeats | None = None
        self._counters = counters
        self._queues: dict[Route, Queue] = {}
        self._doorbells = FrontEndDoorbells()
        self._going: set[ServableId] = set()  # versions that are being unloaded
        self._closing: set[ServableId | None] = set()  # to which no new requests come; None: to none
        self._batches = ThreadPoolExecutor(_POOL_THREADS, "batch")

    def add(self, route: Route, report: Report, number: int, consumer: LaneConsumer, frontend: str, doorbell: int) -> None:
        """A lane and its front end's doorbell, a file descriptor, which belongs to this from now on.

        A lane that comes while its version goes is closed: its front end lets go of it too.
        """
        version = None if route.servable in self._going else self._find(route.servable)
        lane = QueuedLane.make(number, consumer, self._doorbells.take(frontend, doorbell))
        if version is None:
            lane.drop()
            return
        self._loop.put(lane, self._queue(route, report, version))
        if lane.suspects:
            self._loop.recover()
        lane.doorbell.ring()  # a worker before may have died between its last answer and the ring

    def _queue(self, route: Route, report: Report, version: LoadedVersion) -> Queue:
        queue = self._queues.get(route)
        if queue is None:
            self._tidy()
            runner = Runner(version, route.signature, report)
            limits = self._limits(route.servable, report)
            seats = self._shared_seats if limits.by_parameters else None
            most = _JOINED_IN_FLIGHT if limits.joins else max(2, schedulable_cpus())
            if seats is not None:
                most = _POOL_THREADS
            meter = self._meter(route, version, limits)
            queue = Queue(route.signature, report, runner, self._batches, most, self._loop.post, meter, limits, seats)
            if not self._closing.isdisjoint((route.servable, None)):
                queue.economy.close()
            self._queues[route] = queue
            self._loop.add(queue)
        return queue

    @property
    def _shared_seats(self) -> BatchSeats:
        if self._seats is None:
            self._seats = BatchSeats(self._batch_threads())
        return self._seats

    def explain(self, servable: ServableId) -> list[Message]:
        """Of the version's queues, what `workers.explanation` tells of each."""
        return [queue.explain(route.inputs) for route, queue in self._queues.items() if route.servable == servable]

    def _tidy(self) -> None:
        """Forget queues whose lanes are gone: clients of their own lanes may ask for one form after the other."""
        for route, queue in list(self._queues.items()):
            if not queue.lanes and not queue.in_flight:
                del self._queues[route]
                self._loop.remove(queue)

    def add_local(
        self, route: Route, report: Report, number: int, consumer: LocalConsumer, bell: Bell, most_rows: int
    ) -> None:
        """A local client's lane and its bell, which belongs to this from now on; `most_rows` of one request."""
        version = None if route.servable in self._going else self._find(route.servable)
        signature = version.signatures.get(route.signature) if version else None  # an absent version has none
        if version is None or signature is None:
            consumer.lane.close()
            bell.close()
            return
        meter = self._counters.local_meter(route.servable, route.signature) if self._counters else None
        lane = LocalLane.open(number, consumer, bell, signature, most_rows, meter)
        queue = self._queue(route, report, version)
        if queue.form != report.form:  # lanes that a worker before had were made for another form
            lane.drop()
            return
        self._loop.put(lane, queue)

    def _meter(self, route: Route, version: LoadedVersion, limits: Limits) -> BatchMeter | None:
        if self._counters is None or isinstance(version, AbsentVersion):  # whose refusals are no batches
            return None
        return self._counters.meter(route.servable, route.signature, rounds=bool(limits.sizes))

    def drop(self, number: int) -> None:
        """Let a lane go, if it is still there."""
        for queue in self._loop.queues:
            for lane in queue.lanes:
                if lane.number == number:
                    self._loop.drop(lane)
                    return

    def welcome(self, servable: ServableId) -> None:
        """The version is there, perhaps again: its lanes may come."""
        self._going.discard(servable)
        self._closing.discard(servable)

    def close(self, servable: ServableId | None) -> None:
        """No batch of the version is held back any more, or (None) of any."""
        self._closing.add(servable)
        for route, queue in self._queues.items():
            if servable in (None, route.servable):
                queue.economy.close()

    def dismiss(self, servable: ServableId, then: Callable[[], None]) -> None:
        """Take away all of the version's queues; call `then` once nothing of it runs. No lane of it is taken any more."""
        self._going.add(servable)
        route = next((route for route in self._queues if route.servable == servable), None)
        if route is None:
            if self._counters:
                self._counters.retire(servable)
            then()
            return
        queue = self._queues.pop(route)
        self._loop.remove(queue)
        queue.when_idle(lambda: self.dismiss(servable, then))

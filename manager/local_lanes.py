"""Lanes of local clients, which are in the front end's place: made, handed out, dropped, never given back after a restart.

The supervisor keeps no end of them: when a client or a worker ends, so does its part of a lane, and the other one hears it.
"""

from __future__ import annotations

import itertools
import resource
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from manager.frontend_process import FrontEndProcess
from manager.lanes import Route
from manager.worker_process import WorkerProcess
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from shm.descriptor_refusal import refuse_descriptors
from shm.lane import Lane
from shm.layout import LaneSpec

_SHARE: Final = 4  # of a worker's descriptors half are for local lanes, which take two each


@dataclass(frozen=True, slots=True)
class LocalLane:
    """A lane that a client of this front end has."""

    number: int
    frontend: FrontEndProcess
    worker: WorkerProcess
    servable: ServableId


class LocalLanes:
    """All local clients' lanes."""

    def __init__(self, ring_bytes: int, most_request_bytes: int) -> None:
        """`ring_bytes`: room for the packed requests of a lane, and for its packed answers; sparse."""
        self._ring_bytes = ring_bytes
        self._most_request_bytes = most_request_bytes
        self._lanes: dict[int, LocalLane] = {}
        self._counts: Counter[str] = Counter()  # by worker, those that are being made too
        # Not those of ordinary lanes: a front end and a worker must never mistake one for the other.
        self._numbers = itertools.count(1 << 32)
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE

    def choose(self, workers: Sequence[WorkerProcess]) -> WorkerProcess:
        """The worker with the fewest. Raises ServingError where none of them can take one."""
        if not workers:
            raise ServingError(Code.UNAVAILABLE, "No worker can take its requests now")
        worker = min(workers, key=lambda worker: self._counts[worker.title])
        if self._counts[worker.title] >= self._most:
            text = f"Local clients have {self._most} lanes to each worker already"
            raise ServingError(Code.RESOURCE_EXHAUSTED, text)
        return worker

    async def make(
        self, frontend: FrontEndProcess, worker: WorkerProcess, route: Route, call: int, is_wanted: Callable[[], bool]
    ) -> None:
        """Make a lane, hand it to the worker, and then to the front end as the answer to `call`.

        Raises ServingError when the worker can't take it, OSError when it can't be made. Where nobody wants it any more,
        nobody is told.
        """
        self._counts[worker.title] += 1
        kept = False
        try:
            kept = await self._make(frontend, worker, route, call, is_wanted)
        finally:
            if not kept:
                self._counts[worker.title] -= 1

    async def _make(
        self, frontend: FrontEndProcess, worker: WorkerProcess, route: Route, call: int, is_wanted: Callable[[], bool]
    ) -> bool:
        report = await worker.call({"type": "form", **route.to_wire()})
        columns = report["columns"]
        if route.inputs is not None and not columns:
            raise ServingError(Code.FAILED_PRECONDITION, f"There are no columns for such rows: {report['reason']}")
        if not is_wanted():
            return False
        spec = LaneSpec.from_wire(columns, self._ring_bytes)
        number, pid = next(self._numbers), worker.pid
        message = {
            "lane": number,
            "columns": columns,
            "ring_bytes": self._ring_bytes,
            "most_rows": _most_rows(spec, self._most_request_bytes),
        }
        label = {"frontend": frontend.title, "worker": worker.title, **_shown(route)}
        lane = Lane.create(spec, label)
        try:
            ours, theirs = socket.socketpair()
            refuse_descriptors(theirs)
            with ours, theirs:
                terms = {"local": True, "most_request_bytes": self._most_request_bytes, "frontend": frontend.title}
                fds = [lane.segment.fd, theirs.fileno()]
                await worker.call({"type": "lane", **terms, **message, **route.to_wire()}, fds)
                if worker.pid != pid or worker.has_ended:  # its successor knows nothing of the lane
                    raise ServingError(Code.UNAVAILABLE, f"{worker.title} ended")
                if not is_wanted():
                    worker.send({"type": "drop_lane", "lane": number})
                    return False
                self._lanes[number] = LocalLane(number, frontend, worker, route.servable)
                fds = [lane.segment.fd, ours.fileno()]
                frontend.send({"type": "told", "call": call, "worker": worker.device, **message}, fds)
                return True
        finally:
            lane.close()

    def drop(self, frontend: FrontEndProcess, number: int) -> None:
        """The front end's client has given it up; nothing where it is gone already."""
        lane = self._lanes.get(number)
        if lane is not None and lane.frontend is frontend:
            self._drop(lane)

    def drop_frontend(self, frontend: FrontEndProcess) -> None:
        """Its process is gone: the clients' connections are, too."""
        for lane in [lane for lane in self._lanes.values() if lane.frontend is frontend]:
            self._drop(lane)

    def drop_servable(self, servable: ServableId) -> None:
        """The front end has let go of the version."""
        for lane in [lane for lane in self._lanes.values() if lane.servable == servable]:
            self._drop(lane)

    def forget_worker(self, worker: WorkerProcess) -> None:
        """Its process is gone, and with it its lanes."""
        for lane in [lane for lane in self._lanes.values() if lane.worker is worker]:
            self._forget(lane)

    def _drop(self, lane: LocalLane) -> None:
        lane.worker.send({"type": "drop_lane", "lane": lane.number})
        self._forget(lane)

    def _forget(self, lane: LocalLane) -> None:
        del self._lanes[lane.number]
        self._counts[lane.worker.title] -= 1

    def __len__(self) -> int:
        return len(self._lanes)


def _shown(route: Route) -> dict[str, Any]:
    return {"servable": list(route.servable), "signature": route.signature}


def _most_rows(spec: LaneSpec, most_bytes: int) -> int:
    """Of one request in columns: more would hold up the ring, or be more than a request may have."""
    row_bytes = max(sum(column.row_bytes for column in spec.inputs), 1)
    return min(spec.rows // 2, max(most_bytes // row_bytes, 1))

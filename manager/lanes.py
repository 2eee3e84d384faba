"""The lanes between front ends and workers: made, handed to both sides, given back after a restart, dropped."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manager.frontend_process import FrontEndProcess
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import ServingError
from ringserve.servable import ServableId
from shm.lane import Lane
from shm.layout import LaneSpec

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """What a lane carries: requests to one signature, with rows of these inputs (None: as the signature declares)."""

    servable: ServableId
    signature: str
    inputs: tuple[tuple[int, str, tuple[int, ...]], ...] | None = None

    @classmethod
    def from_wire(cls, wire: Message) -> Route:
        inputs = wire["inputs"]
        if inputs is not None:
            inputs = tuple((dtype, storage, tuple(shape)) for dtype, storage, shape in inputs)
        return cls(ServableId(*wire["servable"]), wire["signature"], inputs)

    def to_wire(self) -> Message:
        return {"servable": self.servable, "signature": self.signature, "inputs": self.inputs}


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """A lane in use. The supervisor keeps the segment, so that a new worker can go on where the old one stopped."""

    number: int
    frontend: FrontEndProcess
    worker: WorkerProcess
    route: Route
    columns: Any  # as the worker's report had them: None where requests travel packed
    segment: int  # file descriptor


class Lanes:
    """All lanes of the server."""

    def __init__(self, ring_bytes: int) -> None:
        """`ring_bytes`: room for the packed requests of a lane, and for its packed answers; sparse."""
        self._ring_bytes = ring_bytes
        self._records: dict[int, LaneRecord] = {}
        self._places: dict[tuple[str, str, Route], int] = {}  # by the roles' titles: the lane that is there, or being made
        self._numbers = itertools.count(1)

    async def make(
        self,
        frontend: FrontEndProcess,
        worker: WorkerProcess,
        route: Route,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Make a lane and hand it to the worker, then to the front end. Raises ServingError when the worker can't.

        Where there is one, it stays: a front end may ask for what it is about to be given. A worker that ends meanwhile is
        asked once more when it is back. A lane that `is_wanted` no more is dropped.
        """
        try:
            await self._make(frontend, worker, route, is_wanted)
        except ServingError:
            if worker.ready.is_set():
                raise
            await self._make(frontend, worker, route, is_wanted)

    async def _make(
        self, frontend: FrontEndProcess, worker: WorkerProcess, route: Route, is_wanted: Callable[[], bool]
    ) -> None:
        await worker.ready.wait()
        report = await worker.call({"type": "form", **route.to_wire()})
        columns = report["columns"]
        if route.inputs is not None and not columns:  # not a form that columns would be of use for
            return
        label = {
            "frontend": frontend.title,
            "worker": worker.title,
            "servable": list(route.servable),
            "signature": route.signature,
            "batched": report["batched"],
        }
        place = (frontend.title, worker.title, route)
        if place in self._places or not is_wanted():
            return
        lane = Lane.create(LaneSpec.from_wire(columns, self._ring_bytes), label)
        record = LaneRecord(next(self._numbers), frontend, worker, route, columns, os.dup(lane.segment.fd))
        lane.close()
        self._records[record.number] = record
        self._places[place] = record.number
        try:
            await self._attach(record)
        except BaseException:
            self._forget(record)
            raise
        if record.number in self._records and not is_wanted():
            self._drop(record)
        if record.number not in self._records:
            return
        message = {"type": "lane", "lane": record.number, "worker": worker.device, "columns": columns}
        frontend.send({**message, "ring_bytes": self._ring_bytes, **route.to_wire()}, [record.segment, worker.doorbell.fd])

    async def _attach(self, record: LaneRecord) -> None:
        message = {"type": "lane", "lane": record.number, "columns": record.columns, "ring_bytes": self._ring_bytes}
        message |= {"frontend": record.frontend.title, **record.route.to_wire()}
        await record.worker.call(message, [record.segment, record.frontend.doorbell.fd])

    async def restore(self, worker: WorkerProcess, servable: ServableId) -> None:
        """Hand a new worker process the lanes of the one before it to this version."""
        for record in [r for r in self._records.values() if r.worker is worker and r.route.servable == servable]:
            if record.number in self._records:  # not dropped while the one before was attached
                try:
                    await self._attach(record)
                except ServingError as error:
                    if worker.has_ended:
                        raise
                    _logger.error("a lane of %s is lost: %s", servable, error)

    def drop_frontend(self, frontend: FrontEndProcess) -> None:
        """Its process is gone: nobody reads these answers any more."""
        for record in [record for record in self._records.values() if record.frontend is frontend]:
            self._drop(record)

    def drop_servable(self, servable: ServableId) -> None:
        """All front ends have let go of the version."""
        for record in [record for record in self._records.values() if record.route.servable == servable]:
            self._drop(record)

    def _drop(self, record: LaneRecord) -> None:
        record.worker.send({"type": "drop_lane", "lane": record.number})
        self._forget(record)

    def _forget(self, record: LaneRecord) -> None:
        if self._records.pop(record.number, None) is not None:
            del self._places[record.frontend.title, record.worker.title, record.route]
            os.close(record.segment)

    def __len__(self) -> int:
        return len(self._records)

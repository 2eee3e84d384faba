"""A front-end process: what the supervisor tells it, the doorbells, and the one way of a request that all protocols use."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from frontend.catalog import Catalog, Version, VersionStatus
from frontend.endpoint import Endpoint
from frontend.open_lane import OpenLane, Pending
from frontend.tensors import Tensor
from ringserve.channel import AsyncChannel, Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId, State
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import LaneSpec
from shm.producer import LaneProducer

_logger = logging.getLogger(__name__)

_EXPIRE_SECONDS: Final = 0.1  # how often deadlines are looked at


class FrontEnd:
    """Joins a protocol to the lanes."""

    def __init__(self, control: socket.socket, doorbell: Doorbell) -> None:
        self.catalog = Catalog()
        self.opened = asyncio.Event()  # connections may be accepted
        self.stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._doorbell = doorbell
        self._lanes: list[OpenLane] = []
        self._busy: set[OpenLane] = set()  # those with requests that wait
        self._workers: dict[str, Doorbell] = {}
        self._to_ring: set[str] = set()
        self._alone = True  # the last request answered was so by itself: the next may be alone too
        self._retiring: dict[int, Version] = {}  # by call
        self._open_call = 0
        self._channel = AsyncChannel(control, self._on_message, self._on_supervisor_gone)
        self._handlers: dict[str, Callable[[Message, list[int]], None]] = {
            "servable": self._on_servable,
            "route": self._on_route,
            "status": self._on_status,
            "lane": self._on_lane,
            "lane_refused": self._on_lane_refused,
            "retire": self._on_retire,
            "open": self._on_open,
            "stop": lambda _, __: self.stopping.set(),
        }
        self._loop.add_reader(doorbell.fd, self._collect)
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)
        self._channel.send({"type": "ready"})

    def submit(self, endpoint: Endpoint, inputs: Sequence[Tensor], timeout: int) -> Pending:
        """Put a request into a lane of an open endpoint; `timeout` in ns, 0: none. Raises ServingError.

        Await its `future`, read its answer with `endpoint.answer`, and call `done` whatever happened.
        """
        pending = endpoint.submit(inputs, timeout)
        self._busy.add(pending.lane)
        lane = pending.lane
        # Requests of one turn of the loop share one ring at its end. One that comes alone rings at once: on a quiet server
        # the turn's end would only make it wait.
        if lane.waiting == 1 and self._alone:
            self._workers[lane.worker].ring()
        else:
            if not self._to_ring:
                self._loop.call_soon(self._ring)
            self._to_ring.add(lane.worker)
        return pending

    def _ring(self) -> None:
        for worker in self._to_ring:
            self._workers[worker].ring()
        self._to_ring.clear()

    def _collect(self) -> None:
        """The doorbell: workers have completed requests."""
        self._doorbell.clear()
        collected = 0
        for lane in list(self._busy):
            collected += lane.collect()
            if not lane.waiting:
                self._busy.discard(lane)
        self._alone = collected == 1
        if self._retiring:
            self._loop.call_soon(self._finish_retiring)

    def _expire(self) -> None:
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)  # first: whatever fails below, deadlines go on
        now = time.monotonic_ns()
        for lane in self._lanes:
            lane.expire(now)
            lane.producer.beat(now)
        if self._retiring:
            self._finish_retiring()

    def _on_message(self, message: Message, fds: list[int]) -> None:
        self._handlers[message["type"]](message, fds)

    @staticmethod
    def _on_supervisor_gone() -> None:
        """Nobody is left to answer for this process."""
        os._exit(0)

    def _on_open(self, message: Message, _: list[int]) -> None:
        self._open_call = message["call"]
        self.opened.set()

    def listening(self) -> None:
        """The protocol accepts connections now."""
        self._channel.send({"type": "answer", "call": self._open_call})

    def _on_servable(self, message: Message, _: list[int]) -> None:
        self.catalog.add(Version(ServableId(*message["servable"]), message, self._channel.send), message["routed"])

    def _on_route(self, message: Message, _: list[int]) -> None:
        self.catalog.route(ServableId(*message["servable"]))

    def _on_status(self, message: Message, _: list[int]) -> None:
        versions = [
            VersionStatus(version, State(state), Code(code), text) for version, state, code, text in message["versions"]
        ]
        self.catalog.set_status(message["model"], versions)

    def _on_lane(self, message: Message, fds: list[int]) -> None:
        segment, doorbell = fds
        worker = message["worker"]
        if worker in self._workers:
            os.close(doorbell)
        else:
            self._workers[worker] = Doorbell(doorbell)
        version = self.catalog.find(ServableId(*message["servable"]))
        if version is None:  # retired meanwhile
            os.close(segment)
            return
        columns = message["columns"]
        spec = LaneSpec.from_wire(columns, message["ring_bytes"])
        lane = OpenLane(message["lane"], worker, LaneProducer(Lane.attach(segment, spec)))
        self._lanes.append(lane)
        form = tuple((dtype, tuple(shape)) for dtype, _, shape in columns[0]) if columns else None
        version.endpoint(message["signature"]).add(lane, message["inputs"], form)

    def _on_lane_refused(self, message: Message, _: list[int]) -> None:
        version = self.catalog.find(ServableId(*message["servable"]))
        if version is not None and message["inputs"] is None:
            version.endpoint(message["signature"]).refuse(ServingError(Code(message["code"]), message["message"]))

    def _on_retire(self, message: Message, _: list[int]) -> None:
        version = self.catalog.retire(ServableId(*message["servable"]))
        if version is None:
            self._channel.send({"type": "answer", "call": message["call"]})
            return
        name, number = version.id
        gone = ServingError(Code.NOT_FOUND, f"Servable not found for request: Specific({name}, {number})")
        for endpoint in version.endpoints:
            endpoint.retire(gone)
        self._retiring[message["call"]] = version
        self._finish_retiring()

    def _finish_retiring(self) -> None:
        """Of versions that nobody can find any more: once their requests are answered, let go of their lanes."""
        for call, version in list(self._retiring.items()):
            lanes = [lane for endpoint in version.endpoints for lane in endpoint.lanes]
            if all(lane.deserted for lane in lanes):
                del self._retiring[call]
                self._lanes = [lane for lane in self._lanes if lane not in lanes]
                for lane in lanes:
                    lane.producer.lane.close()
                self._channel.send({"type": "answer", "call": call})

    @property
    def idle(self) -> bool:
        """No request is in a lane."""
        return all(lane.idle for lane in self._lanes)

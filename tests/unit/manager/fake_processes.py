"""Workers and front ends without processes: they note what they are told, and answer when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from manager.lanes import Route
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE

ANSWER: Message = {
    "signatures": [[DEFAULT_SIGNATURE]],
    "metadata": {"a": 1},
    "warm_up": {"source": "off", "seconds": 0.0},
    "batching": [1000, 0],
}


class FakeWorker:
    """In place of a `WorkerProcess`. Its memory grows by `takes` with each load."""

    def __init__(self, device: str = "cpu:0", error: ServingError | None = None, takes: int = 0) -> None:
        self.device = device
        self.title = f"worker {device}"
        self.pid = 1
        self.activity = 0
        self.busy = 0
        self.error = error
        self.takes = takes
        self.resident_bytes: int | None = 1000
        self.bytes = 0  # what it estimates
        self.answer = ANSWER
        self.held: list[ServableId] = []
        self.requests: list[Message] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    async def _pass(self, call: str) -> None:
        if call in self.gates:
            await self.gates[call].wait()

    async def load(self, servable: ServableId, request: Message) -> Message:
        self.requests.append(request)
        self.activity += 1
        await self._pass("load")
        self.activity += 1
        if self.error:
            raise self.error
        self.held.append(servable)
        if self.resident_bytes is not None:
            self.resident_bytes += self.takes
        return self.answer

    async def estimate(self, request: Message) -> int:
        self.requests.append(request)
        return self.bytes

    async def unload(self, servable: ServableId) -> None:
        await self._pass("unload")
        if servable in self.held:
            self.held.remove(servable)


class FakeFrontEnd:
    """In place of a `FrontEndProcess`. `known` is what the present process would make of what it is told."""

    def __init__(self, index: int = 0) -> None:
        self.title = f"frontend rest {index}"
        self.has_lanes = True
        self.pid = 1000 * (index + 1)
        self.messages: list[Message] = []
        self.informed = True
        self.gone = False
        self.retired = asyncio.Event()
        self.retired.set()

    def send(self, message: Message, fds: object = ()) -> None:
        self.messages.append(message)

    async def call(self, message: Message) -> Message:
        self.messages.append(message)
        if self.gone:
            raise ServingError(Code.UNAVAILABLE, "it has ended")
        await self.retired.wait()
        return {}

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self.pid += 1
        self.informed = False
        self.messages.clear()

    def of(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def routed(self) -> list[ServableId]:
        """What requests find: versions that it was told of, and of whose route."""
        found: list[ServableId] = []
        known = set()
        for message in self.messages:
            servable: Any = message.get("servable")
            if message["type"] == "servable":
                known.add(servable)
            shown = message["type"] == "route" or (message["type"] == "servable" and message["routed"])
            if shown and servable in known and servable not in found:
                found.append(servable)
            if message["type"] == "retire" and servable in found:
                found.remove(servable)
        return found


class FakeLanes:
    """In place of `Lanes`: notes which are made; a test may hold that up, or have it fail."""

    def __init__(self) -> None:
        self.made: list[tuple[int, str, Route]] = []  # by the front end's process
        self.dropped: list[object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def make(self, frontend: FakeFrontEnd, worker: FakeWorker, route: Route, is_wanted: Callable[[], bool]) -> None:
        pid = frontend.pid
        await self.open.wait()
        if self.error:
            raise self.error
        if is_wanted():
            self.made.append((pid, worker.device, route))

    def drop_servable(self, servable: ServableId) -> None:
        self.dropped.append(servable)

    def drop_frontend(self, frontend: FakeFrontEnd) -> None:
        self.dropped.append(frontend)

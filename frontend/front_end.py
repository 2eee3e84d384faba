"""A front-end process: what the supervisor tells it, the doorbells, and the one way of a request that all protocols use."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from frontend.catalog import Catalog, Version, VersionStatus
from frontend.endpoint import Endpoint, Form
from frontend.open_lane import OpenLane
from frontend.pending import Pending, Tell
from frontend.request_counters import RequestCounters
from frontend.shadow import Shadows
from frontend.tensors import Array, Tensor
from ringserve.channel import AsyncChannel, Message
from ringserve.errors import Code, ServingError
from ringserve.handle import ServableHandle
from ringserve.heap import give_memory_back
from ringserve.servable import ServableId, State
from ringserve.ssl_config import SslConfig
from shm.doorbell import Doorbell
from shm.lane import Lane
from shm.layout import LaneSpec
from shm.producer import LaneProducer

_EXPIRE_SECONDS: Final = 0.1  # how often deadlines are looked at
_LOAD_NS: Final = 1_000_000_000  # how often it is told how full the lanes are
_TRIM_NS: Final = 10_000_000_000  # how often freed memory is given back, if nothing is to be done
_QUEUE_FULL: Final = "queue_full"
_METRICS_SECONDS: Final = 3.0  # how long the supervisor may take to write them
_BATCHING_SECONDS: Final = 2.0  # the same of what it knows of batching, without which the page is shown as well


class FrontEnd:
    """Joins a protocol to the lanes."""

    def __init__(self, control: socket.socket, doorbell: Doorbell, counters: RequestCounters) -> None:
        self.catalog = Catalog()
        self.counters = counters
        self.opened = asyncio.Event()  # connections may be accepted
        self.stopping = asyncio.Event()
        self.prometheus_path: str | None = None  # where metrics with upstream's names are asked for
        self.ssl: SslConfig | None = None
        self._loop = asyncio.get_running_loop()
        self._doorbell = doorbell
        self._lanes: list[OpenLane] = []
        self._busy: set[OpenLane] = set()  # those with requests that wait
        self._workers: dict[str, Doorbell] = {}
        self._to_ring: set[str] = set()
        self._alone = True  # the last request answered was so by itself: the next may be alone too
        self._avoided: set[tuple[str, ServableId | None]] = set()  # workers, for one version or (None) for all
        self._open_call = 0
        self._report_load_at = self._trim_at = 0  # in ns of CLOCK_MONOTONIC
        self._calls = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}  # what the supervisor is to answer, by call
        self._channel = AsyncChannel(control, self._on_message, self._on_supervisor_gone)
        self._shadows = Shadows(self.catalog, self.submit, self._channel.send)
        self._handlers: dict[str, Callable[[Message, list[int]], None]] = {
            "servable": self._on_servable,
            "route": self._on_route,
            "retire": self._on_retire,
            "models": lambda message, _: self.catalog.set_models(message["names"]),
            "routing": self._on_routing,
            "status": self._on_status,
            "forget": self._on_forget,
            "lane": self._on_lane,
            "lane_refused": self._on_lane_refused,
            "worker": self._on_worker,
            "told": self._on_told,
            "open": self._on_open,
            "stop": self._on_stop,
        }
        self._loop.add_reader(doorbell.fd, self.collect)
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)
        self._channel.send({"type": "ready"})

    def submit(
        self,
        endpoint: Endpoint,
        inputs: Sequence[Tensor],
        timeout: int,
        copied: bool = True,
        tell: Tell | None = None,
        low: bool = False,
    ) -> Pending:
        """Put a request into a lane of an open endpoint; `timeout` in ns, 0: none. Raises ServingError.

        Await its `future`, or be told, read its answer with `endpoint.answer`, and call `done` whatever happened; hold the
        version's handle until then. `copied`: its version's shadows may get a copy, for which there must be a future.
        `low`: the request is of low priority.
        """
        try:
            pending = endpoint.submit(inputs, timeout, tell, low)
        except ServingError as error:
            self._note_refusal(endpoint, error)
            raise
        self._announce(pending.lane)
        if self._shadows.rates and copied:
            self._shadows.copy(endpoint, inputs, pending, timeout)
        return pending

    def submit_each(
        self,
        endpoint: Endpoint,
        form: Form,
        columns: Sequence[Array],
        rows_each: int,
        timeout: int,
        tell: Tell,
        low: bool = False,
    ) -> tuple[Pending, int]:
        """Put many requests into a lane together: see `Endpoint.submit_each`."""
        try:
            found = endpoint.submit_each(form, columns, rows_each, timeout, tell, low)
        except ServingError as error:
            self._note_refusal(endpoint, error)
            raise
        self._announce(found[0].lane)
        return found

    def _note_refusal(self, endpoint: Endpoint, error: ServingError) -> None:
        """Whoever waits for room and tries again is counted each time."""
        if error.code is Code.UNAVAILABLE:
            name, version = endpoint.servable
            self.counters.rejected(name, version, endpoint.signature.name, _QUEUE_FULL)

    def _announce(self, lane: OpenLane) -> None:
        """Have the worker look into the lane."""
        self._busy.add(lane)
        # Requests of one turn of the loop share one ring at its end. One that comes alone rings at once: on a quiet server
        # the turn's end would only make it wait.
        if lane.waiting == 1 and self._alone:
            self._workers[lane.worker].ring()
        else:
            if not self._to_ring:
                self._loop.call_soon(self._ring)
            self._to_ring.add(lane.worker)

    @property
    def has_shadows(self) -> bool:
        """May requests be copied?"""
        return bool(self._shadows.rates)

    def _ring(self) -> None:
        for worker in self._to_ring:
            self._workers[worker].ring()
        self._to_ring.clear()

    def collect(self) -> None:
        """The doorbell was rung: workers have completed requests."""
        self._doorbell.clear()
        collected = 0
        for lane in list(self._busy):
            collected += lane.collect()
            if not lane.waiting:
                self._busy.discard(lane)
        self._alone = collected == 1

    def _expire(self) -> None:
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)  # first: whatever fails below, deadlines go on
        now = time.monotonic_ns()
        for lane in self._lanes:
            lane.expire(now)
            lane.producer.beat(now)
        self._shadows.report(now)
        if now >= self._report_load_at:
            self._report_load_at = now + _LOAD_NS
            self._report_load()
        if now >= self._trim_at:
            self._trim_at = now + _TRIM_NS
            if not self._busy:
                give_memory_back()

    def _report_load(self) -> None:
        lanes = ((v.id.name, lane) for v in self.catalog.loaded(None) for e in v.endpoints for lane in e.lanes)
        self.counters.set_load((name, lane.worker, lane.inflight, lane.enqueued, lane.occupancy) for name, lane in lanes)

    def _on_message(self, message: Message, fds: list[int]) -> None:
        self._handlers[message["type"]](message, fds)

    @staticmethod
    def _on_supervisor_gone() -> None:
        """Nobody is left to answer for this process."""
        os._exit(0)

    def _on_open(self, message: Message, _: list[int]) -> None:
        self._open_call = message["call"]
        self.prometheus_path = message["prometheus_path"]
        self.ssl = SslConfig(*message["ssl"]) if message["ssl"] else None
        self.opened.set()

    async def may_open(self) -> bool:
        """Wait for the supervisor's word; False: the server stops before it has opened."""
        events = [asyncio.ensure_future(event.wait()) for event in (self.opened, self.stopping)]
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        return not self.stopping.is_set()

    def listening(self, error: ServingError | None = None) -> None:
        """The protocol accepts connections now, or (with an error) can't."""
        failed = {} if error is None else {"code": int(error.code), "message": error.message}
        self._channel.send({"type": "answer", "call": self._open_call, **failed})

    def _on_servable(self, message: Message, _: list[int]) -> None:
        version = Version(ServableId(*message["servable"]), message, self._channel.send)
        self.counters.serve(version.id, version.signatures)
        self.catalog.add(version, message["routed"])

    def _on_route(self, message: Message, _: list[int]) -> None:
        self.catalog.route(ServableId(*message["servable"]))

    def _on_routing(self, message: Message, _: list[int]) -> None:
        self.catalog.set_labels(message["model"], message["labels"])
        self._shadows.set_rates(message["model"], message["shadows"])

    def _on_status(self, message: Message, _: list[int]) -> None:
        status = VersionStatus(message["version"], State(message["state"]), Code(message["code"]), message["message"])
        self.catalog.set_status(message["model"], status)

    def _on_forget(self, message: Message, _: list[int]) -> None:
        self.catalog.forget_status(message["model"], message["versions"])

    def _on_lane(self, message: Message, fds: list[int]) -> None:
        segment, doorbell = fds
        worker = message["worker"]
        if worker in self._workers:
            os.close(doorbell)
        else:
            self._workers[worker] = Doorbell(doorbell)
        servable = ServableId(*message["servable"])
        version = self.catalog.find(servable)
        if version is None:  # gone meanwhile
            os.close(segment)
            return
        columns = message["columns"]
        spec = LaneSpec.from_wire(columns, message["ring_bytes"])
        lane = OpenLane(message["lane"], worker, LaneProducer(Lane.attach(segment, spec)))
        lane.avoided = self.is_avoided(worker, servable)
        self._lanes.append(lane)
        form = tuple((dtype, tuple(shape)) for dtype, _, shape in columns[0]) if columns else None
        version.endpoint(message["signature"]).add(lane, message["inputs"], form)
        self.catalog.notify((servable.name,))

    def _on_lane_refused(self, message: Message, _: list[int]) -> None:
        version = self.catalog.find(ServableId(*message["servable"]))
        if version is not None and message["inputs"] is None:
            version.endpoint(message["signature"]).refuse(ServingError(Code(message["code"]), message["message"]))

    def _on_worker(self, message: Message, _: list[int]) -> None:
        """A worker's lanes are to be avoided, or no longer: those to one version, or all."""
        servable = ServableId(*message["servable"]) if message["servable"] else None
        if message["usable"]:
            self._avoided.discard((message["worker"], servable))
        else:
            self._avoided.add((message["worker"], servable))
        for version in self.catalog.loaded(servable):
            for endpoint in version.endpoints:
                for lane in endpoint.lanes:
                    lane.avoided = self.is_avoided(lane.worker, version.id)
                endpoint.choose_lanes()
        self.catalog.notify({version.id.name for version in self.catalog.loaded(servable)})

    def is_avoided(self, worker: str, servable: ServableId) -> bool:
        """Are requests to this version better sent to another worker?"""
        return not self._avoided.isdisjoint(((worker, None), (worker, servable)))

    def _on_retire(self, message: Message, _: list[int]) -> None:
        """No new request finds the version; once those that hold its handle are answered, let go of its lanes."""
        handle = self.catalog.retire(ServableId(*message["servable"]))
        if handle is None:
            self._channel.send({"type": "answer", "call": message["call"]})
        else:  # not within the request that was the last
            handle.retire(functools.partial(self._loop.call_soon, self._let_go, handle, message["call"]))

    def _let_go(self, handle: ServableHandle[Version], call: int) -> None:
        """Nobody reads from these lanes again; workers may still owe answers that were given up."""
        self.catalog.remove(handle)
        self.counters.retire(handle.id)
        self._avoided = {(worker, servable) for worker, servable in self._avoided if servable != handle.id}
        gone = {lane for endpoint in handle.servable.endpoints for lane in endpoint.lanes}
        self._lanes = [lane for lane in self._lanes if lane not in gone]
        self._busy -= gone
        for lane in gone:
            lane.producer.lane.close()
        self._channel.send({"type": "answer", "call": call})

    def _on_stop(self, _: Message, __: list[int]) -> None:
        self.stopping.set()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ServingError(Code.UNAVAILABLE, "The server is stopping"))

    async def metrics(self, page: str) -> str:
        """The server's figures, as the supervisor writes them: "clean" names, or "upstream"'s.

        Raises ServingError when it does not in time.
        """
        try:
            answer = await asyncio.wait_for(self.ask({"type": "metrics", "page": page}), _METRICS_SECONDS)
        except TimeoutError:
            raise ServingError(Code.UNAVAILABLE, "The supervisor did not write the metrics in time") from None
        text: str = answer["text"]
        return text

    async def batching(self) -> dict[str, Message] | None:
        """How each model's requests are batched, by its name, as the supervisor explains it; None: not in time."""
        try:
            answer = await asyncio.wait_for(self.ask({"type": "batching"}), _BATCHING_SECONDS)
        except (TimeoutError, ServingError):
            return None
        explained: dict[str, Message] = json.loads(answer["text"])
        return explained

    def tell(self, message: Message) -> None:
        """To the supervisor, which does not answer."""
        self._channel.send(message)

    async def ask(self, message: Message) -> Message:
        """Have the supervisor answer. Its descriptors, "fds", are the caller's then."""
        call = next(self._calls)
        future = self._asked[call] = self._loop.create_future()
        try:
            self._channel.send({**message, "call": call})
            answer: Message = await future
            return answer
        finally:
            del self._asked[call]

    def _on_told(self, message: Message, fds: list[int]) -> None:
        """The supervisor's answer."""
        future = self._asked.get(message["call"])
        if future is not None and not future.done():
            message["fds"] = fds
            future.set_result(message)
            return
        for fd in fds:  # nobody waits for them any more
            os.close(fd)

    @property
    def idle(self) -> bool:
        """No request is in a lane."""
        return all(lane.idle for lane in self._lanes)

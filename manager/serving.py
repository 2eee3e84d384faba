"""What is being served: the versions that are loaded, by whom, and what front ends know of them."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manager.event_bus import EventBus, ServableState
from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes, Route
from manager.local_lanes import LocalLanes
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE

_logger = logging.getLogger(__name__)


class Phase(enum.Enum):
    """Of a loaded version: its lanes are being made, requests find it, or they no longer do."""

    COMING = enum.auto()
    ROUTED = enum.auto()
    GOING = enum.auto()


@dataclass(slots=True)
class Served:
    """A loaded version. `default`: it has a default signature, whose lanes are made at once."""

    message: Message
    default: bool
    workers: Sequence[WorkerProcess]
    warm_up: Message
    phase: Phase = Phase.COMING
    opening: set[tuple[int, Route]] = field(default_factory=set)  # lanes that are being made, by the front end's process


class Serving:
    """Joins front ends and workers. All on the supervisor's event loop."""

    def __init__(
        self,
        frontends: Sequence[FrontEndProcess],
        lanes: Lanes,
        local_lanes: LocalLanes,
        bus: EventBus,
        monitor: ServableStateMonitor,
    ) -> None:
        self.frontends = frontends
        self._lanes = lanes
        self._local_lanes = local_lanes
        self._monitor = monitor
        self._served: dict[ServableId, Served] = {}
        self._models: Message | None = None
        self._routing: dict[str, Message] = {}
        self._unusable: set[tuple[str, ServableId | None]] = set()  # workers, or versions on them, to be avoided
        self._tasks: set[asyncio.Task[None]] = set()
        bus.subscribe(lambda event: self._tell(self._status(event)))
        monitor.on_forget(lambda name, gone: self._tell({"type": "forget", "model": name, "versions": gone}))

    async def load(self, servable: ServableId, request: Message, workers: Sequence[WorkerProcess]) -> Message:
        """Load a version on these workers and make it known to every front end; the first worker's answer.

        `request`: the message that has a worker load it. Raises the first error of a worker.
        """
        answers = await asyncio.gather(*(worker.load(servable, request) for worker in workers), return_exceptions=True)
        try:
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
            answer = answers[0]
            assert isinstance(answer, dict)
            await self._introduce_version(servable, answer, workers)
        except BaseException:
            await self._give_back(servable, workers)
            raise
        return answer

    async def _introduce_version(self, servable: ServableId, answer: Message, workers: Sequence[WorkerProcess]) -> None:
        message = {
            "type": "servable",
            "servable": servable,
            "signatures": answer["signatures"],
            "metadata": answer["metadata"],
            "batching": answer["batching"],
        }
        default = any(signature[0] == DEFAULT_SIGNATURE for signature in answer["signatures"])
        served = self._served[servable] = Served(message, default, workers, answer["warm_up"])
        self._tell({**message, "routed": False})
        if default:
            frontends = [frontend for frontend in self._informed if frontend.has_lanes]
            await asyncio.gather(*(self._open(frontend, Route(servable, DEFAULT_SIGNATURE)) for frontend in frontends))
        served.phase = Phase.ROUTED
        self._tell({"type": "route", "servable": servable})  # only now: no request of a switch has to wait for a lane

    async def quiesce(self, servable: ServableId) -> None:
        """Front ends send the version nothing more; returns when what they had sent is answered.

        Requests that found the version before still get the lanes that they need.
        """
        served = self._served.get(servable)
        if served is not None:
            served.phase = Phase.GOING
            for worker in served.workers:  # whatever is held back for more requests to come runs now
                worker.send({"type": "close", "servable": servable})
        message = {"type": "retire", "servable": servable}
        # A front end that dies meanwhile has no requests left: its error says just that.
        await asyncio.gather(*(frontend.call(message) for frontend in self._informed), return_exceptions=True)

    async def unload(self, servable: ServableId) -> None:
        served = self._served.get(servable)
        await self._give_back(servable, served.workers if served else ())

    async def _give_back(self, servable: ServableId, workers: Sequence[WorkerProcess]) -> None:
        self._served.pop(servable, None)
        self._lanes.drop_servable(servable)
        self._local_lanes.drop_servable(servable)
        await asyncio.gather(*(worker.unload(servable) for worker in workers), return_exceptions=True)
        self._unusable = {key for key in self._unusable if key[1] != servable}

    def set_models(self, names: Iterable[str]) -> None:
        """These models are configured from now on: front ends are ready when all of them can be asked."""
        self._models = {"type": "models", "names": list(names)}
        self._tell(self._models)

    def route(self, model: str, labels: Mapping[str, Any], shadows: Sequence[Any]) -> None:
        """Replace the labels of a model, and which of its versions are shadowed."""
        message = {"type": "routing", "model": model, "labels": dict(labels), "shadows": list(shadows)}
        if message != self._routing.get(model, {**message, "labels": {}, "shadows": []}):
            self._tell(message)
            if labels or shadows:
                self._routing[model] = message
            else:
                del self._routing[model]

    def served(self, servable: ServableId) -> Served | None:
        """A loaded version."""
        return self._served.get(servable)

    @property
    def labels(self) -> Mapping[str, Mapping[str, Any]]:
        """The labels in force, by model."""
        return {model: message["labels"] for model, message in self._routing.items()}

    def set_usable(self, worker: WorkerProcess, servable: ServableId | None, usable: bool) -> None:
        """Whether requests should go to a worker (to this version on it) while others can take them."""
        if servable is None and not usable:
            self._local_lanes.forget_worker(worker)
        (self._unusable.discard if usable else self._unusable.add)((worker.device, servable))
        self._tell({"type": "worker", "worker": worker.device, "servable": servable, "usable": usable})

    def introduce(self, frontend: FrontEndProcess) -> None:
        """Tell a new front-end process everything; lanes of the process before it are gone with it."""
        frontend.informed = True
        self._lanes.drop_frontend(frontend)
        self._local_lanes.drop_frontend(frontend)
        if self._models is not None:
            frontend.send(self._models)
        for name in self._monitor.names:
            for event in self._monitor.versions(name):
                frontend.send(self._status(event))
        for message in self._routing.values():
            frontend.send(message)
        for device, version in self._unusable:
            frontend.send({"type": "worker", "worker": device, "servable": version, "usable": False})
        for servable, served in self._served.items():
            if served.phase is not Phase.GOING:
                frontend.send({**served.message, "routed": served.phase is Phase.ROUTED})
                if served.default and frontend.has_lanes:
                    self._spawn(self._open(frontend, Route(servable, DEFAULT_SIGNATURE)))

    def want_lane(self, frontend: FrontEndProcess, message: Message) -> None:
        """A front end asks for lanes to every worker that holds the version, for requests of one kind."""
        route = Route.from_wire(message)
        if frontend.informed:
            self._spawn(self._open(frontend, route))

    async def _open(self, frontend: FrontEndProcess, route: Route) -> None:
        """Lanes for one kind of request to all workers; a failure is told to the front end, whose requests wait for it."""
        pid, served = frontend.pid, self._served.get(route.servable)
        if served is None or (pid, route) in served.opening:  # gone; or asked for at load, say, and by an early request
            return

        def is_wanted() -> bool:
            """Not so when another process has taken the front end's place, or the version is gone or was loaded anew."""
            return frontend.pid == pid and self._served.get(route.servable) is served

        served.opening.add((pid, route))
        try:
            await asyncio.gather(*(self._lanes.make(frontend, worker, route, is_wanted) for worker in served.workers))
        except (ServingError, OSError) as error:
            if is_wanted():
                self._refuse(frontend, route, error)
        finally:
            served.opening.discard((pid, route))

    def local_lane(self, frontend: FrontEndProcess, message: Message) -> None:
        """A front end asks for a lane to one worker, for a local client; it is answered whatever becomes of that."""
        self._spawn(self._open_local(frontend, Route.from_wire(message), message["call"]))

    async def _open_local(self, frontend: FrontEndProcess, route: Route, call: int) -> None:
        pid, served = frontend.pid, self._served.get(route.servable)

        def is_wanted() -> bool:
            return frontend.pid == pid and self._served.get(route.servable) is served

        try:
            if served is None:
                raise ServingError(Code.NOT_FOUND, f"{route.servable} is not loaded")
            usable = [worker for worker in served.workers if self._is_usable(worker, route.servable)]
            await self._local_lanes.make(frontend, self._local_lanes.choose(usable), route, call, is_wanted)
            if not is_wanted():
                raise ServingError(Code.UNAVAILABLE, f"{route.servable} is being unloaded")
        except (ServingError, OSError) as caught:
            error = _as_serving_error(caught)
            if frontend.pid == pid:  # else another process has its place, whose calls count anew
                frontend.send({"type": "told", "call": call, "code": int(error.code), "message": error.message})
            del error  # with its traceback it would keep the lane's memory until the next collection of garbage

    def drop_local(self, frontend: FrontEndProcess, number: int) -> None:
        """A local client has given up its lane."""
        self._local_lanes.drop(frontend, number)

    def _is_usable(self, worker: WorkerProcess, servable: ServableId) -> bool:
        return self._unusable.isdisjoint(((worker.device, None), (worker.device, servable)))

    @staticmethod
    def _refuse(frontend: FrontEndProcess, route: Route, error: ServingError | OSError) -> None:
        _logger.warning("no lane for %s signature %s: %s", route.servable, route.signature, error)
        error = _as_serving_error(error)
        frontend.send({"type": "lane_refused", "code": int(error.code), "message": error.message, **route.to_wire()})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def _informed(self) -> list[FrontEndProcess]:
        """Others know nothing yet, and are told everything by `introduce`: what they were told before would come twice."""
        return [frontend for frontend in self.frontends if frontend.informed]

    def _tell(self, message: Message) -> None:
        for frontend in self._informed:
            frontend.send(message)

    @staticmethod
    def _status(event: ServableState) -> Message:
        return {
            "type": "status",
            "model": event.id.name,
            "version": event.id.version,
            "state": int(event.state),
            "code": int(event.error.code) if event.error else 0,
            "message": event.error.message if event.error else "",
        }


def _as_serving_error(error: ServingError | OSError) -> ServingError:
    if isinstance(error, OSError):  # out of file descriptors, say
        return ServingError(Code.RESOURCE_EXHAUSTED, f"The server could not make a lane: {error.strerror}")
    return error

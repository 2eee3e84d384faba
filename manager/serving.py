"""What is being served: the versions that are loaded, by whom, and what front ends know of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from manager.event_bus import EventBus, ServableState
from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes, Route
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Served:
    """A loaded version. `default`: it has a default signature, whose lanes are made at once."""

    message: Message
    default: bool


class Serving:
    """Joins front ends and workers. All on the supervisor's event loop."""

    def __init__(
        self,
        workers: Sequence[WorkerProcess],
        frontends: Sequence[FrontEndProcess],
        lanes: Lanes,
        bus: EventBus,
        monitor: ServableStateMonitor,
    ) -> None:
        self.workers = workers
        self.frontends = frontends
        self._lanes = lanes
        self._monitor = monitor
        self._served: dict[ServableId, Served] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[tuple[int, Route]] = set()  # lanes that are being made, by the front end's process
        bus.subscribe(self._tell_status)

    async def load(self, servable: ServableId, path: str) -> None:
        """Load a version on every worker and make it known to every front end. Raises the first worker's error."""
        answers = await asyncio.gather(*(worker.load(servable, path) for worker in self.workers), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                await asyncio.gather(*(worker.unload(servable) for worker in self.workers), return_exceptions=True)
                raise answer
        answer = answers[0]
        assert isinstance(answer, dict)
        message = {
            "type": "servable",
            "servable": servable,
            "signatures": answer["signatures"],
            "metadata": answer["metadata"],
        }
        default = any(signature[0] == DEFAULT_SIGNATURE for signature in answer["signatures"])
        self._served[servable] = Served(message, default)
        for frontend in self.frontends:
            frontend.send({**message, "routed": False})
        if default:
            await asyncio.gather(*(self._open(frontend, Route(servable, DEFAULT_SIGNATURE)) for frontend in self.frontends))
        for frontend in self.frontends:  # only now: no request of a switch has to wait for a lane
            frontend.send({"type": "route", "servable": servable})

    async def quiesce(self, servable: ServableId) -> None:
        """Front ends send the version nothing more; returns when what they had sent is answered."""
        self._served.pop(servable, None)
        message = {"type": "retire", "servable": servable}
        # A front end that dies meanwhile has no requests left: its error says just that.
        await asyncio.gather(*(frontend.call(message) for frontend in self.frontends), return_exceptions=True)

    async def unload(self, servable: ServableId) -> None:
        self._lanes.drop_servable(servable)
        await asyncio.gather(*(worker.unload(servable) for worker in self.workers), return_exceptions=True)

    def introduce(self, frontend: FrontEndProcess) -> None:
        """Tell a new front-end process everything; lanes of the process before it are gone with it."""
        self._lanes.drop_frontend(frontend)
        for name in self._monitor.names:
            frontend.send(self._status(name))
        for servable, served in self._served.items():
            frontend.send({**served.message, "routed": True})
            if served.default:
                self._spawn(self._open(frontend, Route(servable, DEFAULT_SIGNATURE)))

    def want_lane(self, frontend: FrontEndProcess, message: Message) -> None:
        """A front end asks for lanes to every worker, for requests of one kind."""
        route = Route.from_wire(message)
        if route.servable in self._served:
            self._spawn(self._open(frontend, route))

    async def _open(self, frontend: FrontEndProcess, route: Route) -> None:
        """Lanes for one kind of request to all workers; a failure is told to the front end, whose requests wait for it."""
        key = (frontend.pid, route)
        if key in self._opening:  # asked for at load, say, and by an early request
            return
        self._opening.add(key)
        try:
            await asyncio.gather(*(self._lanes.make(frontend, worker, route) for worker in self.workers))
        except ServingError as error:
            _logger.warning("no lane for %s signature %s: %s", route.servable, route.signature, error)
            refusal = {"type": "lane_refused", "code": int(error.code), "message": error.message, **route.to_wire()}
            frontend.send(refusal)
        except OSError as error:  # out of file descriptors, say
            _logger.error("no lane for %s signature %s: %s", route.servable, route.signature, error)
            text = f"The server could not make a lane: {error.strerror}"
            frontend.send({"type": "lane_refused", "code": int(Code.RESOURCE_EXHAUSTED), "message": text, **route.to_wire()})
        finally:
            self._opening.discard(key)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_status(self, event: ServableState) -> None:
        message = self._status(event.id.name)
        for frontend in self.frontends:
            frontend.send(message)

    def _status(self, name: str) -> Message:
        versions = [
            [
                event.id.version,
                int(event.state),
                int(event.error.code) if event.error else 0,
                event.error.message if event.error else "",
            ]
            for event in self._monitor.versions(name)
        ]
        return {"type": "status", "model": name, "versions": versions}


class WorkerLoader:
    """Loads one version through the workers. Implements `ringserve.loader.Loader`."""

    def __init__(self, serving: Serving, servable: ServableId, path: str) -> None:
        self._serving = serving
        self._servable = servable
        self._path = path

    async def load(self) -> None:
        await self._serving.load(self._servable, self._path)

    async def quiesce(self) -> None:
        await self._serving.quiesce(self._servable)

    async def unload(self) -> None:
        await self._serving.unload(self._servable)

"""The supervisor's view of a worker: what it holds, and how it gets that back after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from manager.child_process import ChildProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId

_logger = logging.getLogger(__name__)

#: Hands a worker the lanes that there are for a version it has loaded.
RestoreLanes = Callable[["WorkerProcess", ServableId], Awaitable[None]]
#: Told whether requests should go to a worker, or to this version on it.
SetUsable = Callable[["WorkerProcess", ServableId | None, bool], None]

_REGAIN_SECONDS: Final = 1.0  # before another try to load a version again; doubles
_LONGEST_REGAIN_SECONDS: Final = 60.0


class WorkerProcess(ChildProcess):
    """One device's worker. `ready` is set while it can be asked to load and to attach lanes."""

    def __init__(self, device: str) -> None:
        super().__init__(f"worker {device}", ["workers", "--device", device])
        self.device = device
        self.ready = asyncio.Event()
        self._holds: dict[ServableId, Message] = {}  # with the requests to load them
        self._absent: set[ServableId] = set()  # of those, what the present process could not load
        self._regaining: dict[ServableId, asyncio.Event] = {}  # set at the end of that
        self._tasks: set[asyncio.Task[None]] = set()
        self.activity = 0  # loads, unloads and estimates begun and ended: memory measured meanwhile is of several
        self.busy = 0  # of those, how many are under way
        self._restore_lanes: RestoreLanes
        self._set_usable: SetUsable

    async def serve(self, options: ServerOptions, restore_lanes: RestoreLanes, set_usable: SetUsable) -> None:
        """Keep the worker running. Raises ServingError when it can't even start."""
        self._restore_lanes = restore_lanes
        self._set_usable = set_usable
        await self.keep(options, {}, self._boot)

    async def _boot(self) -> None:
        await self.booted()
        for servable in list(self._holds):
            if not await self._regain(servable):
                self._try_later(servable)
        self.ready.set()
        if self.restarts:
            self._set_usable(self, None, True)
            _logger.info("%s is back (pid %d)", self.title, self.pid)

    def gone(self) -> None:
        self.ready.clear()
        self._absent.clear()
        self._set_usable(self, None, False)

    def holds(self, servable: ServableId) -> str:
        """How it stands with a version that this worker should hold: "holds", "lost", or "starting" with the worker."""
        if not self.ready.is_set():
            return "starting"
        return "holds" if servable in self._holds and servable not in self._absent else "lost"

    async def _regain(self, servable: ServableId) -> bool:
        """Have a version loaded that the process before held; says whether it is. Raises ServingError if this one ends.

        A version that can't be, its file system being away, say, must not keep the others from serving: its requests are
        refused meanwhile.
        """
        request = self._holds.get(servable)
        if request is None:  # unloaded meanwhile
            return True
        done = self._regaining[servable] = asyncio.Event()
        try:
            if servable in self._absent:
                await self.call({"type": "unload", "servable": servable})  # what refuses its requests
            failure = await self._load_again(request) if servable in self._holds else None
            if servable in self._holds:
                await self._note_regained(servable, failure)
            return servable not in self._absent
        finally:  # whoever wants it unloaded has waited for this
            del self._regaining[servable]
            done.set()

    async def _load_again(self, request: Message) -> ServingError | None:
        try:
            with self._acting():
                await self.call(request)
        except ServingError as error:
            if self.has_ended:
                raise
            return error
        return None

    async def _note_regained(self, servable: ServableId, failure: ServingError | None) -> None:
        if failure is None:
            self._absent.discard(servable)
        else:
            _logger.error("%s has lost servable version %s, and will try again: %s", self.title, servable, failure)
            self._absent.add(servable)
            await self.call({"type": "absent", "servable": servable, "reason": failure.message})
        await self._restore_lanes(self, servable)
        self._set_usable(self, servable, failure is None)

    def _try_later(self, servable: ServableId) -> None:
        task = asyncio.get_running_loop().create_task(self._try_again(servable))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try_again(self, servable: ServableId) -> None:
        """Until the version is there again, or unwanted, or the process has ended and the next one tries."""
        pid, pause = self.pid, _REGAIN_SECONDS
        with contextlib.suppress(ServingError):
            while True:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_REGAIN_SECONDS)
                if self.pid != pid or servable not in self._absent:
                    return
                if await self._regain(servable):
                    return

    async def load(self, servable: ServableId, request: Message) -> Message:
        """Have a version loaded; the answer has its signatures. A worker that dies of it is tried once more."""
        answer = await self._call_twice(request, "loaded")
        self._holds[servable] = request
        return answer

    async def estimate(self, request: Message) -> int:
        """Bytes of memory that the load of `request` will take here. Raises ServingError."""
        return int((await self._call_twice({**request, "type": "estimate"}, "estimated"))["bytes"])

    async def explain(self, servable: ServableId, seconds: float) -> list[Message]:
        """Why this worker batches the version's requests or not: an entry for each signature and form.

        Raises ServingError, also when there is no answer within `seconds`.
        """
        if not self.ready.is_set():
            raise ServingError(Code.UNAVAILABLE, f"{self.title} is not ready")
        try:
            answer = await asyncio.wait_for(self.call({"type": "explain", "servable": servable}), seconds)
        except TimeoutError:
            raise ServingError(Code.DEADLINE_EXCEEDED, f"{self.title} did not answer within {seconds:g} s") from None
        return list(answer["queues"])

    async def _call_twice(self, request: Message, doing: str) -> Message:
        died = 0
        while True:
            await self.ready.wait()
            pid = self.pid
            try:
                with self._acting():
                    return await self.call(request)
            except ServingError as error:
                if self.pid == pid and not self.has_ended:
                    raise
                died += 1
                if died == 2:
                    text = f"{self.title} died twice while it {doing} {ServableId(*request['servable'])}"
                    raise ServingError(Code.INTERNAL, text) from error

    @contextlib.contextmanager
    def _acting(self) -> Iterator[None]:
        self.activity += 1
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            self.activity += 1

    async def unload(self, servable: ServableId) -> None:
        """Have it given back. Raises ServingError when the worker is down: it has nothing to give back then."""
        if self._holds.pop(servable, None) is not None:
            if regaining := self._regaining.get(servable):
                await regaining.wait()
            self._absent.discard(servable)
            with self._acting():
                await self.call({"type": "unload", "servable": servable})

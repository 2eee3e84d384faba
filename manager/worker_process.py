"""The supervisor's view of a worker: what it holds, and how it gets that back after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from manager.child_process import ChildProcess
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId

_logger = logging.getLogger(__name__)


class WorkerProcess(ChildProcess):
    """One device's worker. `ready` is set while it can be asked to load and to attach lanes."""

    def __init__(self, device: str) -> None:
        super().__init__(f"worker {device}", ["workers", "--device", device])
        self.device = device
        self.ready = asyncio.Event()
        self._holds: dict[ServableId, str] = {}

    async def serve(self, options: ServerOptions, restore_lanes: Callable[[WorkerProcess], Awaitable[None]]) -> None:
        """Keep the worker running. Raises ServingError when it can't even start."""

        async def boot() -> None:
            self.ready.clear()
            await self.booted()
            for servable, path in list(self._holds.items()):
                await self.call({"type": "load", "servable": servable, "path": path})
            await restore_lanes(self)
            self.ready.set()
            if self.restarts:
                _logger.info("%s is back (pid %d)", self.title, self.pid)

        await self.keep(options, {}, boot)

    async def load(self, servable: ServableId, path: str) -> Message:
        """Load a version: its signatures and metadata. A worker that dies of it is tried once more."""
        died = 0
        while True:
            await self.ready.wait()
            pid = self.pid
            try:
                answer = await self.call({"type": "load", "servable": servable, "path": path})
            except ServingError as error:
                if self.pid == pid and not self.has_ended:
                    raise
                died += 1
                if died == 2:
                    text = f"{self.title} died twice while it loaded {servable}"
                    raise ServingError(Code.INTERNAL, text) from error
                self.ready.clear()
            else:
                self._holds[servable] = path
                return answer

    async def unload(self, servable: ServableId) -> None:
        """Have it given back; a worker that is down has nothing to give back."""
        if self._holds.pop(servable, None) is not None and self.ready.is_set():
            await self.call({"type": "unload", "servable": servable})

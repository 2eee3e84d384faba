"""The supervisor process: starts everything, keeps it running, ends it. Owns no request."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import time
from collections.abc import Sequence
from typing import Final

import setproctitle
import uvloop

from manager.aspired_version_policy import AvailabilityPreservingPolicy
from manager.aspired_versions_manager import AspiredVersionsManager
from manager.event_bus import EventBus
from manager.file_system_source import FileSystemStoragePathSource
from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes
from manager.listener import bind
from manager.model_config import ModelConfig, model_configs
from manager.serving import Serving, WorkerLoader
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve import log
from ringserve.devices import parse_devices
from ringserve.errors import Code, ServingError
from ringserve.loader import Loader
from ringserve.options import ServerOptions
from ringserve.servable import ServableId, State
from ringserve.source import SourceAdapter

_logger = logging.getLogger("ringserve")

_DRAIN_SECONDS: Final = 30.0  # for requests that have begun when the server is told to stop
_MOST_FILES: Final = 1 << 16
_STOP_SECONDS: Final = 5.0  # for a worker to end
_RINGS_PER_LIMIT: Final = 4  # room in a lane: JSON numbers of two bytes may be tensor elements of eight


def main(options: ServerOptions, notes: Sequence[str]) -> int:
    """Serve until told to stop; the exit status. `notes` are lines about the command line, logged first.

    Raises ServingError when the server can't start.
    """
    setproctitle.setproctitle("ringserve: supervisor")
    log.set_up("supervisor", options.log_level)
    _allow_many_files()
    for note in notes:
        _logger.warning("%s", note)
    uvloop.run(Supervisor(options).run())
    return 0


def _allow_many_files() -> None:
    """Every lane is an open file in three processes; the usual soft limit of 1024 is for programs that use select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _MOST_FILES) if hard != resource.RLIM_INFINITY else _MOST_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Supervisor:
    """The parts of a server, and its life from start to end."""

    def __init__(self, options: ServerOptions) -> None:
        """Raises ServingError for a configuration that can't be, and when the port is taken."""
        self._options = options
        self._configs: list[ModelConfig] = model_configs(options)
        self._devices = parse_devices(options.devices)
        port = options.rest_api_port
        self._listeners = bind(port, options.rest_frontends) if port else []
        self._began = time.monotonic()

    async def run(self) -> None:
        self._stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle_stop, number)
        self._build()
        children = [
            *(worker.serve(self._options, self._lanes.restore) for worker in self._workers),
            *(f.serve(self._options, self._serving.introduce, self._serving.want_lane) for f in self._frontends),
        ]
        keepers = [loop.create_task(child) for child in children]
        self._source.set_aspired_versions_callback(self._adapter)
        try:
            await self._run(keepers)
        finally:
            await self._end(keepers)

    def _build(self) -> None:
        bus = EventBus()
        self._monitor = ServableStateMonitor(bus)
        self._workers = [WorkerProcess(device) for device in self._devices]
        self._frontends = [FrontEndProcess("rest", index, sock) for index, sock in enumerate(self._listeners)]
        self._lanes = Lanes(_RINGS_PER_LIMIT * self._options.max_request_bytes)
        self._serving = Serving(self._workers, self._frontends, self._lanes, bus, self._monitor)
        self._manager = AspiredVersionsManager(AvailabilityPreservingPolicy(), bus)
        self._adapter: SourceAdapter[Loader] = SourceAdapter(self._make_loader, self._manager.set_aspired_versions)
        self._source = FileSystemStoragePathSource(
            self._configs, self._options.file_system_poll_wait_seconds, self._monitor.note_trouble
        )

    def _make_loader(self, servable: ServableId, path: str) -> Loader:
        return WorkerLoader(self._serving, servable, path)

    async def _run(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Until told to stop. Raises ServingError when no model comes up, or a process can't be started."""
        names = [config.name for config in self._configs]
        stopped = asyncio.ensure_future(self._stop.wait())
        settled = asyncio.ensure_future(self._monitor.settled(names))
        try:
            await asyncio.wait([stopped, settled, *keepers], return_when=asyncio.FIRST_COMPLETED)
            self._check(keepers)
            if self._stop.is_set():
                return
            self._check_served(names)
            await asyncio.gather(*(frontend.accept() for frontend in self._frontends))
            self._announce(names)
            await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
            self._check(keepers)
        finally:
            stopped.cancel()
            settled.cancel()

    @staticmethod
    def _check(keepers: Sequence[asyncio.Task[None]]) -> None:
        for keeper in keepers:
            if keeper.done():
                keeper.result()

    def _check_served(self, names: Sequence[str]) -> None:
        """Raises ServingError when no model is available; says which are not when some are."""
        troubles = [text for name in names if (text := self._monitor.trouble(name))]
        if troubles and len(troubles) == len(names):
            failed = "".join(f"{{{text}}}, " for text in troubles)
            raise ServingError(Code.UNKNOWN, f"{len(troubles)} servable(s) did not become available: {{{failed}}}")
        for text in troubles:
            _logger.error("not served: %s", text)

    def _announce(self, names: Sequence[str]) -> None:
        """Say what is served where."""
        served = [
            f"{event.id.name}/{event.id.version}"
            for name in names
            for event in self._monitor.versions(name)
            if event.state is State.AVAILABLE
        ]
        seconds = time.monotonic() - self._began
        devices = ", ".join(self._devices)
        _logger.info("loaded %s on %s in %.2f s", " ".join(served) or "no model", devices, seconds)
        if self._listeners:
            port = self._listeners[0].getsockname()[1]
            _logger.info("Exporting HTTP/REST API at:localhost:%d ... (front ends: %d)", port, len(self._frontends))
        else:
            _logger.warning("nothing listens: --rest_api_port is 0, and gRPC is not served by this version")

    def _handle_stop(self, number: int) -> None:
        if self._stop.is_set():
            _logger.warning("told to stop twice: ending at once")
            self._kill_children()
            return
        _logger.info("%s: ending; requests that have begun are answered first", signal.Signals(number).name)
        self._stop.set()

    def _kill_children(self) -> None:
        for child in (*self._frontends, *self._workers):
            child.end()

    async def _end(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Front ends first: they finish what they have begun, for which they need the workers."""
        self._source.close()
        self._manager.close()
        for listener in self._listeners:  # front ends close theirs: new connections are refused, and wait for nobody
            listener.close()
        if not any(frontend.open for frontend in self._frontends):  # nothing has begun that would have to end well
            self._kill_children()
        await asyncio.gather(*(frontend.stop(_DRAIN_SECONDS) for frontend in self._frontends))
        await asyncio.gather(*(worker.stop(_STOP_SECONDS) for worker in self._workers))
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        _logger.info("ended (pid %d)", os.getpid())

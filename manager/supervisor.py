"""The supervisor process: starts everything, keeps it running, ends it. Owns no request."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import setproctitle
import uvloop

from manager.admin import AdminServer, open_admin
from manager.administration import Administration
from manager.aspired_version_policy import POLICIES
from manager.aspired_versions_manager import AspiredVersionsManager
from manager.batching_page import BatchingPage
from manager.daemon_threads import DaemonThreads
from manager.description import Description, LoadHistory
from manager.event_bus import EventBus
from manager.explanation import Explanation
from manager.frontend_process import FrontEndProcess
from manager.grpc_address import check_socket_path, remove_socket, reserve
from manager.grpc_reload import GrpcReload
from manager.lanes import Lanes
from manager.listener import bind
from manager.load_record import LoadRecord
from manager.local_lanes import LocalLanes
from manager.memory_budget import MemoryBudget
from manager.metrics import MetricsPage
from manager.model_cache import ModelCache, default_root
from manager.model_config import ModelConfig
from manager.request_figures import RequestFigures
from manager.retry import Retry
from manager.server_core import ServerCore, first_models
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from manager.unix_listener import OWNER_ONLY, UnixListener
from manager.upstream_metrics import UpstreamPage
from manager.worker_loader import WorkerLoader
from manager.worker_process import WorkerProcess
from manager.zmq_endpoints import ZmqEndpoints, open_zmq
from ringserve import log
from ringserve.batching_parameters import server_parameters
from ringserve.channel_arguments import parse_channel_arguments
from ringserve.devices import parse_devices
from ringserve.errors import Code, ServingError
from ringserve.monitoring_config import prometheus_path
from ringserve.options import ServerOptions, schedulable_cpus
from ringserve.servable import ServableId, State
from ringserve.ssl_config import SslConfig, read_ssl_config

_logger = logging.getLogger("ringserve")

_DRAIN_SECONDS: Final = 30.0  # for requests that have begun when the server is told to stop
_MOST_FILES: Final = 1 << 16
_STOP_SECONDS: Final = 5.0  # for a worker to end
_FIRST_LOADS_A_CPU: Final = 4  # upstream's; there is no traffic yet that they could hurt
_FEWEST_LOADS: Final = 4  # of several models at a time, so that one that hangs holds up no other
_EXPLAIN_SECONDS: Final = 0.5  # for workers to say how they batch: who looks at the page does not wait for one that hangs
_MANY: Final = 1 << 20
_MOST_NAMED: Final = 20
_RINGS_PER_LIMIT: Final = 4  # room in a lane: JSON numbers of two bytes may be tensor elements of eight


def main(options: ServerOptions, notes: Sequence[str], given: Collection[str] = ()) -> int:
    """Serve until told to stop; the exit status. `notes` are lines about the command line, logged first; `given`: the flags
    on it.

    Raises ServingError when the server can't start.
    """
    setproctitle.setproctitle("ringserve: supervisor")
    log.set_up("supervisor", options.log_level)
    _allow_many_files()
    for note in notes:
        _logger.warning("%s", note)
    uvloop.run(Supervisor(options, given).run())
    return 0


def _allow_many_files() -> None:
    """Every lane is an open file in three processes; the usual soft limit of 1024 is for programs that use select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _MOST_FILES) if hard != resource.RLIM_INFINITY else _MOST_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Supervisor:
    """The parts of a server, and its life from start to end."""

    def __init__(self, options: ServerOptions, given: Collection[str] = ()) -> None:
        """Raises ServingError for a configuration that can't be, and when the port is taken."""
        self._options = options
        self._devices = parse_devices(options.devices)
        self._models, self._file = first_models(options, self._devices)
        self._prometheus_path = prometheus_path(options)
        server_parameters(options)  # for its error: workers read them
        port = options.rest_api_port
        self._listeners = bind(port, options.rest_frontends) if port else []
        self._ssl: SslConfig | None = None
        self._reservation = self._reserve_grpc()
        self._local = UnixListener(options.shm_socket, OWNER_ONLY) if options.shm_socket else None
        self._zmq = open_zmq(options, "zmq_port" in given or options.zmq_port != ServerOptions().zmq_port)
        self._began = time.monotonic()

    def _reserve_grpc(self) -> socket.socket | None:
        """What gRPC listens on can be had, and its settings can be read. Raises ServingError otherwise."""
        options = self._options
        if not options.grpc_frontends:
            return None
        parse_channel_arguments(options.grpc_channel_arguments)
        if options.ssl_config_file:
            self._ssl = read_ssl_config(options.ssl_config_file)
        self._check_grpc_socket()
        return reserve(options.port) if options.port else None

    def _check_grpc_socket(self) -> None:
        if self._options.grpc_socket_path:
            check_socket_path(self._options.grpc_socket_path)

    async def run(self) -> None:
        self._stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle_stop, number)
        self._build()
        options, serving = self._options, self._serving
        children = [
            *(worker.serve(options, self._lanes.restore, serving.set_usable) for worker in self._workers),
            *(
                frontend.serve(options, serving, self._pages, self._reload, self._batching.text)
                for frontend in self._frontends
            ),
        ]
        keepers = [loop.create_task(child) for child in children]
        self._core.start(self._models)
        self._admin: AdminServer | None = None
        try:
            administration = Administration(self._core, self._description, self._explanation)
            self._admin = await open_admin(options.admin_socket, options.rest_api_port, administration)
            await self._run(keepers)
        finally:
            await self._end(keepers)

    def _build(self) -> None:
        options, local = self._options, self._local
        bus = EventBus()
        self._threads = DaemonThreads("storage")
        self._cache = ModelCache(Path(options.model_cache_dir) if options.model_cache_dir else default_root())
        self._monitor = ServableStateMonitor(bus)
        self._workers = [WorkerProcess(device) for device in self._devices]
        self._frontends = [
            *(FrontEndProcess("rest", index, [sock], self._prometheus_path) for index, sock in enumerate(self._listeners)),
            *(self._grpc_frontend(index) for index in range(options.grpc_frontends)),
            *(self._zmq_frontends(self._zmq) if self._zmq else ()),
            *([FrontEndProcess("local", 0, [local.sock], listen=local.listen)] if local else []),
        ]
        self._lanes = Lanes(_RINGS_PER_LIMIT * options.max_request_bytes)
        local_lanes = LocalLanes(_RINGS_PER_LIMIT * options.max_request_bytes, options.max_request_bytes)
        self._serving = Serving(self._frontends, self._lanes, local_lanes, bus, self._monitor)
        budget = MemoryBudget(options.total_model_memory_limit_bytes)
        self._manager = AspiredVersionsManager(
            POLICIES[options.aspired_version_policy],
            bus,
            budget,
            Retry.from_options(options),
            loads=_FIRST_LOADS_A_CPU * schedulable_cpus(),
            unloads=options.num_unload_threads if options.num_unload_threads > 0 else _MANY,
        )
        self._core = ServerCore(
            options,
            self._devices,
            self._file,
            self._make_loader,
            self._manager,
            self._monitor,
            self._serving,
            self._threads,
        )
        history = LoadHistory(bus, self._monitor)
        self._description = Description(
            self._core, self._manager, self._monitor, self._serving, budget, history, self._workers
        )
        figures = RequestFigures(child.counters for child in (*self._workers, *self._frontends))
        self._loads = LoadRecord()
        upstream = UpstreamPage(figures.rows, self._loads)
        self._pages = {
            "clean": MetricsPage(self._description.describe, figures.rows).text,
            "upstream": upstream.text,
        }
        self._explanation = Explanation(self._serving, self._monitor, figures.rows)
        self._batching = BatchingPage(lambda: self._explanation.models(_EXPLAIN_SECONDS))
        self._reload = GrpcReload(self._core, upstream.first_cells).reload

    def _grpc_frontend(self, index: int) -> FrontEndProcess:
        if index == 0:  # which has the UNIX socket
            return FrontEndProcess("grpc", index, ssl=self._ssl, check=self._check_grpc_socket)
        return FrontEndProcess("grpc", index, ssl=self._ssl)

    @staticmethod
    def _zmq_frontends(endpoints: ZmqEndpoints) -> list[FrontEndProcess]:
        return [
            FrontEndProcess("zmq", index, endpoints.sockets(index), listen=partial(endpoints.listen, index))
            for index in range(endpoints.count)
        ]

    def _make_loader(self, servable: ServableId, path: str, model: ModelConfig) -> WorkerLoader:
        workers = [worker for worker in self._workers if not model.devices or worker.device in model.devices]
        return WorkerLoader(self._serving, self._cache, self._threads, self._loads, servable, path, model, workers)

    async def _run(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Until told to stop. Raises ServingError when no model comes up, or a process can't be started."""
        stopped = asyncio.ensure_future(self._stop.wait())
        settled = asyncio.ensure_future(self._settle())
        follower: asyncio.Task[None] | None = None
        opened: asyncio.Task[None] | None = None
        try:
            await asyncio.wait([stopped, settled, *keepers], return_when=asyncio.FIRST_COMPLETED)
            self._check(keepers)
            if self._stop.is_set():
                return
            self._check_served()
            loads = self._options.num_load_threads
            self._manager.limit_loads(loads if loads > 0 else max(schedulable_cpus(), _FEWEST_LOADS))
            if self._file is not None and self._options.model_config_file_poll_wait_seconds > 0:
                follow = self._core.follow_file(self._options.model_config_file_poll_wait_seconds)
                follower = asyncio.get_running_loop().create_task(follow)
            opened = asyncio.get_running_loop().create_task(self._open())
            await asyncio.wait([stopped, opened, *keepers], return_when=asyncio.FIRST_COMPLETED)
            self._check(keepers)
            if not opened.done():  # told to stop
                return
            opened.result()
            self._announce()
            await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
            self._check(keepers)
        finally:
            for task in (stopped, settled, follower, opened):
                if task is not None:
                    task.cancel()

    async def _open(self) -> None:
        await asyncio.gather(*(frontend.accept() for frontend in self._frontends))

    async def _settle(self) -> None:
        """Wait for the first models, as long as --startup_timeout lets it."""
        try:
            settled = self._monitor.settled(self._core.models)
            await asyncio.wait_for(settled, self._options.startup_timeout or None)
        except TimeoutError:
            slow = [name for name in self._core.models if not self._monitor.is_settled(name)]
            seconds = self._options.startup_timeout
            _logger.warning("not waiting any longer than --startup_timeout=%d for: %s", seconds, " ".join(slow))

    @staticmethod
    def _check(keepers: Sequence[asyncio.Task[None]]) -> None:
        for keeper in keepers:
            if keeper.done():
                keeper.result()

    def _check_served(self) -> None:
        """Raises ServingError when no model is available, or may become so; says which are not when some are."""
        names = list(self._core.models)
        troubles = {name: error for name in names if self._monitor.is_settled(name) and (error := self._monitor.error(name))}
        if troubles and len(troubles) == len(names):
            failed = "".join(f"{{{error.message}}}, " for error in troubles.values())
            raise ServingError(Code.UNKNOWN, f"{len(troubles)} servable(s) did not become available: {{{failed}}}")
        for name, error in troubles.items():
            _logger.error("model %s is not served: %s", name, error.message)

    def _announce(self) -> None:
        """Say what is served where."""
        served = [
            f"{event.id.name}/{event.id.version}"
            for name in self._core.models
            for event in self._monitor.versions(name)
            if event.state is State.AVAILABLE
        ]
        if len(served) > _MOST_NAMED:
            served[_MOST_NAMED:] = [f"and {len(served) - _MOST_NAMED} more versions"]
        seconds = time.monotonic() - self._began
        devices = ", ".join(self._devices)
        _logger.info("loaded %s on %s in %.2f s", " ".join(served) or "no model", devices, seconds)
        options = self._options
        if options.grpc_frontends:
            port, path = options.port, options.grpc_socket_path
            addresses = [*([f"0.0.0.0:{port}"] if port else []), *([f"unix:{path}"] if path else [])]
            _logger.info("Running gRPC ModelServer at %s ... (front ends: %d)", ", ".join(addresses), options.grpc_frontends)
        if self._zmq:
            _logger.info("ZeroMQ at %s (front ends: %d)", ", ".join(self._zmq.names), self._zmq.count)
        if self._local:
            _logger.info("Local clients at shm://%s", os.path.abspath(self._local.path))
        if self._listeners:
            port = self._listeners[0].getsockname()[1]
            _logger.info("Exporting HTTP/REST API at:localhost:%d ... (front ends: %d)", port, options.rest_frontends)
        elif not self._frontends:
            _logger.warning("nothing listens: --rest_api_port, --grpc_frontends and --zmq_frontends are 0")

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
        if self._admin is not None:
            await self._admin.close()
        self._core.close()
        self._manager.close()
        for listener in self._listeners:  # front ends close theirs: new connections are refused, and wait for nobody
            listener.close()
        for others in (self._reservation, self._zmq, self._local):
            if others is not None:
                others.close()
        if not any(frontend.open for frontend in self._frontends):  # nothing has begun that would have to end well
            self._kill_children()
        for worker in self._workers:  # whatever is held back for more requests to come runs now
            worker.send({"type": "close", "servable": None})
        await asyncio.gather(*(frontend.stop(_DRAIN_SECONDS) for frontend in self._frontends))
        if self._options.grpc_socket_path and self._options.grpc_frontends:
            remove_socket(self._options.grpc_socket_path)
        await asyncio.gather(*(worker.stop(_STOP_SECONDS) for worker in self._workers))
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        self._cache.close()
        _logger.info("ended (pid %d)", os.getpid())

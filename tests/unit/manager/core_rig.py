"""A server core with real manager, monitor and serving; loaders, sources and front ends do as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

from fake_loader import FakeLoader
from plugin_sources import Recorded

from manager.aspired_version_policy import AvailabilityPreservingPolicy
from manager.aspired_versions_manager import AspiredVersionsManager
from manager.config_file import ConfigFile, parse_config
from manager.daemon_threads import DaemonThreads
from manager.event_bus import EventBus
from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes
from manager.local_lanes import LocalLanes
from manager.memory_budget import MemoryBudget
from manager.model_config import ModelConfig, from_config
from manager.reload_outcome import ModelOutcome
from manager.retry import Retry
from manager.server_core import ServerCore
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from ringserve.channel import Message
from ringserve.errors import Code
from ringserve.options import ServerOptions
from ringserve.servable import ServableId

DEVICES = ("cpu:0", "cpu:1")

R = TypeVar("R")


class Told:
    """A front end that notes what it is told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.informed = True

    def send(self, message: Message) -> None:
        self.messages.append(message)

    def of(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == kind]


class AtOnce(DaemonThreads):
    """No threads: what is run is over when `run` returns."""

    def __init__(self) -> None:
        super().__init__("none")

    def run(self, call: Callable[[], R]) -> asyncio.Future[R]:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        return future


class Rig:
    """`loaders` has the last loader that was made of each version; make one beforehand, and it is the one."""

    def __init__(
        self, unloads: int = 100, file: ConfigFile | None = None, threads: DaemonThreads | None = None, **options: Any
    ) -> None:
        Recorded.made.clear()
        bus = EventBus()
        self.monitor = ServableStateMonitor(bus)
        self.told = Told()
        self.serving = Serving(
            [cast(FrontEndProcess, self.told)], Lanes(1 << 20), LocalLanes(1 << 20, 1 << 18), bus, self.monitor
        )
        self.manager = AspiredVersionsManager(
            AvailabilityPreservingPolicy(), bus, MemoryBudget(0), Retry(0, 0), unloads=unloads
        )
        self.loaders: dict[tuple[str, int], FakeLoader] = {}
        self.configs: list[ModelConfig] = []  # those that loaders were made with
        self.core = ServerCore(
            ServerOptions(**options),
            DEVICES,
            file,
            self._make_loader,
            self.manager,
            self.monitor,
            self.serving,
            threads or AtOnce(),
        )

    def _make_loader(self, servable: ServableId, path: str, model: ModelConfig) -> FakeLoader:
        self.configs.append(model)
        ready = self.loaders.get(servable)
        if ready is None or ready.calls:
            ready = self.loaders[servable] = FakeLoader(what=path)
        return ready

    def start(self, *models: str) -> None:
        self.core.start(from_config(config(*models)))

    def source(self, name: str) -> Recorded:
        """The source of a model, the last one that was made."""
        return [source for source in Recorded.made if source.name == name][-1]

    def available(self, name: str = "m") -> list[int]:
        return [event.id.version for event in self.monitor.versions(name) if self.monitor.is_available(event.id)]


def model(name: str = "m", more: str = "", platform: str = "tensorflow") -> str:
    """The config of a model whose source is a `Recorded`."""
    return f"name: '{name}' base_path: '/{name}' model_platform: '{platform}' source: 'plugin_sources:Recorded' {more}"


def label(name: str, version: int) -> str:
    return f"version_labels {{ key: '{name}' value: {version} }}"


def text(*models: str) -> bytes:
    return f"model_config_list {{ {' '.join(f'config {{ {fields} }}' for fields in models)} }}".encode()


def config(*models: str) -> Any:
    return parse_config("models.config", text(*models))


def plain(outcomes: list[ModelOutcome]) -> list[tuple[str, str, Code | None]]:
    return sorted((name, change, error.code if error else None) for name, change, error in outcomes)

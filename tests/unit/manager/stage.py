"""A manager on a stage: what it is told, what it makes of it, and a clock that goes when a test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from fake_loader import FakeLoader, settle

from manager.aspired_version_policy import AspiredVersionPolicy, AvailabilityPreservingPolicy
from manager.aspired_versions_manager import AspiredVersionsManager
from manager.event_bus import EventBus, ServableState
from manager.memory_budget import MemoryBudget
from manager.retry import Retry
from manager.state_monitor import ServableStateMonitor
from manager.version_loader import VersionLoader
from ringserve.errors import ServingError
from ringserve.servable import ServableId, State
from ringserve.source import ServableData

NEVER_AGAIN = Retry(0, 0)
_LIMIT_SECONDS: Final = 20.0

R = TypeVar("R")


class Stage:
    """A manager, its loaders, and its events as `("START", "m", 1)`."""

    def __init__(
        self,
        policy: AspiredVersionPolicy | None = None,
        retry: Retry = NEVER_AGAIN,
        limit: int = 0,
        loads: int = 100,
        unloads: int = 100,
    ) -> None:
        bus = EventBus()
        self.monitor = ServableStateMonitor(bus)
        self.budget = MemoryBudget(limit)
        self.manager = AspiredVersionsManager(
            policy or AvailabilityPreservingPolicy(), bus, self.budget, retry, loads, unloads
        )
        self.loaders: dict[tuple[str, int], FakeLoader] = {}
        self.events: list[tuple[str, str, int]] = []
        self.states: dict[tuple[str, int], State] = {}
        self.errors: dict[tuple[str, int], ServingError | None] = {}
        self.fewest_available: dict[str, int] = {}
        bus.subscribe(self._note)

    def _note(self, event: ServableState) -> None:
        name, version = event.id
        self.events.append((event.state.name, name, version))
        self.states[event.id] = event.state
        self.errors[event.id] = event.error
        if name in self.fewest_available:
            self.fewest_available[name] = min(self.fewest_available[name], len(self.available(name)))

    def loader(self, version: int, name: str = "m") -> FakeLoader:
        """The loader that the next list with this version will carry."""
        return self.loaders.setdefault((name, version), FakeLoader())

    def aspire(self, *versions: int, name: str = "m") -> None:
        """Emit a list; a version that has ended by then, and is no longer aspired, gets a loader of its own."""
        for version in versions:
            ended = self.states.get((name, version)) is State.END
            if ended and not self.manager.aspires(ServableId(name, version)) and self.loader(version, name).calls:
                self.loaders[name, version] = FakeLoader()
        self.emit({version: self.loader(version, name) for version in versions}, name)

    def emit(self, versions: Mapping[int, VersionLoader | ServingError], name: str = "m") -> None:
        """Emit a list of just these."""
        items: list[ServableData[VersionLoader]] = [
            ServableData(ServableId(name, version), data) for version, data in versions.items()
        ]
        self.manager.set_aspired_versions(name, items)

    async def serve(self, *versions: int, name: str = "m") -> None:
        """Bring these versions to where they are available; from now on count the fewest that ever are."""
        self.aspire(*versions, name=name)
        await settle()
        assert self.available(name) == sorted(versions)
        self.events.clear()
        self.fewest_available[name] = len(versions)

    def available(self, name: str = "m") -> list[int]:
        return sorted(v for (n, v), state in self.states.items() if n == name and state is State.AVAILABLE)


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def pass_time(seconds: float) -> None:
    """Let happen what needs no time, put the loop's clock forward, and let happen what has become due. Only inside `run`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    await settle()
    loop.ahead += seconds
    await settle()


def run(work: Coroutine[Any, Any, R]) -> R:
    """As asyncio.run, on a loop for `pass_time`; for so long, in time that can't be put forward."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(work)
        limit = threading.Timer(_LIMIT_SECONDS, loop.call_soon_threadsafe, (task.cancel,))
        limit.start()
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise AssertionError(f"still not done after {_LIMIT_SECONDS:g} s") from None
        finally:
            limit.cancel()


def play(
    script: Callable[[Stage], Coroutine[Any, Any, None]],
    policy: AspiredVersionPolicy | None = None,
    retry: Retry = NEVER_AGAIN,
    limit: int = 0,
    loads: int = 100,
    unloads: int = 100,
) -> Stage:
    """Run a script with a stage of its own."""

    async def scene() -> Stage:
        stage = Stage(policy, retry, limit, loads, unloads)
        await script(stage)
        return stage

    return run(scene())

"""Loaders that do what a test says, when it says so, and a recorder of what the manager makes of them."""

from __future__ import annotations

import asyncio

from manager.aspired_version_policy import AvailabilityPreservingPolicy
from manager.aspired_versions_manager import AspiredVersionsManager
from manager.event_bus import EventBus, ServableState
from ringserve.errors import Code, ServingError
from ringserve.loader import Loader
from ringserve.servable import ServableId, State
from ringserve.source import ServableData

BAD = ServingError(Code.INVALID_ARGUMENT, "no model in there")


class FakeLoader:
    """Each call takes `turns` of the event loop, then waits at its gate, which is open unless a test closes it.

    `calls` is what was called, in order.
    """

    def __init__(self, load_error: Exception | None = None, unload_error: Exception | None = None, turns: int = 0) -> None:
        self.calls: list[str] = []
        self.turns = turns
        self.load_error = load_error
        self.unload_error = unload_error
        self.gates: dict[str, asyncio.Event] = {}

    def hold(self, call: str) -> asyncio.Event:
        """Let `call` wait until the event that is returned is set."""
        return self.gates.setdefault(call, asyncio.Event())

    async def _pass(self, call: str) -> None:
        self.calls.append(call)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if call in self.gates:
            await self.gates[call].wait()

    async def load(self) -> None:
        await self._pass("load")
        if self.load_error:
            raise self.load_error

    async def quiesce(self) -> None:
        await self._pass("quiesce")

    async def unload(self) -> None:
        await self._pass("unload")
        if self.unload_error:
            raise self.unload_error


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn: far more turns than any chain here needs."""
    for _ in range(50):
        await asyncio.sleep(0)


class Stage:
    """A manager under the stock policy, its loaders, and its events as `("START", "m", 1)`."""

    def __init__(self) -> None:
        bus = EventBus()
        self.manager = AspiredVersionsManager(AvailabilityPreservingPolicy(), bus)
        self.loaders: dict[tuple[str, int], FakeLoader] = {}
        self.events: list[tuple[str, str, int]] = []
        self.states: dict[tuple[str, int], State] = {}
        self.fewest_available: dict[str, int] = {}
        bus.subscribe(self._note)

    def _note(self, event: ServableState) -> None:
        name, version = event.id
        self.events.append((event.state.name, name, version))
        self.states[event.id] = event.state
        if name in self.fewest_available:
            self.fewest_available[name] = min(self.fewest_available[name], len(self.available(name)))

    def loader(self, version: int, name: str = "m") -> FakeLoader:
        """The loader that the next list with this version will carry."""
        return self.loaders.setdefault((name, version), FakeLoader())

    def aspire(self, *versions: int, name: str = "m") -> None:
        """Emit a list; a version that has ended by then gets a loader of its own."""
        for version in versions:
            if self.states.get((name, version)) is State.END and self.loader(version, name).calls:
                self.loaders[name, version] = FakeLoader()
        items: list[ServableData[Loader]] = [
            ServableData(ServableId(name, version), self.loader(version, name)) for version in versions
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

"""The last known state of every version, as the status API shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from manager.event_bus import EventBus, ServableState
from ringserve.errors import ServingError
from ringserve.servable import State


class ServableStateMonitor:
    """Ended versions stay visible for the life of the process, as upstream's do."""

    def __init__(self, bus: EventBus) -> None:
        self._streams: dict[str, dict[int, ServableState]] = {}
        self._changed = asyncio.Event()
        self._troubles: dict[str, ServingError] = {}
        bus.subscribe(self._note)

    def _note(self, event: ServableState) -> None:
        self._streams.setdefault(event.id.name, {})[event.id.version] = event
        self._troubles.pop(event.id.name, None)
        self._changed.set()

    def note_trouble(self, name: str, error: ServingError) -> None:
        """The source finds no version of this servable, for this reason."""
        self._troubles[name] = error
        self._changed.set()

    def versions(self, name: str) -> list[ServableState]:
        """Every version ever seen, highest first."""
        return [state for _, state in sorted(self._streams.get(name, {}).items(), reverse=True)]

    @property
    def names(self) -> list[str]:
        return sorted(self._streams)

    def available(self, name: str) -> bool:
        return any(event.state is State.AVAILABLE for event in self.versions(name))

    def trouble(self, name: str) -> str | None:
        """Why a settled servable has no version to serve, in one line; None when it has one or is not settled."""
        if self.available(name):
            return None
        failed = [event for event in self.versions(name) if event.state is State.END and event.error]
        if failed and all(event.state is State.END for event in self.versions(name)):
            return f"{failed[0].id} due to error: {failed[0].error}"
        return str(self._troubles[name]) if name in self._troubles else None

    async def settled(self, names: Iterable[str]) -> None:
        """Return when each of these servables has a version available, or none that still might come to be."""
        names = list(names)
        while not all(self.available(name) or self.trouble(name) for name in names):
            self._changed.clear()
            await self._changed.wait()

"""The manager: brings what is loaded to what is aspired."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from manager.aspired_version_policy import AspiredVersionPolicy, Snapshot, Verb
from manager.event_bus import EventBus
from manager.loader_harness import LoaderHarness
from ringserve.loader import Loader
from ringserve.servable import ServableId
from ringserve.source import ServableData


class AspiredVersionsManager:
    """Streams are independent: a load that takes long holds up nobody else's. Runs on the event loop, has no thread.

    Where upstream acts once in every 100 ms, this acts whenever something has changed.
    """

    def __init__(self, policy: AspiredVersionPolicy, bus: EventBus) -> None:
        self._policy = policy
        self._bus = bus
        self._streams: dict[str, dict[int, LoaderHarness]] = {}
        self._pending: dict[str, Sequence[ServableData[Loader]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Loader]]) -> None:
        """Replace the aspired versions of one stream; a list not applied yet gives way to a newer one."""
        self._pending[name] = versions
        self._advance(name)

    def _advance(self, name: str) -> None:
        if self._closing:
            return
        stream = self._streams.setdefault(name, {})
        for harness in [harness for harness in stream.values() if not harness.aspired and harness.finished]:
            del stream[harness.id.version]
        self._apply(name, stream)
        while step := self._policy.next_step([Snapshot(h.id, h.state, h.aspired) for h in stream.values()]):
            harness = stream[step.id.version]
            self._spawn(name, harness.load() if step.verb is Verb.LOAD else harness.unload())

    def _apply(self, name: str, stream: dict[int, LoaderHarness]) -> None:
        """Apply the pending list, unless a version in it must first be unloaded and forgotten."""
        versions = self._pending.get(name)
        if versions is None:
            return
        for version in versions:
            harness = stream.get(version.id.version)
            if harness is not None and not harness.aspired:
                return
        del self._pending[name]
        wanted = {version.id.version for version in versions}
        for harness in stream.values():
            harness.aspired = harness.id.version in wanted
        for version in versions:
            if version.id.version not in stream:
                stream[version.id.version] = LoaderHarness(version.id, version.data, self._bus)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(name, done))

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()
        self._advance(name)

    def aspires(self, servable: ServableId) -> bool:
        harness = self._streams.get(servable.name, {}).get(servable.version)
        return harness is not None and harness.aspired

    def close(self) -> None:
        """Begin nothing more; loads under way are given up."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()

"""The last known state of every version, as the status API shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from manager.event_bus import EventBus, ServableState
from manager.loader_harness import CANCELLED
from ringserve.errors import ServingError
from ringserve.servable import ServableId, State

#: Ended versions of a servable that are remembered. Upstream remembers all: a version an hour, and it grows for ever.
MOST_ENDED: Final = 256
#: The same of all servables together that are not configured any more.
MOST_REMOVED: Final = 4096

_UNSETTLED: Final = frozenset((State.START, State.LOADING))


class ServableStateMonitor:
    """Ended versions stay visible, as upstream's do, the latest ended of them."""

    def __init__(self, bus: EventBus, most_ended: int = MOST_ENDED, most_removed: int = MOST_REMOVED) -> None:
        self._most_ended = most_ended
        self._most_removed = most_removed
        self._configured: Collection[str] | None = None  # None: whatever there is
        self._removed: dict[ServableId, None] = {}  # ended versions of others, in the order they ended
        self._streams: dict[str, dict[int, ServableState]] = {}
        self._marks: dict[ServableId, int] = {}  # when, as `now` counts, each version came to its state
        self._changed = asyncio.Event()
        self._troubles: dict[str, tuple[int, ServingError]] = {}
        self._on_forget: list[Callable[[str, list[int]], None]] = []
        self._now = 0
        bus.subscribe(self._note)

    @property
    def now(self) -> int:
        """A mark for `since`. Not the time of day, which may be set back."""
        return self._now

    def on_forget(self, callback: Callable[[str, list[int]], None]) -> None:
        """Have the callback told of the versions of a servable that are no longer remembered."""
        self._on_forget.append(callback)

    def _note(self, event: ServableState) -> None:
        stream = self._streams.setdefault(event.id.name, {})
        stream[event.id.version] = event
        self._now += 1
        self._marks[event.id] = self._now
        self._changed.set()
        self._removed.pop(event.id, None)
        if event.state is State.END:
            if not self._is_configured(event.id.name):
                self._removed[event.id] = None
            if len(stream) > self._most_ended and (old := self._ended([stream])[: -self._most_ended]):
                self._forget(event.id.name, [servable.version for servable in old])
            self._forget_removed()

    def _ended(self, streams: Iterable[Mapping[int, ServableState]]) -> list[ServableId]:
        """In the order they ended."""
        ended = [event.id for stream in streams for event in stream.values() if event.state is State.END]
        return sorted(ended, key=self._marks.__getitem__)

    def _forget(self, name: str, versions: list[int]) -> None:
        stream = self._streams[name]
        for version in versions:
            servable = ServableId(name, version)
            del stream[version], self._marks[servable]
            self._removed.pop(servable, None)
        if not stream:
            del self._streams[name]
        for callback in self._on_forget:
            callback(name, versions)

    def _forget_removed(self) -> None:
        while len(self._removed) > self._most_removed:
            oldest = next(iter(self._removed))
            self._forget(oldest.name, [oldest.version])

    def _is_configured(self, name: str) -> bool:
        return self._configured is None or name in self._configured

    def note_models(self, names: Iterable[str]) -> None:
        """From now on these servables are configured: of others nothing is expected, and not so much remembered."""
        self._configured = frozenset(names)
        self._troubles = {name: trouble for name, trouble in self._troubles.items() if name in self._configured}
        others = [stream for name, stream in self._streams.items() if name not in self._configured]
        self._removed = dict.fromkeys(self._ended(others))
        self._forget_removed()
        self._changed.set()

    def note_trouble(self, name: str, error: ServingError | None) -> None:
        """The source finds no version of this servable, for this reason; None: it does."""
        if error is None:
            self._troubles.pop(name, None)
        else:
            self._now += 1
            self._troubles[name] = (self._now, error)
        self._changed.set()

    def state(self, servable: ServableId) -> ServableState | None:
        return self._streams.get(servable.name, {}).get(servable.version)

    def is_available(self, servable: ServableId) -> bool:
        event = self.state(servable)
        return event is not None and event.state is State.AVAILABLE

    def versions(self, name: str) -> list[ServableState]:
        """Every version that is remembered, highest first."""
        return [state for _, state in sorted(self._streams.get(name, {}).items(), reverse=True)]

    @property
    def names(self) -> list[str]:
        return sorted(self._streams)

    def available(self, name: str) -> bool:
        return any(event.state is State.AVAILABLE for event in self.versions(name))

    def error(self, name: str, since: int = 0) -> ServingError | None:
        """What keeps a servable that has no version available from having one, as far as it is known.

        `since`: what had happened when `now` was this does not count.
        """
        if self.available(name):
            return None
        for event in self._since(name, since):
            if event.error is not None and _has_failed(event):
                return ServingError(event.error.code, f"{event.id} due to error: {event.error}")
        when, error = self._troubles.get(name, (0, None))
        return error if when > since else None

    def _since(self, name: str, since: int) -> list[ServableState]:
        return [event for event in self.versions(name) if self._marks[event.id] > since]

    def source_error(self, name: str) -> ServingError | None:
        """Why the source finds no version of the servable."""
        return self._troubles[name][1] if name in self._troubles else None

    def is_settled(self, name: str, since: int = 0) -> bool:
        """Is none of its versions on the way to be available, and is it known whether it has any?"""
        events = self._since(name, since)
        if any(event.state in _UNSETTLED for event in events):
            return False
        known = any(event.state is State.AVAILABLE or _has_failed(event) for event in events)
        return known or self.error(name, since) is not None

    async def settled(self, names: Iterable[str], since: int = 0) -> None:
        """Return when all of these servables are that are still configured."""
        waiting = set(names)
        while waiting := {name for name in waiting if self._is_configured(name) and not self.is_settled(name, since)}:
            self._changed.clear()
            await self._changed.wait()


def _has_failed(event: ServableState) -> bool:
    """Not so one that ended because nobody wants it any more: another may be on the way in its place."""
    return event.state is State.END and event.error is not None and event.error is not CANCELLED

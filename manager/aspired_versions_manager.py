"""The manager: brings what is loaded to what is aspired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Final

from manager.aspired_version_policy import AspiredVersionPolicy, Snapshot, Verb
from manager.event_bus import EventBus
from manager.loader_harness import CANCELLED, HarnessState, LoaderHarness, as_serving_error
from manager.memory_budget import MemoryBudget
from manager.retry import Retry
from manager.version_loader import VersionLoader
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.source import ServableData

_logger = logging.getLogger(__name__)

Versions = Sequence[ServableData[VersionLoader]]
Stream = dict[int, LoaderHarness]

#: States in which a version that nobody wanted any more stays what it is when it is wanted again.
_KEPT: Final = frozenset((HarnessState.LOAD_APPROVED, HarnessState.LOADING, HarnessState.READY))


class AspiredVersionsManager:
    """Streams are independent: neither a load that takes long nor one that is tried again holds up anybody else's.

    Where upstream acts once in every 100 ms, this acts whenever something has changed. Runs on the event loop, has no
    thread. At most `loads` versions load at a time, and `unloads` unload.
    """

    def __init__(
        self,
        policy: AspiredVersionPolicy,
        bus: EventBus,
        budget: MemoryBudget,
        retry: Retry,
        loads: int = 4,
        unloads: int = 4,
    ) -> None:
        self._policy = policy
        self._bus = bus
        self._budget = budget
        self._retry = retry
        self._loads = asyncio.Semaphore(loads)
        self._unloads = asyncio.Semaphore(unloads)
        self._streams: dict[str, Stream] = {}
        self._pending: dict[str, Versions] = {}
        self._timers: dict[ServableId, asyncio.TimerHandle] = {}
        self._loading: dict[LoaderHarness, asyncio.Task[None]] = {}  # each one's last attempt
        self._looking: set[LoaderHarness] = set()  # failed ones whose files are being looked at
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def set_aspired_versions(self, name: str, versions: Versions) -> None:
        """Replace the aspired versions of one stream; what is not applied yet of a list gives way to a newer one."""
        strays = [version.id for version in versions if version.id.name != name]
        if strays:
            _logger.error("Servable name: %s doesn't match name in servable version: %s", name, strays[0])
            return
        if self._closing:
            return
        wanted = {version.id.version for version in versions}
        for harness in self._streams.get(name, {}).values():
            if harness.id.version not in wanted:
                self._disown(harness)
        self._pending[name] = versions
        self._advance(name)

    def _disown(self, harness: LoaderHarness) -> None:
        """Nobody wants it any more. Its load ends at once while it only waits: for its turn, its files or memory."""
        harness.aspired = False
        self._cancel_retry(harness.id)
        if harness.state is HarnessState.LOAD_REQUESTED:
            self._loading[harness].cancel()
            harness.fail(CANCELLED)

    def limit_loads(self, count: int) -> None:
        """From now on begin a load only while fewer than `count` begun since now are under way."""
        self._loads = asyncio.Semaphore(count)

    def _advance(self, name: str) -> None:
        if self._closing:
            return
        stream = self._streams.setdefault(name, {})
        self._forget_finished(stream)
        self._apply(name, stream)
        self._forget_finished(stream)
        while step := self._policy.next_step([Snapshot(h.id, h.state, h.aspired) for h in stream.values()]):
            harness = stream[step.id.version]
            if step.verb is Verb.LOAD:
                harness.request_load()
                self._loading[harness] = self._spawn(name, self._load(harness))
            else:
                harness.request_unload()
                self._spawn(name, self._unload(harness))
        if not stream and name not in self._pending:
            del self._streams[name]

    def _forget_finished(self, stream: Stream) -> None:
        for harness in [harness for harness in stream.values() if not harness.aspired and harness.finished]:
            if harness.state is HarnessState.NEW:  # upstream says nothing, and shows it as starting for ever
                harness.fail(CANCELLED)
            del stream[harness.id.version]
            self._discard(harness)

    def _discard(self, harness: LoaderHarness) -> None:
        self._loading.pop(harness, None)
        if harness.loader is not None:
            self._spawn(harness.id.name, harness.loader.discard())

    def _apply(self, name: str, stream: Stream) -> None:
        """Apply what can be applied of the pending list; a version in it that is on its way out must first be gone.

        The others don't wait for it, as upstream's do: there a version that can neither be unloaded nor be aspired again
        keeps the whole list from ever taking effect.
        """
        if waiting := [version for version in self._pending.pop(name, ()) if not self._aspire(stream, version)]:
            self._pending[name] = waiting

    def _aspire(self, stream: Stream, version: ServableData[VersionLoader]) -> bool:
        """One version of a list; says whether that is done."""
        harness = stream.get(version.id.version)
        if harness is None or _gives_way(harness, version.data):
            if harness is not None:
                self._disown(harness)
                self._discard(harness)
            stream[version.id.version] = LoaderHarness(version.id, version.data, self._bus)
        elif harness.aspired:
            self._look_again(harness)
        else:
            # On its way out only by wish so far: the wish is taken back, if it is the same thing that is wanted again.
            kept = harness.state in _KEPT
            harness.aspired = kept and harness.loader is not None and harness.loader.same(version.data)
            return harness.aspired
        return True

    async def _load(self, harness: LoaderHarness) -> None:
        loader = harness.loader
        assert loader is not None
        async with self._loads:
            try:
                await self._reserve(harness, loader)
            except Exception as error:
                harness.fail(as_serving_error(error))
            else:
                await self._load_approved(harness)
        if harness.state is HarnessState.ERROR and harness.aspired:
            self._retry_later(harness)

    async def _reserve(self, harness: LoaderHarness, loader: VersionLoader) -> None:
        try:
            size = await loader.estimate()
        except ServingError as error:
            text = f"Error while attempting to reserve resources to load servable {harness.id}: {error.message}"
            raise ServingError(error.code, text) from error
        await self._budget.reserve(harness.id, size)
        _logger.info("Successfully reserved resources to load servable %s", harness.id)
        harness.approve_load()

    async def _load_approved(self, harness: LoaderHarness) -> None:
        try:
            await harness.load()
        finally:
            if harness.state is HarnessState.READY:
                self._budget.loaded(harness.id, harness.measured)
            else:
                self._budget.free(harness.id)

    async def _unload(self, harness: LoaderHarness) -> None:
        async with self._unloads:
            self._budget.unloading()
            try:
                await harness.unload()
            finally:
                self._budget.free(harness.id)
        self._retry_the_refused()

    def _retry_later(self, harness: LoaderHarness) -> None:
        """After a failure: another attempt when the interval has passed, unless there were enough."""
        if self._closing or harness.loader is None:
            return
        if harness.attempts > self._retry.most:
            _logger.warning("Retrying of Loading servable: %s exhausted max_num_retries: %d", harness.id, self._retry.most)
            return
        timer = asyncio.get_running_loop().call_later(self._retry.seconds, self._try_again, harness)
        self._timers[harness.id] = timer

    def _try_again(self, harness: LoaderHarness) -> None:
        if harness.aspired and harness.state is HarnessState.ERROR:
            self._cancel_retry(harness.id)
            _logger.info("Retrying of Loading servable: %s retry: %d", harness.id, harness.attempts)
            harness.renew()
            self._advance(harness.id.name)

    def _cancel_retry(self, servable: ServableId) -> None:
        timer = self._timers.pop(servable, None)
        if timer is not None:
            timer.cancel()

    def _look_again(self, harness: LoaderHarness) -> None:
        """A failed version is in a new list: if its files have changed, it may be a whole one by now."""
        if harness.state is HarnessState.ERROR and harness.loader is not None and harness not in self._looking:
            self._looking.add(harness)
            self._spawn(harness.id.name, self._look_at_files(harness, harness.loader))

    async def _look_at_files(self, harness: LoaderHarness, loader: VersionLoader) -> None:
        try:
            changed = await loader.changed()
        finally:
            self._looking.discard(harness)
        if changed and harness.aspired and harness.state is HarnessState.ERROR:
            _logger.info("the files of servable version %s have changed: it is tried again", harness.id)
            harness.attempts = 0
            self._try_again(harness)

    def _retry_the_refused(self) -> None:
        """Memory has come back: those that there was none for are tried again."""
        for harness in list(self._harnesses()):
            if harness.error is not None and harness.error.code is Code.RESOURCE_EXHAUSTED:
                self._try_again(harness)

    def _harnesses(self) -> Iterator[LoaderHarness]:
        for stream in self._streams.values():
            yield from stream.values()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(name, done))
        return task

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if error := task.exception():
            _logger.error("a step of servable %s failed in a way it never should", name, exc_info=error)
        self._advance(name)

    def aspires(self, servable: ServableId) -> bool:
        harness = self._streams.get(servable.name, {}).get(servable.version)
        return harness is not None and harness.aspired

    def aspired(self, name: str) -> list[int]:
        """The aspired versions of a stream, failed ones too."""
        return sorted(version for version, harness in self._streams.get(name, {}).items() if harness.aspired)

    def close(self) -> None:
        """Begin nothing more; loads under way are given up."""
        self._closing = True
        for timer in self._timers.values():
            timer.cancel()
        for task in list(self._tasks):
            task.cancel()


def _gives_way(harness: LoaderHarness, item: VersionLoader | ServingError) -> bool:
    """Is it this item's turn? Of a version that failed, or is gone, only when the item is more than another error."""
    if not harness.aspired:
        return harness.finished
    if harness.state is not HarnessState.ERROR or isinstance(item, ServingError):
        return False
    return harness.loader is None or not harness.loader.same(item)

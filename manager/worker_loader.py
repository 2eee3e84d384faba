"""Loads one version through the workers that should hold it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from manager.daemon_threads import DaemonThreads
from manager.load_record import LoadRecord
from manager.model_cache import ModelCache
from manager.model_config import ModelConfig
from manager.serving import Serving
from manager.storage import fingerprint, is_remote, local_path
from manager.worker_process import WorkerProcess
from ringserve.channel import Message
from ringserve.errors import ServingError
from ringserve.servable import ServableId

_REMOTE_SECONDS: Final = 60.0  # between two looks at a failed version's remote files: each costs requests to the store


class WorkerLoader:
    """Implements `manager.version_loader.VersionLoader`."""

    def __init__(
        self,
        serving: Serving,
        cache: ModelCache,
        threads: DaemonThreads,
        record: LoadRecord,
        servable: ServableId,
        path: str,
        model: ModelConfig,
        workers: Sequence[WorkerProcess],
    ) -> None:
        """`path`: the version's folder, which is copied first where it is remote.

        The paths of a source that is a plug-in may mean anything, and go to the model's loader as they are.
        """
        self._serving = serving
        self._cache = cache
        self._threads = threads
        self._record = record
        self._servable = servable
        self._path = path
        self._model = model
        self._workers = workers
        self._request: Message = {}
        self._copying: asyncio.Future[str] | None = None  # the last copy of remote files that was begun
        self._files = ""  # fingerprints: when the last load began, and when `changed` last looked
        self._files_seen = ""
        self._next_look = 0.0

    async def estimate(self) -> int:
        """Looks at the files as they are when the load begins; brings remote ones here."""
        self._files = self._files_seen = ""
        if not self._model.source:
            self._files = self._files_seen = await self._threads.run(lambda: fingerprint(self._path))
        self._request = {
            "type": "load",
            "servable": self._servable,
            "path": await self._local_path(),
            "platform": self._model.platform,
            "options": dict(self._model.loader_options),
        }
        return await self._workers[0].estimate(self._request) * len(self._workers)

    async def _local_path(self) -> str:
        if self._model.source:
            return self._path
        if not is_remote(self._path):
            return local_path(self._path)
        given_up = threading.Event()
        fetch = partial(self._cache.fetch, self._path, self._servable, self._files, given_up, self)
        self._copying = self._threads.run(fetch)
        try:
            return await asyncio.shield(self._copying)
        finally:
            given_up.set()

    async def load(self) -> int | None:
        before = [(worker.pid, worker.busy, worker.activity, worker.resident_bytes) for worker in self._workers]
        await self._record.watch(self._path, self._serving.load(self._servable, self._request, self._workers))
        measured = 0
        for worker, (pid, busy, activity, resident) in zip(self._workers, before, strict=True):
            now = worker.resident_bytes
            alone = not busy and worker.activity == activity + 2
            if worker.pid != pid or not alone or resident is None or now is None:
                return None
            measured += max(now - resident, 0)
        return measured

    async def quiesce(self) -> None:
        await self._serving.quiesce(self._servable)

    async def unload(self) -> None:
        await self._serving.unload(self._servable)
        await self.discard()

    async def discard(self) -> None:
        """Waits for the end of a download that was given up, which may have come to its end all the same."""
        if self._copying is not None:
            await asyncio.wait([self._copying])
            await self._threads.run(partial(self._cache.drop, self))

    async def changed(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._model.source or now < self._next_look:
            return False
        if is_remote(self._path):
            self._next_look = now + _REMOTE_SECONDS
        before, self._files_seen = self._files_seen, ""
        with contextlib.suppress(ServingError):  # gone, or not to be read: nothing that could be loaded
            self._files_seen = await self._threads.run(lambda: fingerprint(self._path))
        return bool(self._files_seen) and self._files_seen != self._files and self._files_seen == before

    def same(self, other: Any) -> bool:
        return (
            isinstance(other, WorkerLoader)
            and other._path == self._path
            and other._model.platform == self._model.platform
            and other._model.loader_options == self._model.loader_options
            and other._workers == self._workers
        )

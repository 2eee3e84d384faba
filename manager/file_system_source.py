"""The source that watches base paths: numbered folders in a model's base path are its versions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from manager.daemon_threads import DaemonThreads
from manager.found_versions import find_versions
from manager.loader_harness import as_serving_error
from manager.model_config import ModelConfig
from manager.replaced_folders import ReplacedFolders
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.source import AspiredVersions, ServableData

_logger = logging.getLogger(__name__)

R = TypeVar("R")

_PATIENCE_SECONDS: Final = 10.0  # a look that takes longer is worth a line


@dataclass(eq=False, slots=True)
class _Watched:
    """A model as configured now. With another base path or policy it becomes another one."""

    config: ModelConfig
    folders: ReplacedFolders = field(default_factory=ReplacedFolders)
    warnings: set[str] = field(default_factory=set)  # of the last look, said already
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None

    def is_for(self, config: ModelConfig) -> bool:
        return (self.config.base_path, self.config.policy) == (config.base_path, config.policy)


class FileSystemStoragePathSource:
    """Polls every so often. Each model is polled by itself: one whose base path is gone keeps what it has, and no other
    model notices (upstream's poll stops for all of them), not even when looking there takes for ever.
    """

    def __init__(
        self,
        configs: Iterable[ModelConfig],
        poll_seconds: float,
        on_trouble: Callable[[str, ServingError | None], None],
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """`poll_seconds`, from start to start; 0: look once, and once after each `set_models`; negative: never.

        `on_trouble` is told why a model has nothing to serve or can't be looked at, and told None when that is over.
        """
        self._poll_seconds = poll_seconds
        self._on_trouble = on_trouble
        self._patience_seconds = patience_seconds
        self._callback: AspiredVersions[str] | None = None
        self._threads = DaemonThreads("source")
        self._troubles: dict[str, str] = {}
        self._watched: dict[str, _Watched] = {}
        self.set_models(configs)

    def set_aspired_versions_callback(self, callback: AspiredVersions[str]) -> None:
        """Connect, and begin to poll."""
        if self._callback is not None:
            _logger.error("SetAspiredVersionsCallback() called multiple times; ignoring this call")
            return
        self._callback = callback
        for watched in self._watched.values():
            self._begin(watched)

    def set_models(self, configs: Iterable[ModelConfig]) -> None:
        """Watch these models from now on. One that was there and is not any more is emitted once, with no version.

        One that stays keeps what it has until it was looked at, which is done at once if its base path or policy changed.
        """
        wanted: dict[str, ModelConfig] = {}
        for config in configs:
            wanted.setdefault(config.name, config)
        for name in self._watched.keys() - wanted.keys():
            self._forget(name)
        for name, config in wanted.items():
            old = self._watched.get(name)
            if old and old.is_for(config) and self._poll_seconds:
                continue
            new = _Watched(config, old.folders.copy(), old.warnings) if old else _Watched(config)
            self._stop(old)
            self._watched[name] = new
            self._begin(new)

    def _forget(self, name: str) -> None:
        self._stop(self._watched.pop(name))
        self._set_trouble(name, None)
        if self._callback is not None:
            self._callback(name, [])

    def _begin(self, watched: _Watched) -> None:
        if self._callback is not None and self._poll_seconds >= 0:
            watched.task = asyncio.get_running_loop().create_task(self._watch(watched))

    @staticmethod
    def _stop(watched: _Watched | None) -> None:
        if watched is not None and watched.task is not None:
            watched.task.cancel()

    async def _watch(self, watched: _Watched) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._poll_seconds
            await self._look(watched)
            if not self._poll_seconds:
                return
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def poll(self) -> None:
        """Look at every base path once and emit what is aspired."""
        await asyncio.gather(*map(self._look, list(self._watched.values())))

    async def _look(self, watched: _Watched) -> None:
        name = watched.config.name
        async with watched.looking:
            try:
                await self._find(watched)
            except ServingError as error:
                self._set_trouble(name, error, watched)
            except Exception as error:  # storage has its surprises: the next look may go well
                trouble = as_serving_error(error)
                if self._troubles.get(name) != trouble.message:
                    _logger.error("a look at servable %s failed in a way it never should", name, exc_info=error)
                self._set_trouble(name, trouble, watched)

    async def _find(self, watched: _Watched) -> None:
        config = watched.config
        found = await self._patiently(watched, partial(find_versions, config))
        if not self._is_current(watched):
            return
        self._set_trouble(config.name, found.trouble, watched)
        self._emit(config.name, found.versions)
        replaced = await self._patiently(watched, partial(watched.folders.check, config.name, found.versions))
        self._set_trouble(config.name, found.trouble, watched)
        self._warn(watched, found.warnings, replaced)

    def _is_current(self, watched: _Watched) -> bool:
        return self._watched.get(watched.config.name) is watched

    async def _patiently(self, watched: _Watched, call: Callable[[], R]) -> R:
        """In a thread: a network file system may take its time, and that may be for ever."""
        work = self._threads.run(call)
        try:
            done, _ = await asyncio.wait([work], timeout=self._patience_seconds)
            if not done:
                text = f"Looking at base path {watched.config.base_path} of servable {watched.config.name} "
                text += f"takes longer than {self._patience_seconds:g} s"
                self._set_trouble(watched.config.name, ServingError(Code.UNAVAILABLE, text), watched)
            return await work
        finally:
            work.cancel()

    def _emit(self, name: str, versions: Sequence[tuple[int, str]]) -> None:
        assert self._callback is not None
        self._callback(name, [ServableData(ServableId(name, version), path) for version, path in versions])

    @staticmethod
    def _warn(watched: _Watched, warnings: Iterable[str], replaced: Iterable[str]) -> None:
        """What is still so was said already; a replacement is seen once."""
        now = set(warnings)
        for text in (*sorted(now - watched.warnings), *replaced):
            _logger.warning("%s", text)
        watched.warnings = now

    def _set_trouble(self, name: str, error: ServingError | None, watched: _Watched | None = None) -> None:
        """Say it when it comes and when it goes, not at every poll. Of a model's former configuration, never."""
        if watched is not None and not self._is_current(watched):
            return
        text = error.message if error else None
        if self._troubles.get(name) == text:
            return
        if error:
            self._troubles[name] = error.message
            _logger.warning("%s", error.message)
        else:
            del self._troubles[name]
        self._on_trouble(name, error)

    def close(self) -> None:
        """Poll no more. A look that hangs is left to itself."""
        for watched in self._watched.values():
            self._stop(watched)

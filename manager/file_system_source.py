"""The source that watches folders: numbered sub-folders of a model's base path are its versions."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

from manager.model_config import ModelConfig
from manager.version_policy import parse_versions
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.source import AspiredVersions, ServableData

_logger = logging.getLogger(__name__)


class FileSystemStoragePathSource:
    """Polls every so often. Each model is polled by itself: one whose base path is gone keeps what it has, and no other
    model notices (upstream's poll stops for all of them), not even when looking there takes for ever.
    """

    def __init__(
        self, configs: Sequence[ModelConfig], poll_seconds: float, on_trouble: Callable[[str, ServingError], None]
    ) -> None:
        """`poll_seconds` 0: look once, negative: never. `on_trouble` is told when a model has nothing to serve."""
        self._configs = list(configs)
        self._poll_seconds = poll_seconds
        self._on_trouble = on_trouble
        self._callback: AspiredVersions[str] | None = None
        self._troubles: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def set_aspired_versions_callback(self, callback: AspiredVersions[str]) -> None:
        """Connect, and begin to poll."""
        if self._callback is not None:
            _logger.error("SetAspiredVersionsCallback() called multiple times; ignoring this call")
            return
        self._callback = callback
        if self._poll_seconds >= 0:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._watch(config)) for config in self._configs]

    async def _watch(self, config: ModelConfig) -> None:
        while True:
            await self._look(config)
            if not self._poll_seconds:
                return
            await asyncio.sleep(self._poll_seconds)

    async def poll(self) -> None:
        """Look at every base path once and emit what is aspired."""
        await asyncio.gather(*map(self._look, self._configs))

    async def _look(self, config: ModelConfig) -> None:
        """In a thread: a network file system may take its time."""
        try:
            names = await asyncio.to_thread(os.listdir, config.base_path)
        except OSError as error:
            self._trouble(
                config.name,
                f"Could not find base path {config.base_path} for servable {config.name} with error {error.strerror}",
            )
            return
        chosen = config.policy(parse_versions(names))
        if chosen:
            self._troubles.pop(config.name, None)
        else:
            text = f"No versions of servable {config.name} found under base path {config.base_path}. "
            self._trouble(config.name, text + "Did you forget to name your leaf directory as a number (eg. '/1/')?")
        versions = [
            ServableData(ServableId(config.name, version), os.path.join(config.base_path, name)) for version, name in chosen
        ]
        assert self._callback is not None
        self._callback(config.name, versions)

    def _trouble(self, name: str, text: str) -> None:
        """Say it once, not at every poll."""
        if self._troubles.get(name) != text:
            self._troubles[name] = text
            _logger.warning("%s", text)
            self._on_trouble(name, ServingError(Code.NOT_FOUND, text))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

"""The models of a running server: their configuration, changed as a whole, and everything that follows from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

from manager.aspired_versions_manager import AspiredVersionsManager
from manager.config_file import ConfigFile
from manager.daemon_threads import DaemonThreads
from manager.loader_harness import as_serving_error
from manager.model_config import ModelConfig, check, from_config, to_config
from manager.model_sources import ModelSources
from manager.reload_outcome import ModelOutcome, failure
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from manager.version_labels import check_labels
from manager.version_loader import VersionLoader
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.source import SourceAdapter

_logger = logging.getLogger(__name__)

_FAILED: Final = "PollFilesystemAndReloadConfig failed to ReloadConfig"

MakeLoader = Callable[[ServableId, str, ModelConfig], VersionLoader]


def first_models(options: ServerOptions, devices: Sequence[str]) -> tuple[list[ModelConfig], ConfigFile | None]:
    """The models to start with, from the flags or the config file. Raises ServingError for a config that can't be."""
    file = ConfigFile(options.model_config_file) if options.model_config_file else None
    if file is None:
        models = [ModelConfig(options.model_name, options.model_base_path)]
    else:
        data = file.read()
        models = from_config(file.parse(data))
        file.applied(data)
    check(models, devices)
    check_labels(models, {}, lambda _: False, options.allow_version_labels_for_unavailable_models)
    return models, file


class ServerCore:
    """A new configuration is checked as a whole before any of it is applied, and applied in one turn of the event loop:
    there is no state in between, and nothing to lock. Only then does a reload wait, for so long as it may.
    """

    def __init__(
        self,
        options: ServerOptions,
        devices: Sequence[str],
        file: ConfigFile | None,
        make_loader: MakeLoader,
        manager: AspiredVersionsManager,
        monitor: ServableStateMonitor,
        serving: Serving,
        threads: DaemonThreads,
    ) -> None:
        self._options = options
        self._threads = threads
        self._devices = devices
        self._file = file
        self._make_loader = make_loader
        self._monitor = monitor
        self._serving = serving
        self._sources = ModelSources(options.file_system_poll_wait_seconds, monitor.note_trouble)
        self._adapter: SourceAdapter[VersionLoader] = SourceAdapter(self._convert, manager.set_aspired_versions)
        self.models: dict[str, ModelConfig] = {}
        self.reloads = {"ok": 0, "refused": 0, "incomplete": 0}  # by how they ended
        self._waiting: set[asyncio.Task[list[ModelOutcome]]] = set()  # reloads from the file: models are yet to settle

    def start(self, models: Sequence[ModelConfig]) -> None:
        """Begin to serve these models, which are known to be right."""
        self._sources.set_aspired_versions_callback(self._adapter)
        self._apply(models)

    def close(self) -> None:
        """Look for no more versions."""
        self._sources.close()
        for waiting in self._waiting:
            waiting.cancel()

    def _convert(self, servable: ServableId, path: str) -> VersionLoader:
        model = self.models.get(servable.name)
        if model is None:
            raise ServingError(Code.INTERNAL, "No platform found for model")
        return self._make_loader(servable, path, model)

    def config(self) -> Any:
        """The present ModelServerConfig message; a copy."""
        return to_config(self.models.values())

    async def reload(self, config: Any, timeout: float | None = None) -> list[ModelOutcome]:
        """Bring the server to a new configuration: all of it, or none.

        Waits until models with a new name have settled, at most `timeout` seconds (None: --reload_timeout); those that have
        no version available by then have an error in their outcome, and go on loading. Raises ServingError for a
        configuration that is refused: nothing has changed then.
        """
        return await self._begin_reload(config, timeout)

    async def reload_file(self, path: str | None, timeout: float | None = None) -> list[ModelOutcome]:
        """As `reload`, of the config in this file, or (None) in the server's own.

        Raises ServingError also when there is none. The seconds count from when it is read, which may take any time.
        """
        file = ConfigFile(path) if path is not None else self._file
        if self._file is not None and path == self._file.path:
            file = self._file
        if file is None:
            raise ServingError(Code.FAILED_PRECONDITION, "The server was started without --model_config_file")
        data = await self._threads.run(file.read)
        outcomes = self._begin_reload(file.parse(data), timeout)
        file.applied(data)
        return await outcomes

    def _begin_reload(self, config: Any, timeout: float | None = None) -> Coroutine[Any, Any, list[ModelOutcome]]:
        """Apply it at once, or raise; what remains is to wait for the outcomes."""
        if config.WhichOneof("config") is None:
            _logger.info("Taking no action for empty config.")
            return _nothing()
        try:
            self._check_kind(config)
            models = from_config(config)
            check(models, self._devices, self.models)
            allow = self._options.allow_version_labels_for_unavailable_models
            check_labels(models, self._serving.labels, self._monitor.is_available, allow)
        except ServingError:
            self.reloads["refused"] += 1
            raise
        began = self._monitor.now
        return self._outcomes(self._apply(models), began, timeout)

    async def _outcomes(self, changes: dict[str, Any], began: int, timeout: float | None) -> list[ModelOutcome]:
        added = [name for name, change in changes.items() if change == "added"]
        await self._settle(added, began, (self._options.reload_timeout or None) if timeout is None else timeout)
        outcomes = [
            ModelOutcome(name, change, self._error(name, began) if change == "added" else None)
            for name, change in changes.items()
        ]
        self.reloads["incomplete" if any(outcome.error for outcome in outcomes) else "ok"] += 1
        _logger.info("Finished reloading config")
        return outcomes

    @staticmethod
    def _check_kind(config: Any) -> None:
        if config.HasField("custom_model_config"):
            text = "It is only legal to transition from one ModelConfigList to another."
            raise ServingError(Code.FAILED_PRECONDITION, f"Cannot transition to requested config. {text}")

    def _apply(self, models: Sequence[ModelConfig]) -> dict[str, Any]:
        """Everything that follows from a new list of models; each one's change."""
        old = self.models
        self.models = {model.name: model for model in models}
        changes = {
            model.name: "added" if model.name not in old else "kept" if old[model.name] == model else "changed"
            for model in models
        }
        for model in models:
            if changes[model.name] != "kept":
                _logger.info(" (Re-)adding model: %s", model.name)
            self._serving.route(model.name, model.routing, model.shadows)
        for name in old:
            if name not in self.models:
                _logger.info(" Removing model: %s", name)
                changes[name] = "removed"
                self._serving.route(name, {}, ())
        self._monitor.note_models(self.models)
        self._serving.set_models(self.models)
        self._sources.set_models(models)
        return changes

    async def _settle(self, names: Sequence[str], since: int, seconds: float | None) -> None:
        """`seconds` None: however long it takes."""
        try:
            await asyncio.wait_for(self._monitor.settled(names, since), seconds)
        except TimeoutError:
            slow = [name for name in names if not self._monitor.is_settled(name, since)]
            if slow:
                _logger.warning("models that were added have not settled within %g s: %s", seconds, " ".join(slow))

    def _error(self, name: str, since: int) -> ServingError | None:
        """Why a model that was just added has nothing to serve."""
        if name not in self.models or self._monitor.available(name):
            return None
        if not self._monitor.is_settled(name, since):
            return ServingError(Code.DEADLINE_EXCEEDED, f"model {name} is still being loaded")
        return self._monitor.error(name, since)

    async def follow_file(self, seconds: float) -> None:
        """Look at the config file every so often, and reload when there is something new in it. For ever."""
        said = ""
        while True:
            await asyncio.sleep(seconds)
            text = ""
            try:
                await self._look_at_file()
            except Exception as error:
                text = as_serving_error(error).message
                if text != said:  # once, not at every look
                    _logger.error("%s", text, exc_info=None if isinstance(error, ServingError) else error)
            said = text

    async def _look_at_file(self) -> None:
        """Apply what is new in the config file. Raises ServingError when that can't be."""
        assert self._file is not None
        with _saying("Failed to read ModelServerConfig file"):
            data = await self._threads.run(self._file.read)
            if not self._file.is_new(data):
                return
            config = self._file.parse(data)
        with _saying(_FAILED):
            outcomes = self._begin_reload(config)
        self._file.applied(data)
        waiting = asyncio.get_running_loop().create_task(outcomes)
        self._waiting.add(waiting)
        waiting.add_done_callback(self._report)

    def _report(self, waiting: asyncio.Task[list[ModelOutcome]]) -> None:
        """Say which models have not come up, now that it is known; what is new in the file did not wait for it."""
        self._waiting.discard(waiting)
        if not waiting.cancelled() and (incomplete := failure(waiting.result())):
            _logger.error("%s: %s", _FAILED, incomplete.message)


@contextlib.contextmanager
def _saying(text: str) -> Iterator[None]:
    """Have an error say what failed."""
    try:
        yield
    except ServingError as error:
        raise ServingError(error.code, f"{text}: {error.message}") from error


async def _nothing() -> list[ModelOutcome]:
    return []

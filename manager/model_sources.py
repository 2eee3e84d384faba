"""The sources of all models: the file system for most, plug-ins for those that name one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from manager.file_system_source import FileSystemStoragePathSource
from manager.loader_harness import as_serving_error
from manager.model_config import ModelConfig
from manager.version_policy import is_version
from ringserve import plugins
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.source import AspiredVersions, ServableData, Source

_logger = logging.getLogger(__name__)

OnTrouble = Callable[[str, ServingError | None], None]


@dataclass(slots=True)
class _Plugged:
    """A model with a plug-in, and the last list that this has emitted."""

    model: ModelConfig
    source: Source[str] | None  # None: it has failed
    versions: Sequence[ServableData[str]] | None = None


class ModelSources:
    """Emits the aspired versions of every model of the configuration, which may change; a model that goes emits none."""

    def __init__(self, poll_seconds: float, on_trouble: OnTrouble) -> None:
        self._on_trouble = on_trouble
        self._files = FileSystemStoragePathSource([], poll_seconds, on_trouble)
        self._plugins: dict[str, _Plugged] = {}
        self._plugged: Collection[str] = ()  # models with a plug-in
        self._target: AspiredVersions[str]

    def set_aspired_versions_callback(self, callback: AspiredVersions[str]) -> None:
        self._target = callback
        self._files.set_aspired_versions_callback(self._emit_found)

    def set_models(self, models: Sequence[ModelConfig]) -> None:
        """Watch these models from now on, and no others."""
        wanted = {model.name: model for model in models if model.source}
        names = {model.name for model in models}
        for name, plugged in list(self._plugins.items()):
            if plugged.source is None or not _same_source(plugged.model, wanted.get(name)):
                del self._plugins[name]
                self._close(name, plugged.source)
                self._on_trouble(name, None)
                if name not in names:
                    self._target(name, [])
        self._plugged = wanted.keys()
        self._files.set_models([model for model in models if not model.source])
        for model in wanted.values():
            if model.name in self._plugins:
                self._keep(self._plugins[model.name], model)
            else:
                self._start(model)

    def _keep(self, plugged: _Plugged, model: ModelConfig) -> None:
        """The source need not know what else of its model has changed: loaders are made anew of its last list."""
        changed = plugged.model != model
        plugged.model = model
        if changed and plugged.versions is not None:
            self._target(model.name, plugged.versions)

    def _emit_found(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        if name not in self._plugged:  # what files have served stays until the plug-in has something in its place
            self._target(name, versions)

    def _start(self, model: ModelConfig) -> None:
        """Whatever a plug-in does, the other models have their sources. One that fails is tried again with the next call."""
        plugged = self._plugins[model.name] = _Plugged(model, None)
        try:
            make = plugins.find_class(plugins.SOURCES, model.source)
            plugged.source = make(model.name, model.base_path, dict(model.source_options))
            plugged.source.set_aspired_versions_callback(self._callback(model.name, plugged))
        except Exception as error:
            _logger.exception("source %s of model %s failed", model.source, model.name)
            source, plugged.source = plugged.source, None
            self._close(model.name, source)
            failure = as_serving_error(error)
            self._on_trouble(model.name, ServingError(failure.code, f"Source {model.source} failed: {failure.message}"))

    def _callback(self, model: str, plugged: _Plugged) -> AspiredVersions[str]:
        def emit(name: str, versions: Sequence[ServableData[str]]) -> None:
            if self._plugins.get(model) is not plugged or plugged.source is None:
                return  # closed, and emits all the same
            if name != model:
                _logger.error("the source of model %s emitted versions of %s, which are dropped", model, name)
                return
            if not _are_versions(name, versions):
                _logger.error("the source of model %s emitted what is no list of its versions: %r", model, versions)
                return
            empty = ServingError(Code.NOT_FOUND, f"The source of model {name} has no versions of it")
            self._on_trouble(name, None if versions else empty)
            plugged.versions = list(versions)
            self._target(name, versions)

        return emit

    @staticmethod
    def _close(name: str, source: Source[str] | None) -> None:
        try:
            if source is not None:
                source.close()
        except Exception:
            _logger.exception("the source of model %s failed when it was closed", name)

    def close(self) -> None:
        self._files.close()
        for name, plugged in self._plugins.items():
            self._close(name, plugged.source)
        self._plugins.clear()


def _same_source(old: ModelConfig, new: ModelConfig | None) -> bool:
    return new is not None and (old.source, old.base_path, old.source_options) == (
        new.source,
        new.base_path,
        new.source_options,
    )


def _are_versions(name: str, versions: Any) -> bool:
    return isinstance(versions, Sequence) and all(
        isinstance(version, ServableData)
        and isinstance(version.id, ServableId)
        and version.id.name == name
        and is_version(version.id.version)
        for version in versions
    )

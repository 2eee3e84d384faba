"""The platforms of the models that a worker holds: their loaders found, made and driven, plug-ins among them."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ringserve.errors import Code, ServingError
from ringserve.loader import Loader
from ringserve.options import ServerOptions
from ringserve.plugins import LOADERS, find_class
from ringserve.servable import ServableId
from workers.engine import LoadedVersion
from workers.native_servable import NativeServable
from workers.plugin_errors import plugin_errors
from workers.plugin_version import PluginVersion
from workers.tf.loader import engine_of

_logger = logging.getLogger(__name__)

_MOST_BYTES: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory, and what gives it back: to be called once no run is under way. Raises ServingError."""

    version: LoadedVersion
    unload: Callable[[], None]


class Platforms:
    """Loads versions of every platform. Used by several threads; no plug-in's exception leaves it as it was."""

    def __init__(self, options: ServerOptions) -> None:
        """Loads TensorFlow's libraries. Raises ServingError for a session configuration that can't be read."""
        self._options = options
        engine_of(options)

    def load(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> Loaded:
        """Load the version in this folder. Raises ServingError with the reason, and leaves nothing behind then."""
        loader = self._loader(servable, path, platform, options)

        def unload() -> None:
            with plugin_errors(f"unloading {servable}"):
                loader.unload()

        with plugin_errors(f"loading {servable}"):
            made = loader.load()
        if isinstance(made, NativeServable):
            return Loaded(made.version, unload)
        try:
            return Loaded(PluginVersion(made), unload)
        except ServingError:
            try:
                unload()
            except ServingError as error:
                _logger.error("unloading %s, which can't be served, failed: %s", servable, error)
            raise

    def estimate(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> int:
        """Bytes of memory that the version will take. Raises ServingError."""
        loader = self._loader(servable, path, platform, options)
        with plugin_errors(f"estimating {servable}"):
            try:
                estimate = operator.index(loader.estimate())
            except FileNotFoundError as error:
                raise ServingError(Code.NOT_FOUND, f"{error.filename or path}; {error.strerror}") from error
            if not 0 <= estimate <= _MOST_BYTES:
                raise ServingError(Code.INTERNAL, f"the estimate of {servable} is {estimate} bytes")
            return estimate

    def _loader(self, servable: ServableId, path: str, platform: str, options: Mapping[str, str]) -> Loader:
        made: type[Loader] = find_class(LOADERS, platform)
        with plugin_errors(f"making the loader of {servable}"):
            return made(servable, path, dict(options), self._options)

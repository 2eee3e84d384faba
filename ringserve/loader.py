"""Loaders know how to estimate, load and unload one version of a servable: the plug-in interface of a platform."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping

from ringserve.options import ServerOptions
from ringserve.servable import Servable, ServableId

_LOADED_TO_STORED = 1.2  # upstream's factor from bytes of files to bytes of memory


class Loader(ABC):
    """One version's. Lives in a worker process, where it works in a background thread while other versions serve.

    `load` is called once, and `unload` once after it went well; never both at a time. Another attempt to load gets another
    loader. A worker makes a loader also where it only wants an estimate.
    """

    def __init__(self, servable: ServableId, path: str, options: Mapping[str, str], server: ServerOptions) -> None:
        """`path`: the version's folder. `options`: the model's `loader_options` in the configuration."""
        self.servable = servable
        self.path = path
        self.options = options
        self.server = server

    def estimate(self) -> int:
        """Bytes of memory that the version will take, before it is loaded; by its files' sizes unless overridden.

        Raises OSError.
        """
        return int(_file_bytes(self.path) * _LOADED_TO_STORED)

    @abstractmethod
    def load(self) -> Servable:
        """Make the version ready to serve. Raises ServingError with the reason when it can't be."""

    def unload(self) -> None:  # noqa: B027 - most loaders have nothing to do
        """Give back everything that `load` took. No run is under way, and none comes after."""


def _file_bytes(path: str) -> int:
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)

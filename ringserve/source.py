"""Sources say which versions of which servables should be loaded: the *aspired* versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ringserve.errors import ServingError
from ringserve.servable import ServableId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServableData(Generic[T]):
    """An id with what belongs to it, or with the error that kept it from being made. Errors travel as data does."""

    id: ServableId
    data: T | ServingError


class AspiredVersions(Protocol[T]):
    """Where a source's lists go. A call names one servable stream and replaces its previous list entirely."""

    def __call__(self, name: str, versions: Sequence[ServableData[T]]) -> None: ...


class Source(Protocol[T]):
    """Emits aspired versions. All calls happen on the supervisor's event loop, and none may block it.

    A plug-in is a class that a model of the configuration names as its `source`. It is made with the model's name, its
    base path and its `source_options`, and emits lists of storage paths for that one name.
    """

    def set_aspired_versions_callback(self, callback: AspiredVersions[T]) -> None:
        """Connect, once; the source may emit from now on."""

    def close(self) -> None:
        """Emit nothing more, and give back whatever is held."""


class SourceAdapter(Generic[T]):
    """Turns the items of a source's lists one by one: storage paths into loaders, say.

    Order and count are kept. Items that are errors pass through; a conversion that fails makes its item an error.
    """

    def __init__(self, convert: Callable[[ServableId, str], T], target: AspiredVersions[T]) -> None:
        self._convert = convert
        self._target = target

    def __call__(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        self._target(name, [self._adapt(version) for version in versions])

    def _adapt(self, version: ServableData[str]) -> ServableData[T]:
        if isinstance(version.data, ServingError):
            return ServableData(version.id, version.data)
        try:
            return ServableData(version.id, self._convert(version.id, version.data))
        except ServingError as error:
            return ServableData(version.id, error)

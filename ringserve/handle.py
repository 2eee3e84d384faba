"""Handles: who uses a loaded version pins it, so that it goes only when nobody does any more."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from ringserve.servable import ServableId

T = TypeVar("T")
Request_contra = TypeVar("Request_contra", contravariant=True)


class ServableHandle(Generic[T]):
    """A counted reference to a loaded version. Used on one event loop.

    There is one object a version, which counts those who hold it: an object for each request costs twice the time. A
    manager counts everybody that it hands the handle to; each gives it up once, by leaving its `with` or by `release`.
    """

    __slots__ = ("_freed", "holders", "id", "servable")

    def __init__(self, servable_id: ServableId, servable: T) -> None:
        self.id = servable_id
        self.servable = servable
        self.holders = 0
        self._freed: list[Callable[[], object]] = []

    def __enter__(self) -> T:
        return self.servable

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the handle up, where no `with` does."""
        self.holders = left = self.holders - 1
        if not left and self._freed:
            self._tell_freed()

    def retire(self, freed: Callable[[], object]) -> None:
        """The manager hands the handle out no more: call `freed` when nobody holds it, at once if that is now."""
        self._freed.append(freed)
        if not self.holders:
            self._tell_freed()

    def _tell_freed(self) -> None:
        freed, self._freed = self._freed, []
        for tell in freed:
            tell()


class Manager(Protocol[Request_contra, T]):
    """Hands out what is loaded: upstream's Manager, as those who serve requests see it."""

    def available_servable_ids(self) -> list[ServableId]:
        """The versions that requests find."""

    def servable_handle(self, request: Request_contra) -> ServableHandle[T]:
        """Pin the version that the request wants; give the handle up when done with it.

        Raises ServingError: NOT_FOUND where that version is not loaded.
        """

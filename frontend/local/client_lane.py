"""A lane that a local client has, and whether it is still what the client asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from frontend.catalog import Catalog, ModelSpec, Version
from ringserve.errors import ServingError
from ringserve.handle import ServableHandle


@dataclass(eq=False, slots=True)
class ClientLane:
    """It holds its version's handle for as long as the client has it. `limit` is set once it is to be given up."""

    number: int
    worker: str
    wanted: ModelSpec
    handle: ServableHandle[Version]
    limit: asyncio.TimerHandle | None = None

    def is_meant(self, catalog: Catalog) -> bool:
        """Would a request that asks for the same get this version now?"""
        label = self.wanted.label
        if label is not None and self.wanted.key is None:  # by chance, if the label splits its requests
            if self.handle.id.version not in catalog.labels(self.wanted.name).get(label, {}):
                return False
            return self._is_found(catalog, ModelSpec(self.wanted.name, self.handle.id.version))
        return self._is_found(catalog, self.wanted)

    def _is_found(self, catalog: Catalog, wanted: ModelSpec) -> bool:
        try:
            handle = catalog.servable_handle(wanted)
        except ServingError:
            return False
        handle.release()
        return handle is self.handle

    def give_up(self, seconds: float, drop: Callable[[], object]) -> None:
        """The client is told to; `drop` is called if it takes too long."""
        self.limit = asyncio.get_running_loop().call_later(seconds, drop)

    def close(self) -> None:
        if self.limit is not None:
            self.limit.cancel()
        self.handle.release()

"""Loaders load and unload one servable version each."""

from __future__ import annotations

from typing import Protocol


class Loader(Protocol):
    """`load` is called once, `unload` once after a load that went well; never both at a time."""

    async def load(self) -> None:
        """Make the version ready to serve. Raises ServingError with the reason when it can't be."""

    async def quiesce(self) -> None:
        """New requests stop seeing the version; returns when none is under way any more."""

    async def unload(self) -> None:
        """Give back everything that `load` took."""

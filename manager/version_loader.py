"""What the manager drives for each version: its load and unload across all the workers that should hold it."""

from __future__ import annotations

from typing import Any, Protocol


class VersionLoader(Protocol):
    """Loads one version wherever it belongs. `quiesce` and `unload` follow a load that went well; never two at a time.

    A `load` that fails leaves nothing behind, and may be called again. `estimate` may be cancelled.
    """

    async def estimate(self) -> int:
        """Bytes of memory that the version will take in all workers together; brings its files here for that if need be.

        Raises ServingError.
        """

    async def load(self) -> int | None:
        """Make the version ready to serve. Raises ServingError with the reason when it can't be.

        Returns the bytes of memory that it took in all workers together, None where that can't be told.
        """

    async def quiesce(self) -> None:
        """New requests stop seeing the version; returns when none is under way any more."""

    async def unload(self) -> None:
        """Give back everything that `load` took."""

    async def changed(self) -> bool:
        """Have the version's files changed since the last `load` began, and not since this was last asked?"""

    async def discard(self) -> None:
        """The last call, whatever came before: give back all that is left, such as files that `estimate` brought here."""

    def same(self, other: Any) -> bool:
        """Would this other loader load the very same thing?"""

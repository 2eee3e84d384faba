"""The memory that loaded versions may take together, and who has how much of it."""

from __future__ import annotations

import asyncio
from typing import Final

from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

_LEAST_RATIO: Final = 0.25  # of measured to estimated memory: beyond these a measurement is not believed
_MOST_RATIO: Final = 10.0


class MemoryBudget:
    """Whoever finds no room waits for what may come back; one that fits goes ahead of those that wait.

    Upstream decides strictly in the order of asking: there one that is too large holds up all after it.
    """

    def __init__(self, limit: int) -> None:
        """`limit` in bytes; 0: none."""
        self.limit = limit
        self._estimates: dict[ServableId, int] = {}
        self._reserved: dict[ServableId, int] = {}
        self._ratios: dict[str, float] = {}  # by servable name: measured to estimated
        self._under_way = 0  # loads and unloads that may yet give something back
        self._changed = asyncio.Event()

    @property
    def reserved(self) -> int:
        return sum(self._reserved.values())

    def share(self, servable: ServableId) -> int:
        """Bytes that this version has reserved."""
        return self._reserved.get(servable, 0)

    async def reserve(self, servable: ServableId, estimate: int) -> None:
        """Reserve what the estimate comes to, corrected by what earlier versions of this servable took, in bytes.

        Waits while loads or unloads are under way. Raises ServingError (RESOURCE_EXHAUSTED) when it can't fit.
        """
        while self.limit and self.reserved + self._size(servable, estimate) > self.limit:
            if not self._under_way:
                raise ServingError(
                    Code.RESOURCE_EXHAUSTED,
                    f"Insufficient resources to load servable {servable}: it needs some {self._size(servable, estimate)} "
                    f"bytes, and of --total_model_memory_limit_bytes={self.limit} {self.reserved} are taken",
                )
            self._changed.clear()
            await self._changed.wait()  # which wakes all that wait, in the order they came
        self._estimates[servable] = estimate
        self._reserved[servable] = self._size(servable, estimate)
        self._under_way += 1

    def _size(self, servable: ServableId, estimate: int) -> int:
        return int(estimate * self._ratios.get(servable.name, 1.0))

    def loaded(self, servable: ServableId, measured: int | None) -> None:
        """Its load has gone well; `measured`: bytes that it took, None where that can't be told."""
        estimate = self._estimates[servable]
        if measured is not None and estimate:
            ratio = min(max(measured / estimate, _LEAST_RATIO), _MOST_RATIO)
            self._ratios[servable.name] = ratio
            self._reserved[servable] = int(estimate * ratio)
        self._settle()

    def unloading(self) -> None:
        """What an unload that begins has will come back."""
        self._under_way += 1

    def free(self, servable: ServableId) -> None:
        """Its load has failed, or its unload ended."""
        self._estimates.pop(servable, None)
        self._reserved.pop(servable, None)
        self._settle()

    def _settle(self) -> None:
        self._under_way -= 1
        self._changed.set()

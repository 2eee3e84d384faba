"""Loaders of versions that do what a test says, when it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ringserve.errors import Code, ServingError

BAD = ServingError(Code.INVALID_ARGUMENT, "no model in there")


class FakeLoader:
    """Implements `manager.version_loader.VersionLoader`.

    Each call takes `turns` of the event loop, then waits at its gate, which is open unless a test closes it. `calls` has
    those of load, quiesce and unload, in order. Two loaders of one `what` load the same thing.
    """

    def __init__(
        self,
        load_errors: Iterable[Exception | None] = (),
        load_error: Exception | None = None,
        unload_error: Exception | None = None,
        estimate_error: Exception | None = None,
        size: int = 0,
        measured: int | None = None,
        what: object = None,
        turns: int = 0,
    ) -> None:
        """`load_errors`: what the first loads raise, each once; `load_error`: what all the others do."""
        self.calls: list[str] = []
        self.turns = turns
        self.size = size
        self.what = what
        self.load_error = load_error
        self.unload_error = unload_error
        self.estimate_error = estimate_error
        self.measured = measured
        self.files_changed = False  # what the next `changed` says
        self.looks = 0  # how often `changed` was called
        self.discards = 0
        self.gates: dict[str, asyncio.Event] = {}
        self._load_errors = iter(load_errors)

    def hold(self, call: str) -> asyncio.Event:
        """Let `call` wait until the event that is returned is set."""
        gate = self.gates[call] = asyncio.Event()
        return gate

    async def _pass(self, call: str) -> None:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if call in self.gates:
            await self.gates[call].wait()

    async def _do(self, call: str) -> None:
        self.calls.append(call)
        await self._pass(call)

    async def estimate(self) -> int:
        await self._pass("estimate")
        if self.estimate_error:
            raise self.estimate_error
        return self.size

    async def load(self) -> int | None:
        await self._do("load")
        if error := next(self._load_errors, self.load_error):
            raise error
        return self.measured

    async def quiesce(self) -> None:
        await self._do("quiesce")

    async def unload(self) -> None:
        await self._do("unload")
        if self.unload_error:
            raise self.unload_error

    async def changed(self) -> bool:
        self.looks += 1
        await self._pass("changed")
        changed, self.files_changed = self.files_changed, False
        return changed

    async def discard(self) -> None:
        self.discards += 1
        await self._pass("discard")

    def same(self, other: Any) -> bool:
        return isinstance(other, FakeLoader) and other.what == self.what


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn: far more turns than any chain here needs."""
    for _ in range(60):
        await asyncio.sleep(0)

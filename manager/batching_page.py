"""What front ends show of batching on their status page: JSON, made anew once a second at most."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from ringserve.channel import Message

_SECONDS: Final = 1.0


class BatchingPage:
    """Whoever asks while it is being made gets what comes of that: workers are asked once, however many look."""

    def __init__(
        self, explain: Callable[[], Awaitable[Mapping[str, Message]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`explain` returns the explanation of each model by its name (`manager.explanation`)."""
        self._explain = explain
        self._clock = clock
        self._made: asyncio.Task[str] | None = None
        self._due = math.inf

    async def text(self) -> str:
        if self._made is None or (self._made.done() and self._clock() >= self._due):
            self._made = asyncio.get_running_loop().create_task(self._make())
        return await asyncio.shield(self._made)  # one that gives up does not take it from the others

    async def _make(self) -> str:
        try:
            return json.dumps(await self._explain())
        finally:
            self._due = self._clock() + _SECONDS

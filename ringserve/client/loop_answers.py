"""Answers that come in other threads, brought to an event loop: all that have come by its next turn with one wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from ringserve.errors import ServingError


class LoopAnswers:
    """Of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._come: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._is_woken = False

    def put(self, waiting: asyncio.Future[Any], outcome: Any) -> None:
        """In any thread. A ServingError is a failure. Where the loop has been closed nobody waits."""
        self._come.append((waiting, outcome))
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._is_woken = False  # first: what comes from now on wakes again, though it may be handed over now
        for _ in range(len(self._come)):
            waiting, outcome = self._come.popleft()
            if waiting.done():  # cancelled meanwhile
                continue
            if isinstance(outcome, ServingError):
                waiting.set_exception(outcome)
            else:
                waiting.set_result(outcome)

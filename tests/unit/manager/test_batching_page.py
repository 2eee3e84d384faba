"""What front ends get for their status page: made once a second at most, and once for all who ask meanwhile."""

from __future__ import annotations

import asyncio
import json

import pytest
from fake_loader import settle
from stage import run

from manager.batching_page import BatchingPage
from ringserve.channel import Message


class Explained:
    """Counts how often it is asked; waits while its gate is closed."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 100.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.page = BatchingPage(self.explain, lambda: self.now)

    async def explain(self) -> dict[str, Message]:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.error:
            raise self.error
        return {"m": {"number": number}}

    async def number(self) -> int:
        found: int = json.loads(await self.page.text())["m"]["number"]
        return found


def test_it_is_made_once_a_second_at_most() -> None:
    async def work() -> None:
        explained = Explained()
        assert await explained.number() == 1
        explained.now += 0.9
        assert await explained.number() == 1
        explained.now += 0.2
        assert await explained.number() == 2

    run(work())


def test_all_who_ask_meanwhile_get_the_same() -> None:
    async def work() -> None:
        explained = Explained()
        explained.gate.clear()
        asking = [asyncio.ensure_future(explained.number()) for _ in range(3)]
        await settle()
        explained.now += 10
        asking.append(asyncio.ensure_future(explained.number()))
        asking[0].cancel()
        await settle()
        assert not any(task.done() for task in asking[1:])
        explained.gate.set()
        assert await asyncio.gather(*asking[1:]) == [1, 1, 1]
        assert explained.asked == 1

    run(work())


def test_what_failed_is_tried_again_a_second_later() -> None:
    async def work() -> None:
        explained = Explained()
        explained.error = OSError("no figures")
        for _ in range(2):
            with pytest.raises(OSError, match="no figures"):
                await explained.page.text()
        assert explained.asked == 1
        explained.now += 1.1
        explained.error = None
        assert await explained.number() == 2

    run(work())

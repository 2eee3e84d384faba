"""Connections, lanes and versions under requests, pieces, answers, errors, time-outs and departures in any order.

What becomes of a request is decided when the worker completes it or its time is up; its client must read just that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from any_order import AnyOrder
from any_order_steps import Answer, Expire, Leave, Open, Send, Step, Turns, any_step
from front_end_stage import stage, until
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from rest_stage import served

from ringserve.options import ServerOptions

SECONDS = 20
HOUR = ServerOptions(rest_api_timeout_in_ms=3_600_000)


class Complaints(logging.Handler):
    """What is logged, and what the event loop is left with."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.getMessage()} {record.exc_info}")

    def hear(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.texts.append(str(context))


@asynccontextmanager
async def working(world: AnyOrder) -> AsyncIterator[None]:
    """The worker answers whatever comes."""

    async def work() -> None:
        while True:
            world.answer(1 << 30)
            await asyncio.sleep(0)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def play(steps: Sequence[Step], stop: bool) -> None:
    """`stop`: the server ends right after these steps, else when everybody has been answered."""
    before = asyncio.all_tasks()
    async with stage() as on, AsyncExitStack() as server:
        world = AnyOrder(on, await server.enter_async_context(served(on, HOUR)), await on.serve())
        await world.begin()
        for step in steps:
            await world.take(step)
        await world.open()
        async with working(world):
            if not stop:
                for client in world.clients:
                    client.push()
                    await world.check(client, whole=True)
            await server.aclose()
            for client in world.left if not stop else [*world.left, *world.clients]:
                await world.check(client, whole=False)
            await until(lambda: on.front_end.idle)
            await world.retire()
        for client in [*world.left, *world.clients]:
            await client.close()
        await until(lambda: asyncio.all_tasks() == before)


def run(steps: Sequence[Step], stop: bool, fast: bool) -> None:
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if fast else None) as runner:
            runner.get_loop().set_exception_handler(complaints.hear)
            runner.run(asyncio.wait_for(play(steps, stop), SECONDS))
    finally:
        logging.getLogger().removeHandler(complaints)
    assert not complaints.texts


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_every_request_gets_its_own_answer(fast: bool, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fast`: on the loop that servers have; `at_once`: answers are compressed within the loop's turn, or in a thread."""
    monkeypatch.setattr("frontend.rest.compression.SMALLEST", 1)
    monkeypatch.setattr("frontend.rest.connection.MOST_AT_ONCE", 1 << 20 if at_once else 0)
    monkeypatch.setattr("frontend.rest.handler.MOST_AT_ONCE", 1 << 20 if at_once else 0)

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(steps=st.lists(any_step, min_size=5, max_size=60), stop=st.booleans())
    @example(steps=[Open(), Send(0, "plain", 100)], stop=False)
    @example(steps=[Send(0, "plain", 40), Turns(5), Open(), Answer(2, False), Expire(), Turns(5)], stop=True)
    @example(steps=[Open(), Send(1, "plain", 2), Turns(5), Leave(1, True), Answer(1, True)], stop=False)
    @example(steps=[Send(0, "plain", 1), Leave(0, True)], stop=False)  # heard in the turn in which the lane opens
    def in_any_order(steps: list[Step], stop: bool) -> None:
        note(repr(steps))
        run(steps, stop, fast)

    in_any_order()

"""A loop whose turn another thread may take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from frontend.grpc.turns import TurnLoop

LIMIT = 20


def run(main: Callable[[TurnLoop], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurnLoop)
        await asyncio.wait_for(main(loop), LIMIT)

    with asyncio.Runner(loop_factory=TurnLoop) as runner:
        runner.run(within())


def until_done(loop: TurnLoop, callback: Callable[[], None]) -> None:
    """In another thread: as soon as the loop sleeps."""
    loop.adopt()
    give_up = threading.Event()
    timer = threading.Timer(LIMIT, give_up.set)
    timer.start()
    while not loop.try_now(callback):
        assert not give_up.is_set()
    timer.cancel()


def test_a_sleeping_loop_lends_its_turn() -> None:
    async def main(loop: TurnLoop) -> None:
        threads: list[int] = []
        done = asyncio.Event()

        async def task() -> None:
            threads.append(threading.get_ident())
            done.set()

        def callback() -> None:
            threads.append(threading.get_ident())
            asyncio.get_running_loop().create_task(task())  # which wakes the loop

        other = threading.Thread(target=until_done, args=(loop, callback))
        other.start()
        await done.wait()
        other.join()
        assert threads == [other.ident, threading.get_ident()]

    run(main)


def test_nobody_takes_the_turn_of_a_callback_that_runs() -> None:
    async def main(loop: TurnLoop) -> None:
        taken: list[bool] = []
        other = threading.Thread(target=lambda: taken.append(loop.try_now(lambda: None)))
        other.start()
        other.join()  # this coroutine's step has the turn
        assert taken == [False]

    run(main)


def test_a_callback_that_raises_gives_the_turn_back() -> None:
    async def main(loop: TurnLoop) -> None:
        def fail() -> None:
            raise ValueError

        def ask() -> None:
            with pytest.raises(ValueError):
                until_done(loop, fail)

        await asyncio.to_thread(ask)
        await asyncio.to_thread(until_done, loop, lambda: None)

    run(main)


def test_every_way_to_schedule() -> None:
    """Each with the turn, which none of them takes twice."""

    async def main(loop: TurnLoop) -> None:
        came: list[str] = []
        left = asyncio.Event()
        names = ("soon", "later", "now", "at", "safe")

        def note(name: str) -> None:
            assert not loop._turn.acquire(blocking=False)
            came.append(name)
            if len(came) == len(names):
                left.set()

        loop.call_soon(note, "soon")
        loop.call_later(0.01, note, "later")
        loop.call_later(0, note, "now")
        loop.call_at(loop.time() + 0.01, note, "at")
        threading.Thread(target=loop.call_soon_threadsafe, args=(note, "safe")).start()
        await left.wait()
        assert sorted(came) == sorted(names)
        async with asyncio.timeout(LIMIT):
            await asyncio.sleep(0.001)

    run(main)

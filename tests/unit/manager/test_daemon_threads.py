"""Threads for blocking calls: as many as needed, used again, and waited for by nobody."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from typing import Any

import pytest

from manager import daemon_threads
from manager.daemon_threads import DaemonThreads

LIMIT = 10


def test_results_and_errors_come_back() -> None:
    async def run() -> None:
        threads = DaemonThreads("test")
        assert await threads.run(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)

    asyncio.run(run())


def test_a_call_that_hangs_holds_up_no_other_and_threads_are_used_again() -> None:
    back = threading.Event()

    async def run() -> None:
        threads = DaemonThreads("test")
        hung = [threads.run(lambda: back.wait(LIMIT)) for _ in range(5)]
        used = {await threads.run(lambda: threading.current_thread().name) for _ in range(20)}
        assert len(used) <= 2, "one may not be idle again when the next call comes"
        back.set()
        assert await asyncio.gather(*hung) == [True] * 5

    asyncio.run(run())


def test_nobody_waits_for_a_call_that_was_given_up() -> None:
    back, done = threading.Event(), threading.Event()

    def call() -> None:
        back.wait(LIMIT)
        done.set()
        raise ValueError("nobody hears this")

    async def run() -> None:
        work = DaemonThreads("test").run(call)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work, 0.001)

    asyncio.run(run())  # the loop is closed before the call ends
    back.set()
    assert done.wait(LIMIT)
    gc.collect()


def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_threads, "_IDLE_SECONDS", 0.001)

    async def run() -> None:
        threads = DaemonThreads("test")
        for _ in range(50):  # some of these meet a thread that is just about to end
            thread = await asyncio.wait_for(threads.run(threading.current_thread), LIMIT)
            await asyncio.sleep(0.001)
        await asyncio.to_thread(thread.join, LIMIT)
        assert not thread.is_alive()
        assert await asyncio.wait_for(threads.run(lambda: 5), LIMIT) == 5

    asyncio.run(run())


def test_a_thread_that_is_chosen_just_when_it_is_about_to_end_does_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = threading.Event()

    class Late(queue.SimpleQueue[Any]):
        """It has been idle for long enough in the moment when a call comes."""

        def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:
            super().put(item)
            chosen.set()

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if timeout is None:
                return super().get()
            chosen.wait(LIMIT)
            chosen.clear()
            raise queue.Empty

    monkeypatch.setattr(queue, "SimpleQueue", Late)

    async def run() -> None:
        threads = DaemonThreads("test")
        first = await threads.run(threading.current_thread)
        while not threads._idle:
            await asyncio.sleep(0)
        assert await asyncio.wait_for(threads.run(threading.current_thread), LIMIT) is first
        chosen.set()

    asyncio.run(run())

"""A worker's loop, turned by hand or in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from small_version import LIMIT

from shm.doorbell import Doorbell
from workers.loop import Loop


@pytest.fixture(name="loop")
def new_loop() -> Iterator[Loop]:
    bell = Doorbell.create()
    yield Loop(bell)
    bell.close()


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """The loop in a thread of its own, stopped by a command in the end."""
    thread = threading.Thread(target=loop.run)
    thread.start()

    def stop() -> None:
        loop.stopping = True

    try:
        yield
    finally:
        loop.post(stop)
        thread.join(LIMIT)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def turns(loop: Loop) -> int:
    """As the loop does between two rings; says how many had something to do."""
    count = 0
    while loop.turn():
        count += 1
    return count

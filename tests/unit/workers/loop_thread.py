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


class Clock:
    """In the place of the module `time`: it stands still but for `step` ns with each look at it, and when it is set."""

    def __init__(self, step: int = 0) -> None:
        self.now = 10_000_000_000
        self.step = step

    def monotonic_ns(self) -> int:
        self.now += self.step
        return self.now


@pytest.fixture(name="clock")
def new_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the loop and its runs go by."""
    clock = Clock()
    for module in ("loop", "queue", "runner", "slice_runner"):
        monkeypatch.setattr(f"workers.{module}.time", clock)
    return clock


class Nap(Doorbell):
    """Nobody sleeps on it: the loop that tries to is stopped."""

    __slots__ = ("loop", "slept")

    def __init__(self) -> None:
        super().__init__(Doorbell.create().fd)
        self.loop = Loop(self)
        self.slept: list[float | None] = []  # until when, in seconds from then

    def wait(self, timeout: float | None = None) -> bool:
        self.slept.append(timeout)
        self.loop.stopping = True
        return False


@pytest.fixture(name="nap")
def new_nap() -> Iterator[Nap]:
    yield (nap := Nap())
    nap.close()


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

"""Waits of less than a millisecond: never too short, and not rounded up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from shm.readiness import wait_readable

LONG = 30.0  # seconds; never reached when things are right


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """What is read, and what is written to."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def elapsed(fd: int, seconds: float) -> float:
    began = time.monotonic()
    assert not wait_readable(fd, seconds)
    return time.monotonic() - began


@pytest.mark.parametrize("seconds", [0.00002, 0.0005, 0.0013, 0.02])
def test_it_returns_not_before(pipe: tuple[int, int], seconds: float) -> None:
    assert all(elapsed(pipe[0], seconds) >= seconds for _ in range(5))


def test_a_part_of_a_millisecond_is_not_a_whole_one(pipe: tuple[int, int]) -> None:
    assert min(elapsed(pipe[0], 0.0001) for _ in range(200)) < 0.001


@pytest.mark.parametrize("seconds", [0.0, -0.0, -1.0, -1e9])
def test_nothing_is_waited_for(pipe: tuple[int, int], seconds: float) -> None:
    assert not wait_readable(pipe[0], seconds)
    os.write(pipe[1], b"x")
    assert wait_readable(pipe[0], seconds)


def test_what_can_be_read_is_not_waited_for(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")
    assert wait_readable(pipe[0], LONG)
    assert os.read(pipe[0], 9) == b"x", "nor is it read"


def test_what_comes_meanwhile_ends_the_wait(pipe: tuple[int, int]) -> None:
    """From another thread, which the wait lets run."""
    writer = threading.Thread(target=os.write, args=(pipe[1], b"x"))
    writer.start()
    assert wait_readable(pipe[0], LONG)
    writer.join()


def test_a_writer_that_goes_is_something_to_be_read() -> None:
    near, far = os.pipe()
    os.close(far)
    try:
        assert wait_readable(near, LONG)
    finally:
        os.close(near)


def test_a_signal_ends_it(pipe: tuple[int, int]) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        assert not wait_readable(pipe[0], LONG)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(seen) == {signal.SIGALRM}

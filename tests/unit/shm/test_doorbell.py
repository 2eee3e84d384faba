"""Doorbells: no ring is lost, many count as one, and no wait is longer than asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from shm.doorbell import Doorbell

LONG = 30.0  # seconds; never reached when things are right


@pytest.fixture
def bell() -> Iterator[Doorbell]:
    bell = Doorbell.create()
    yield bell
    bell.close()


def test_rung_before_the_wait(bell: Doorbell) -> None:
    bell.ring()
    assert bell.wait()
    bell.ring()
    assert bell.wait(0)


def test_many_rings_count_once(bell: Doorbell) -> None:
    for _ in range(1000):
        bell.ring()
    assert bell.wait(LONG)
    assert not bell.wait(0)


def test_clear_takes_the_rings_off(bell: Doorbell) -> None:
    bell.ring()
    bell.ring()
    bell.clear()
    assert not bell.wait(0)
    bell.ring()
    assert bell.wait(0)


def test_timeout(bell: Doorbell) -> None:
    began = time.monotonic()
    assert not bell.wait(0.05)
    assert 0.05 <= time.monotonic() - began < LONG


@pytest.mark.parametrize("timeout", [None, LONG])
def test_rung_by_another_process(bell: Doorbell, timeout: float | None) -> None:
    """Which starts only after the wait is about to begin, and takes the time that a process takes to start."""
    code = f"import os; os.eventfd_write({bell.fd}, 1)"
    with subprocess.Popen([sys.executable, "-c", code], pass_fds=[bell.fd]) as other:
        assert bell.wait(timeout)
    assert other.returncode == 0


def test_closing_twice_is_harmless() -> None:
    bell = Doorbell.create()
    bell.close()
    bell.close()


def test_it_does_not_reach_other_programs(bell: Doorbell) -> None:
    assert not os.get_inheritable(bell.fd)


def test_a_signal_ends_the_wait_and_breaks_nothing(bell: Doorbell) -> None:
    """A process that sleeps on its doorbell must get to see that it was asked to end."""
    seen: list[int] = []
    woken = threading.Event()

    def interrupt() -> None:
        while not woken.wait(0.01):
            signal.pthread_kill(waiting, signal.SIGUSR1)

    waiting = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        assert not bell.wait()
        assert seen
    finally:
        woken.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    bell.ring()
    assert bell.wait(LONG)

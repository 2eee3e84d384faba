"""Bells: rings come through, never block, and the other side's end is heard."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from shm.bell import Bell

LIMIT = 10.0

Pair = tuple[Bell, Bell]


@pytest.fixture(name="pair")
def new_pair() -> Iterator[Pair]:
    near, far = Bell.pair()
    yield near, far
    near.close()
    far.close()


def test_a_ring_is_heard_once(pair: Pair) -> None:
    near, far = pair
    assert not far.wait(0)
    near.ring()
    near.ring()
    assert far.wait(LIMIT)
    assert far.clear()
    assert not far.wait(0)
    assert far.clear(), "nothing to take off is no end"


def test_both_ends_ring_and_hear(pair: Pair) -> None:
    near, far = pair
    near.ring()
    far.ring()
    assert near.wait(LIMIT) and near.clear()
    assert far.wait(LIMIT) and far.clear()


def test_who_waits_is_woken(pair: Pair) -> None:
    near, far = pair
    heard: list[bool] = []
    thread = threading.Thread(target=lambda: heard.append(far.wait(LIMIT)))
    thread.start()
    near.ring()
    thread.join(LIMIT)
    assert heard == [True]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 0.02, 1.25])
def test_a_wait_ends_in_time(pair: Pair, seconds: float) -> None:
    _, far = pair
    began = time.monotonic()
    assert not far.wait(seconds)
    assert max(seconds, 0) * 0.99 <= time.monotonic() - began < LIMIT


def test_waits_with_another_limit_each(pair: Pair) -> None:
    near, far = pair
    for limit in (0.001, None, 0.001, LIMIT, None, LIMIT):
        near.ring()
        assert far.wait(limit)
        assert not far.wait(0.001)


def test_rings_that_nobody_takes_off_never_block(pair: Pair) -> None:
    near, far = pair
    fcntl.fcntl(near.fd, fcntl.F_SETFL, fcntl.fcntl(near.fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    for _ in range(10_000):
        near.ring()
    assert far.wait(0)
    assert far.clear()
    assert not far.wait(0), "what was full is empty at once"
    near.ring()
    assert far.wait(LIMIT)


def test_a_flood_is_taken_off_in_pieces(pair: Pair) -> None:
    near, far = pair
    with socket.socket(fileno=os.dup(far.fd)) as flood:
        flood.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += flood.send(bytes(1 << 16))
    times = 0
    while near.wait(0):
        times += 1
    assert times >= sent / (1 << 16)
    assert near.clear()


def test_the_other_sides_end_is_heard(pair: Pair) -> None:
    near, far = pair
    far.ring()
    far.close()
    assert near.clear(), "the ring before it"
    assert near.wait(LIMIT)
    assert not near.clear()
    near.ring()
    assert not near.clear()


def test_an_end_with_rings_unheard(pair: Pair) -> None:
    near, far = pair
    near.ring()
    far.close()
    assert near.wait(LIMIT)
    assert not near.clear()
    assert not near.clear()


def test_the_others_half_close_is_an_end(pair: Pair) -> None:
    near, far = pair
    with socket.socket(fileno=os.dup(far.fd)) as other:
        other.shutdown(socket.SHUT_WR)
    assert near.wait(LIMIT)
    assert not near.clear()


def test_a_closed_bell_is_quiet(pair: Pair) -> None:
    near, _ = pair
    assert near.fd >= 0
    near.close()
    near.close()
    assert near.fd == -1
    near.ring()
    assert not near.clear()

"""Calls of the client library's as load: a number of futures without a result at any time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from itertools import count
from typing import Any

from bench.http_generator import FLUSH, Tally
from bench.load import PATIENCE
from ringserve.errors import ServingError

#: Request n as a call; and whether its result is right.
Submit = Callable[[int], Future[Any]]
IsRight = Callable[[int, Any], bool]


def run(submit: Submit, is_right: IsRight, outstanding: int, seconds: float, rows: int = 1) -> Tally:
    """Submit for this long, then take the last answers. A call's time goes on until its answer is looked at.

    `rows`: requests that a call stands for.
    """
    tally = Tally()
    samples: list[int] = []
    waiting: deque[tuple[int, int, Future[Any]]] = deque()
    numbers = count()
    began = now = time.monotonic_ns()
    stop = began + int(seconds * 1e9)
    while True:
        while now < stop and len(waiting) < outstanding:
            number = next(numbers)
            waiting.append((number, time.monotonic_ns(), submit(number)))
        if not waiting:
            break
        number, sent, future = waiting.popleft()
        right = _is_right(number, future, is_right)
        now = time.monotonic_ns()
        if right:
            samples.append(now - sent)
        else:
            tally.errors += rows
        if len(samples) >= FLUSH:
            _flush(tally, samples, rows)
    _flush(tally, samples, rows)
    tally.seconds = (now - began) / 1e9
    return tally


def one_by_one(ask: Callable[[int], Any], is_right: IsRight, seconds: float) -> Tally:
    """Call for this long, and once at least. A call's time is its own: answers are looked at afterwards."""
    tally = Tally()
    samples: list[int] = []
    began = now = time.monotonic_ns()
    stop = began + int(seconds * 1e9)
    for number in count():
        sent = time.monotonic_ns()
        try:
            answer = ask(number)
            now = time.monotonic_ns()
            right = is_right(number, answer)
        except (ServingError, KeyError):
            now = time.monotonic_ns()
            right = False
        if right:
            samples.append(now - sent)
        else:
            tally.errors += 1
        if len(samples) >= FLUSH:
            _flush(tally, samples)
        if now >= stop:
            break
    _flush(tally, samples)
    tally.seconds = (now - began) / 1e9
    return tally


def _is_right(number: int, future: Future[Any], is_right: IsRight) -> bool:
    try:
        return is_right(number, future.result(2 * PATIENCE))
    except (ServingError, LateError, KeyError):
        return False


def _flush(tally: Tally, samples: list[int], rows: int = 1) -> None:
    tally.latencies.record(samples)
    tally.requests += len(samples) * rows
    samples.clear()

"""The loops that drive the client library: how many calls there are, and what counts."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

import pytest

from bench.outstanding import one_by_one, run
from ringserve.errors import Code, ServingError


def same(number: int, answer: Any) -> bool:
    return bool(answer["y"] == number)


def settled(outcome: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return future


@pytest.mark.parametrize("rows", [1, 10])
def test_as_many_as_allowed_have_no_result(rows: int) -> None:
    counts: list[int] = []
    waiting: deque[tuple[int, Future[Any]]] = deque()

    class Watched(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            counts.append(len(waiting))
            number, first = waiting.popleft()
            assert first is self
            return {"y": number}

    def submit(number: int) -> Future[Any]:
        waiting.append((number, Watched()))
        return waiting[-1][1]

    tally = run(submit, same, 4, 0.02, rows)
    assert counts[0] == 4
    assert max(counts) == 4
    assert counts[-4:] == [4, 3, 2, 1]
    assert (tally.requests, tally.errors) == (len(counts) * rows, 0)
    assert tally.latencies.total == len(counts)
    assert tally.seconds >= 0.02


@pytest.mark.parametrize("outcome", [{"y": -1}, {"z": 0}, ServingError(Code.UNAVAILABLE, "gone"), TimeoutError()])
def test_what_is_not_right_is_an_error(outcome: Any) -> None:
    tally = run(lambda _: settled(outcome), same, 2, 0.01, 3)
    assert tally.errors >= 6
    assert tally.requests == 0


def test_one_at_a_time() -> None:
    asked: list[int] = []

    def ask(number: int) -> Any:
        asked.append(number)
        if number == 1:
            raise ServingError(Code.UNAVAILABLE, "gone")
        return {"z": 0} if number == 2 else {"y": 7 if number == 3 else number}

    tally = one_by_one(ask, same, 0.02)
    assert asked == list(range(len(asked)))
    assert (tally.requests, tally.errors) == (len(asked) - 3, 3)
    assert tally.latencies.total == tally.requests
    assert one_by_one(lambda number: {"y": number}, same, 0).requests == 1

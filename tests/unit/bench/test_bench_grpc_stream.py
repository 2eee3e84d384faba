"""The streaming topology's loop and its rows, without a server."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from bench.grpc_stream import add_repetition, stream_rows
from bench.grpc_stream_client import run
from bench.load import Load
from ringserve.errors import Code, ServingError

RIGHT = {"y": np.array([2.5, 3.0, 4.5], np.float32)}


def settled(outcome: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    return future


def test_as_many_as_allowed_have_no_result() -> None:
    counts: list[int] = []
    waiting: deque[Future[Any]] = deque()

    class Watched(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            counts.append(len(waiting))
            assert waiting.popleft() is self
            return RIGHT

    def submit() -> Future[Any]:
        waiting.append(Watched())
        return waiting[-1]

    tally = run(submit, 4, 0.02)
    assert counts[0] == 4
    assert max(counts) == 4
    assert counts[-4:] == [4, 3, 2, 1]
    assert (tally.requests, tally.errors) == (len(counts), 0)
    assert tally.latencies.total == len(counts)
    assert tally.seconds >= 0.02


@pytest.mark.parametrize(
    "outcome", [{"y": np.zeros(3, np.float32)}, {"z": RIGHT["y"]}, ServingError(Code.UNAVAILABLE, "gone"), TimeoutError()]
)
def test_what_is_not_right_is_an_error(outcome: Any) -> None:
    tally = run(lambda: settled(outcome), 2, 0.01)
    assert tally.errors >= 2
    assert tally.requests == 0


def test_streams_are_compared_with_calls_of_both_kinds() -> None:
    rows = stream_rows(["32 on a stream"])
    floors = [row.floor_name for row in rows]
    loads = {
        "32 on a stream": Load(6000, 1.0, 4.0, 8.0, 0),
        floors[0]: Load(2000, 1.0, 16.0, 20.0, 0),
        floors[1]: Load(3000, 1.0, 10.0, 20.0, 0),
    }
    add_repetition(rows, loads)
    assert [row.best_ratio for row in rows] == [3.0, 2.0, 0.25]
    assert [row.met(goal) for row in rows for goal in row.goals] == [True]
    with pytest.raises(RuntimeError, match="1 of 32 calls of ready bytes failed"):
        add_repetition(rows, {**loads, floors[1]: Load(3000, 1.0, 10.0, 20.0, 1)})

"""The streaming topology's rows, without a server."""

from __future__ import annotations

import numpy as np
import pytest

from bench.grpc_stream import add_repetition, stream_rows
from bench.grpc_stream_client import is_right
from bench.load import Load


def test_answers_are_compared_bit_by_bit() -> None:
    assert is_right(0, {"y": np.array([2.5, 3.0, 4.5], np.float32)})
    assert not is_right(0, {"y": np.array([2.5, 3.0, 4.5])})
    assert not is_right(0, {"y": np.zeros(3, np.float32)})


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

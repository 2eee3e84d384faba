"""Which answers count as the right ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.answers import Expected, agree

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_is_the_same_agrees(value: Any) -> None:
    assert agree(value, json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ([1.0, 2.0], [1.0, 2.0001], True),
        ([1.0, 2.0], [1.0, 2.001], False),
        ([1e-9, 2.0], [3e-9, 2.0], True),  # beside the largest it is nothing
        ([1e-9], [3e-9], False),
        ([1, 2], [1, 2], True),
        ([30001, 2], [30002, 2], False),  # tokens are no measurements
        ([1.0, 2.0], [1, 2], True),  # how a number is written is all one
        ([1.0], [[1.0]], False),
        ([[1.0], [2.0]], [[1.0], [2.0], [3.0]], False),
        ([[1.0], [2.0, 3.0]], [[1.0], [2.0, 3.00001]], True),
        ([[1.0], [2.0, 3.0]], [[1.0], [2.0, 3.1]], False),
        ([float("nan"), float("inf")], [float("nan"), float("inf")], True),
        ([float("nan"), 1.0], [1.0, 1.0], False),
        ([float("inf")], [float("-inf")], False),
        ([], [], True),
        ([], [1.0], False),
        (["a", "b"], ["a", "b"], True),
        (["a"], ["b"], False),
        (["1"], [1], False),
        ([True], [1], False),
        (True, 1, False),
        (None, 0, False),
        (1.0, 1.00001, True),
        ({"a": 1.0, "b": "x"}, {"b": "x", "a": 1.00001}, True),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, False),
        ({"a": 1.0}, [1.0], False),
        ([{"a": 1.0}, {"a": 2.0}], [{"a": 1.0}, {"a": 2.1}], False),
    ],
)
def test_values(expected: Any, found: Any, same: bool) -> None:
    assert agree(expected, found) is same


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (np.array([1, 2], np.float32), np.array([1, 2.0001], np.float32), True),
        (np.array([1, 2], np.float32), np.array([1, 2], np.float64), False),
        (np.array([1, 2], np.float32), [1.0, 2.0], False),
        (np.array([[1, 2]], np.float32), np.array([1, 2], np.float32), False),
        (np.array([1, 2], np.float16), np.array([1, 2.01], np.float16), True),
        (np.array([1, 2], np.float16), np.array([1, 2.1], np.float16), False),
        (np.array([1j], np.complex64), np.array([1.00001j], np.complex64), True),
        (np.array([1j], np.complex64), np.array([1], np.complex64), False),
        (np.array([1], np.int64), np.array([2], np.int64), False),
        (np.array([b"a"], object), np.array([b"a"], object), True),
        (np.array([b"a"], object), np.array([b"b"], object), False),
        (np.array([], np.float32).reshape(0, 3), np.array([], np.float32).reshape(0, 3), True),
        (np.array([], np.float32).reshape(0, 3), np.array([], np.float32).reshape(0, 4), False),
    ],
)
def test_arrays(expected: Any, found: Any, same: bool) -> None:
    assert agree(expected, found) is same


def test_bodies_are_read_only_where_they_differ_and_once() -> None:
    read: list[bytes] = []

    def decode(body: bytes) -> Any:
        read.append(body)
        return json.loads(body)

    expected = Expected(b"[1.0]", b"[1.0]", decode)
    assert expected.is_right(b"[1.0]", b"[1.0]")
    assert read == []
    for _ in range(3):
        assert expected.is_right(b"[1.00]", b"[1.00]")
    assert read == [b"[1.0]", b"[1.00]"]
    for body in (b"[1.1]", b"[1.0", b"", b"\xff", b"[[[["):
        assert not expected.is_right(body, body)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.floats(1e-3, 1e-2))
def test_a_number_that_is_off_is_seen_wherever_it_is(values: list[float], off: float) -> None:
    largest = max(map(abs, values)) or 1.0
    for place in range(len(values)):
        other = list(values)
        other[place] += largest * off
        assert not agree(values, other)
        other[place] = values[place] + largest * 1e-6
        assert agree(values, other) or not any(values)

"""When two versions' answers count as alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_signatures import spec
from worker_side import numbers

from frontend.same_answers import same_answers
from frontend.tensors import Tensor
from ringserve.tensor import BY_NAME, STRING

NAN, INF = float("nan"), float("inf")
Y = (spec("y"),)


def same(one: Tensor, two: Tensor) -> bool:
    forth, back = (same_answers(Y, [a], Y, [b]) for a, b in ((one, two), (two, one)))
    assert forth == back
    return forth


def texts(*elements: bytes) -> Tensor:
    return Tensor(STRING, (len(elements),), list(elements))


def bfloat16(*values: float) -> Tensor:
    upper = (np.array(values, "<f4").view("<u4") >> np.uint32(16)).astype("<u2")
    return Tensor(BY_NAME["bfloat16"], upper.shape, upper)


@pytest.mark.parametrize("dtype", ["float", "double", "half", "complex64", "complex128"])
def test_floats_may_differ_a_little(dtype: str) -> None:
    assert same(numbers(1, 2, dtype=dtype), numbers(1, 2, dtype=dtype))
    assert same(numbers(NAN, INF, -INF, dtype=dtype), numbers(NAN, INF, -INF, dtype=dtype))
    assert not same(numbers(1, dtype=dtype), numbers(NAN, dtype=dtype))
    assert not same(numbers(INF, dtype=dtype), numbers(-INF, dtype=dtype))
    assert not same(numbers(1, 2, dtype=dtype), numbers(1, 2.1, dtype=dtype))


def test_how_much_is_a_little() -> None:
    assert same(numbers(1000), numbers(1000.09))
    assert not same(numbers(1000), numbers(1000.2))
    assert same(numbers(0), numbers(9e-7))
    assert not same(numbers(0), numbers(2e-6))
    assert same(numbers(60000, dtype="half"), numbers(60000, dtype="float"))
    assert same(numbers(1, dtype="half"), numbers(1.009, dtype="half")), "16 bits, in another order"
    assert not same(numbers(1, dtype="half"), numbers(1.02, dtype="half"))


def test_bfloat16_is_compared_by_value() -> None:
    assert same(bfloat16(1, -2.5, NAN), bfloat16(1, -2.5, NAN))
    assert same(bfloat16(1), bfloat16(1.0078125)), "the next one"
    assert not same(bfloat16(1), bfloat16(1.0234375))
    assert not same(bfloat16(INF), bfloat16(3e38))
    assert same(bfloat16(1.5), numbers(1.5))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint64", "bool"])
def test_all_else_is_equal_or_not(dtype: str) -> None:
    assert same(numbers(0, 1, dtype=dtype), numbers(0, 1, dtype=dtype))
    assert not same(numbers(0, 1, dtype=dtype), numbers(1, 1, dtype=dtype))


def test_classes_that_are_close_are_others() -> None:
    assert not same(numbers(100_000, dtype="int64"), numbers(100_001, dtype="int64"))
    assert same(numbers(5, dtype="int64"), numbers(5, dtype="int32"))


def test_texts() -> None:
    assert same(texts(b"a", b""), texts(b"a", b""))
    assert not same(texts(b"a", b"b"), texts(b"b", b"a"))
    assert not same(texts(b"1"), numbers(1))


@pytest.mark.parametrize(("one", "two"), [([1], [[1]]), ([1, 1], [1]), ([1], []), ([[1, 1]], [[1], [1]])])
def test_shapes(one: Any, two: Any) -> None:
    assert not same(numbers(*one), numbers(*two))
    assert same(numbers(*one), numbers(*one))


def test_outputs_by_name() -> None:
    two = (spec("a"), spec("b"))
    answer = [numbers(1), numbers(2)]
    assert same_answers(two, answer, two, answer)
    assert not same_answers(two, answer, two, answer[::-1])
    assert not same_answers(two, answer, (spec("a"), spec("c")), answer)
    assert not same_answers(two, answer, Y, answer[:1])
    assert not same_answers(two, answer, two, answer[:1]), "a damaged answer"
    assert same_answers((), [], (), [])

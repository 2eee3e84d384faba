"""Is an answer the right one? Most are the same bytes as the first; others are read and compared number by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
A = TypeVar("A")

#: Of the largest number of a tensor: rows of a batch are summed in another order than one alone.
TOLERANCE: Final = 1e-4
_HALF_TOLERANCE: Final = 1e-2  # where numbers have 16 bits
_MOST_KEPT: Final = 64  # different bodies that are remembered as right
_MOST_KEPT_BYTES: Final = 1 << 16  # of each
_PLAIN: Final = (bool, int, float)


class Expected(Generic[A]):
    """What one request is answered with. `A`: an answer as its protocol has it."""

    __slots__ = ("_body", "_decode", "_first", "_right", "_tolerance", "_value")

    def __init__(self, first: A, body: bytes, decode: Callable[[A], Any], tolerance: float = TOLERANCE) -> None:
        """`first`: the right answer, and its bytes; `decode`: what such bytes stand for, to be compared with `agree`."""
        self._first = first
        self._body = body
        self._decode = decode
        self._tolerance = tolerance
        self._right: set[bytes] = set()
        self._value: Any = None  # of the first, once it is needed

    def is_right(self, answer: A, body: bytes) -> bool:
        """`body`: the answer's bytes."""
        return body == self._body or self._agrees(answer, body)

    def _agrees(self, answer: A, body: bytes) -> bool:
        is_small = len(body) <= _MOST_KEPT_BYTES
        if is_small and body in self._right:
            return True
        try:
            if self._value is None:
                self._value = self._decode(self._first)
            right = agree(self._value, self._decode(answer), self._tolerance)
        except Exception:  # whatever the server made of it; where the first can't be read either, only its like are right
            return False
        if right and is_small and len(self._right) < _MOST_KEPT:
            self._right.add(body)
        return right


def agree(expected: Any, found: Any, tolerance: float = TOLERANCE) -> bool:
    """Of arrays, and values as JSON has them: the same but for how numbers were rounded.

    Lists of numbers count as tensors. Whole numbers, texts, shapes and arrays' types are to be the same.
    """
    if isinstance(expected, np.ndarray):
        is_alike = isinstance(found, np.ndarray) and bool(expected.dtype == found.dtype)
        return is_alike and _same_arrays(expected, found, tolerance)
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping) or expected.keys() != found.keys():
            return False
        return all(agree(value, found[name], tolerance) for name, value in expected.items())
    if isinstance(expected, list | tuple):
        return isinstance(found, list | tuple) and _same_lists(expected, found, tolerance)
    if type(expected) in _PLAIN and type(found) in _PLAIN:
        return _same_arrays(np.asarray(expected), np.asarray(found), tolerance)
    return type(expected) is type(found) and bool(expected == found)


def _same_lists(expected: Sequence[Any], found: Sequence[Any], tolerance: float) -> bool:
    if len(expected) != len(found):
        return False
    left = _numbers(expected)
    if left is not None:
        right = _numbers(found)
        return right is not None and _same_arrays(left, right, tolerance)
    return all(agree(one, other, tolerance) for one, other in zip(expected, found, strict=True))


def _numbers(values: Sequence[Any]) -> Array | None:
    """A rectangular list of lists of numbers; None: it is something else."""
    first: Any = values
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if type(first) not in _PLAIN:
        return None
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def _same_arrays(expected: Array, found: Array, tolerance: float) -> bool:
    if expected.shape != found.shape:
        return False
    if expected.dtype == np.object_:
        return bool(expected.tolist() == found.tolist())
    kinds = {expected.dtype.kind, found.dtype.kind}
    if not kinds & set("fcV"):  # V: what numpy itself does not know, bfloat16
        return ("b" in kinds) <= (len(kinds) == 1) and bool(np.array_equal(expected, found))
    if "b" in kinds or not expected.size:
        return "b" not in kinds
    if expected.dtype.itemsize <= 2:
        tolerance = max(tolerance, _HALF_TOLERANCE)
    expected, found = (_wide(each) for each in (expected, found))
    finite = np.isfinite(expected)
    largest = float(np.abs(expected[finite]).max()) if finite.any() else 0.0
    return bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance * largest, equal_nan=True))


def _wide(array: Array) -> Array:
    return array if array.dtype.kind == "c" else array.astype(np.float64)

"""Requests of any types and shapes in one queue: each gets the answer that it would get alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_rig import LONG, NOW, Front, Rig
from small_version import Array, ArrayVersion

from ringserve.tensor import BY_NAME, STRING
from shm.packed import PackedTensor
from workers.limits import Limits
from workers.packed_arrays import packed, unpacked

DTYPES = [BY_NAME[name] for name in ("float", "double", "int32", "half", "string")]
SHAPES = [(1,), (2,), (3,), (1, 2), (2, 2), (2, 3), (1, 2, 2), (0,), (0, 2), (2, 0), ()]


@dataclass(frozen=True)
class Sent:
    """`in_columns`: where it is of the columns' form."""

    dtype: str
    shape: tuple[int, ...]
    first: int
    in_columns: bool
    deadline: int

    @property
    def array(self) -> Array:
        numbers = np.arange(self.first, self.first + int(np.prod(self.shape, dtype=int)))
        if self.dtype != STRING.name:
            made: Array = numbers.astype(BY_NAME[self.dtype].numpy)
        else:
            made = np.empty(len(numbers), object)
            made[:] = [b"%d!" % number for number in numbers]
        return made.reshape(self.shape)

    def to(self, front: Front) -> int:
        if self.in_columns and self.dtype == "float" and len(self.shape) == 1 and self.shape[0]:
            return front.submit(*self.array.tolist(), deadline=self.deadline)
        tensor: PackedTensor = packed(BY_NAME[self.dtype], self.array)
        return front.producer.submit_packed(0, len(self.array) if self.shape else 1, [tensor], NOW, self.deadline)


SENT = st.builds(
    Sent,
    dtype=st.sampled_from([dtype.name for dtype in DTYPES]),
    shape=st.sampled_from(SHAPES),
    first=st.integers(0, 99),
    in_columns=st.booleans(),
    deadline=st.sampled_from([0, NOW + 5, NOW + 9]),
)


def answer(front: Front, number: int) -> Array:
    status, is_packed = front.producer.verdict(number)
    assert not status, front.answer(number)
    if is_packed:
        (tensor,) = front.producer.answer_packed(number)
        return unpacked(tensor)
    rows = front.producer.answer_rows(number)
    assert rows is not None
    return rows[0]


def twice(x: Array) -> Array:
    """Of a number its double, of a text itself twice."""
    return np.asarray(x + x, dtype=x.dtype)


@settings(deadline=None)
@given(
    st.lists(st.lists(SENT, max_size=9), max_size=4),
    st.builds(
        Limits,
        most_rows=st.integers(1, 7),
        most_bytes=st.sampled_from([0, 0, 64]),
        sizes=st.sampled_from([(), (4, 8)]),
        pad=st.booleans(),
        by_deadline=st.booleans(),
    ),
    st.booleans(),
)
def test_as_if_it_were_alone(bursts: list[list[Sent]], limits: Limits, slow: bool) -> None:
    """Where shapes are filled up, what was there before is where it was, and around it is its own first element."""
    with Rig(ArrayVersion(twice), limits=limits, seconds=LONG if slow else 1e-5) as rig:
        for burst in bursts:
            asked = [sent.to(rig.front) for sent in burst]
            rig.work()
            for sent, number in zip(burst, asked, strict=True):
                found, expected = answer(rig.front, number), twice(sent.array)
                assert found.dtype == expected.dtype
                if not limits.pad:
                    assert found.shape == expected.shape
                inside = tuple(slice(size) for size in expected.shape)
                assert np.array_equal(found[inside], expected)
                around = np.ones(found.shape, dtype=bool)
                around[inside] = False
                assert not around.any() or set(found[around].tolist()) == {expected.flat[0]}
            rig.front.producer.release(rig.front.producer.submitted)


@settings(deadline=None)
@given(st.lists(SENT.filter(lambda sent: sent.shape), max_size=9), st.integers(1, 4), st.booleans())
def test_in_parts_as_if_it_were_alone(burst: list[Sent], most_rows: int, slow: bool) -> None:
    limits = Limits(most_rows, most_request_rows=9, split=True, by_parameters=True)
    with Rig(ArrayVersion(twice), limits=limits, seconds=LONG if slow else 1e-5) as rig:
        asked = [sent.to(rig.front) for sent in burst]
        rig.work()
        for sent, number in zip(burst, asked, strict=True):
            found, expected = answer(rig.front, number), twice(sent.array)
            assert (found.dtype, found.shape, found.tolist()) == (expected.dtype, expected.shape, expected.tolist())

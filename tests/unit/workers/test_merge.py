"""Requests' tensors as one batch and back, of every type, filled up and put together, against plain numpy."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from small_version import Array

from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, DTYPES, STRING, DType
from shm.packed import PackedTensor, pack_strings
from workers.limits import Limits
from workers.merge import (
    as_array,
    batch_rows,
    check_batchable,
    have_rows,
    merge_key,
    merged,
    put_together,
    rows_of,
)
from workers.packed_arrays import packed

FLOAT, DOUBLE = BY_NAME["float"], BY_NAME["double"]
STORED = [dtype for dtype in DTYPES.values() if dtype.numpy or dtype == STRING]
JOINING = Limits(8, by_parameters=True)
PADDING = Limits(8, by_parameters=True, pad=True)

rows_and_inner = st.tuples(
    st.lists(st.integers(1, 4), min_size=1, max_size=4), npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
)


def zeros(*shapes: tuple[int, ...], dtype: DType = FLOAT) -> list[PackedTensor]:
    """A request's inputs."""
    return [packed(dtype, np.zeros(shape, dtype.numpy)) for shape in shapes]


def numbered(dtype: DType, shape: tuple[int, ...], first: int = 1) -> Array:
    """An array whose elements differ, as far as the type has so many."""
    count = prod(shape)
    made: Array = np.empty(count, dtype=object)
    if dtype == STRING:
        made[:] = [b"%d \0 more" % number for number in range(first, first + count)]
        return made.reshape(shape)
    bits = np.arange(first, first + count, dtype="<u8") & (1 if dtype.name == "bool" else 0x7F)
    return bits.astype(np.dtype(dtype.numpy)).reshape(shape)


def same(left: Array, right: Array) -> bool:
    return left.shape == right.shape and left.dtype == right.dtype and left.tolist() == right.tolist()


# As upstream's tests of its batching have it.


def test_the_largest_of_every_dimension() -> None:
    for shapes, largest in ((((10, 20, 30), (20, 50, 15)), (30, 50, 30)), (((10, 100), (20, 101)), (30, 101))):
        parts = [numbered(FLOAT, shape) for shape in shapes]
        assert merged(parts, FLOAT.number, pad=True).shape == largest


@pytest.mark.parametrize("dtype", STORED, ids=lambda dtype: dtype.name)
def test_what_is_missing_is_the_tensors_own_first_element(dtype: DType) -> None:
    small, large = numbered(dtype, (10, 20, 30), 3), numbered(dtype, (1, 100, 200))
    tensor = merged([small, large], dtype.number, pad=True)
    assert (tensor.dtype, tensor.shape) == (dtype.number, (11, 100, 200))
    array = as_array(tensor)
    assert same(array[:10, :20, :30], small)
    assert same(array[10:], large)
    around = np.ones((100, 200), dtype=bool)
    around[:20, :30] = False
    assert set(array[:10, around].reshape(-1).tolist()) == {small.flat[0]}


@pytest.mark.parametrize("rank", range(1, 9))
def test_upstream_pads_up_to_six_dimensions(rank: int) -> None:
    tensors = zeros((2,) * rank)
    check_batchable(tensors, JOINING)
    if rank <= 6:
        check_batchable(tensors, PADDING)
    else:
        with pytest.raises(ServingError) as caught:
            check_batchable(tensors, PADDING)
        assert caught.value.message == "Only tensors with rank from 1 to 6 can be padded."


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ([], "Batching Run() must have at least one input tensor"),
        (zeros((2,), ()), "Batching Run() input tensors must have at least one dimension"),
        (zeros((), (2,), (3,)), "Batching Run() input tensors must have at least one dimension"),
        (zeros((2,), (3,), ()), "Batching Run() input tensors must have equal 0th-dimension size"),
        (zeros((4, 9), (4,)), "Task size 4 is larger than maximum input batch size 3"),
    ],
)
def test_what_upstream_refuses_is_refused_in_its_words(tensors: list[PackedTensor], text: str) -> None:
    with pytest.raises(ServingError) as caught:
        check_batchable(tensors, Limits(3, most_request_rows=3, by_parameters=True))
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, text)


# What can be merged.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (zeros((1, 2)), zeros((1, 2), dtype=DOUBLE)),
        (zeros((1, 2)), zeros((1, 2, 1))),
        (zeros((1, 2)), zeros((1, 2), (1,))),
        (zeros((1,), (1, 2)), zeros((1, 2), (1,))),
    ],
)
@pytest.mark.parametrize("limits", [JOINING, PADDING], ids=["joining", "padding"])
def test_what_is_never_merged(one: list[PackedTensor], other: list[PackedTensor], limits: Limits) -> None:
    """Of other types, other ranks, or other inputs."""
    assert None not in (merge_key(one, limits), merge_key(other, limits))
    assert merge_key(one, limits) != merge_key(other, limits)


def test_other_shapes_are_merged_where_they_are_padded() -> None:
    one, other = zeros((1, 2, 3), (1,)), zeros((5, 3, 2), (5,))
    assert merge_key(one, JOINING) != merge_key(other, JOINING)
    assert merge_key(one, PADDING) == merge_key(other, PADDING)


@pytest.mark.parametrize("limits", [JOINING, PADDING], ids=["joining", "padding"])
@pytest.mark.parametrize(
    "tensors", [[], zeros(()), zeros((1,), ()), zeros((1,), (2,)), zeros((0, 2)), zeros((2, 0)), zeros((2,), (2, 3, 0))]
)
def test_what_shares_no_batch(tensors: list[PackedTensor], limits: Limits) -> None:
    """Nothing, scalars, inputs of different numbers of rows, none at all, and what has no first element to pad with."""
    assert merge_key(tensors, limits) is None


def test_nothing_is_merged_where_requests_are_not_joined() -> None:
    for limits in (Limits(), Limits(8, joinable=False), Limits(8, joinable=False, by_parameters=True)):
        assert merge_key(zeros((1, 2)), limits) is None


@pytest.mark.parametrize(
    ("tensors", "rows"),
    [([], None), (zeros(()), None), (zeros((2,), (3,)), None), (zeros((2,), (2, 9)), 2), (zeros((0,)), 0)],
)
def test_rows_of_a_request(tensors: list[PackedTensor], rows: int | None) -> None:
    assert batch_rows(tensors) == rows


@st.composite
def alike(draw: st.DrawFn) -> list[list[PackedTensor]]:
    """Two requests whose inputs have the same types and ranks, and often the same shapes."""
    kinds = draw(st.lists(st.tuples(st.sampled_from([FLOAT, STRING]), st.integers(0, 2)), min_size=1, max_size=3))
    requests = []
    for rows in draw(st.tuples(st.integers(1, 3), st.integers(1, 3))):
        inner = [draw(st.tuples(*[st.sampled_from([2, 2, 2, 1, 3])] * rank)) for _, rank in kinds]
        shapes = [(rows, *dims) for dims in inner]
        requests.append([packed(dtype, numbered(dtype, shape)) for (dtype, _), shape in zip(kinds, shapes, strict=True)])
    return requests


@given(alike(), st.booleans())
def test_requests_with_equal_keys_can_be_merged(requests: list[list[PackedTensor]], pad: bool) -> None:
    """And only those: of others a shape differs."""
    keys = [merge_key(tensors, PADDING if pad else JOINING) for tensors in requests]
    if keys[0] != keys[1]:
        assert not pad
        assert any(left.shape[1:] != right.shape[1:] for left, right in zip(*requests, strict=True))
        return
    for left, right in zip(*requests, strict=True):
        parts = [as_array(left), as_array(right)]
        whole = as_array(merged(parts, left.dtype, pad=pad))
        for array, part in zip((whole[: len(parts[0])], whole[len(parts[0]) :]), parts, strict=True):
            assert same(array[tuple(slice(size) for size in part.shape)], part)
            assert pad or array.shape == part.shape


# To one batch and back.


@given(st.sampled_from(STORED), rows_and_inner, st.integers(0, 3), st.data())
def test_every_request_gets_its_rows_back(
    dtype: DType, sizes: tuple[list[int], tuple[int, ...]], more: int, data: st.DataObject
) -> None:
    """Whatever fills the batch up is the first row of the last request's, and comes after all others."""
    rows, inner = sizes
    parts = [numbered(dtype, (count, *inner), data.draw(st.integers(0, 99))) for count in rows]
    tensor = merged(parts, dtype.number, more)
    assert (tensor.dtype, tensor.shape) == (dtype.number, (sum(rows) + more, *inner))
    at = 0
    for part in parts:
        own = rows_of(tensor, at, len(part))
        assert (own.dtype, own.shape) == (dtype.number, part.shape)
        assert same(as_array(own), part)
        at += len(part)
    assert same(as_array(rows_of(tensor, at, more)), np.repeat(parts[-1][:1], more, axis=0))


@given(st.sampled_from(STORED), st.integers(0, 9), st.sampled_from([(), (2,), (0, 2), (2, 0)]), st.data())
def test_an_output_in_parts_is_put_together(dtype: DType, rows: int, inner: tuple[int, ...], data: st.DataObject) -> None:
    whole = packed(dtype, numbered(dtype, (rows, *inner)))
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, rows), max_size=4))), rows]
    parts = [rows_of(whole, first, end - first) for first, end in pairwise(cuts)]
    again = put_together(parts)
    assert again is not None
    assert (again.dtype, again.shape, bytes(again.data)) == (whole.dtype, whole.shape, bytes(whole.data))


def test_parts_of_different_shapes_are_not_put_together() -> None:
    (one,), (wider,), (other,) = zeros((1, 2)), zeros((1, 3)), zeros((1, 2), dtype=DOUBLE)
    assert put_together([one, wider]) is None
    assert put_together([one, other]) is None


def test_a_batch_begins_where_no_copy_is_needed() -> None:
    for count in range(1, 40):
        data = merged([numbered(DOUBLE, (count,)), numbered(DOUBLE, (1,))], DOUBLE.number).data
        assert np.frombuffer(data, np.uint8).__array_interface__["data"][0] % 64 == 0


def test_rows_are_no_copies_but_of_strings() -> None:
    tensor = merged([numbered(FLOAT, (3, 2))], FLOAT.number)
    whole, own = np.frombuffer(tensor.data, "<f4"), np.frombuffer(rows_of(tensor, 1, 2).data, "<f4")
    assert np.shares_memory(whole, own)


@pytest.mark.parametrize(
    ("outputs", "rows", "expected"),
    [
        (zeros((2, 3), (2,)), 2, True),
        (zeros((2, 3), (3,)), 2, False),
        (zeros((2, 3), ()), 2, False),
        (zeros((0,)), 0, True),
        ([], 2, True),
    ],
)
def test_outputs_that_are_the_batchs_rows(outputs: list[PackedTensor], rows: int, expected: bool) -> None:
    assert have_rows(outputs, rows) is expected


@pytest.mark.parametrize(
    "tensor",
    [
        PackedTensor(FLOAT.number, (2,), bytes(7)),
        PackedTensor(FLOAT.number, (3,), bytes(8)),
        PackedTensor(STRING.number, (2,), bytes(8)),
        PackedTensor(STRING.number, (2,), pack_strings([b"a", b"bc"])[:-1]),
        PackedTensor(BY_NAME["resource"].number, (1,), bytes(4)),
        PackedTensor(99, (1,), bytes(4)),
    ],
)
def test_bytes_that_are_no_tensor(tensor: PackedTensor) -> None:
    with pytest.raises(ServingError) as caught:
        as_array(tensor)
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(f"{len(tensor.data)} bytes do not make a ")

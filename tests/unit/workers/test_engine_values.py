"""Every value of every type through the TensorFlow engine, compared bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tf_runs import Array, address_of, aligned, array_of, make_engine, numbers, run, strings, texts_of

from ringserve.signature import DEFAULT_SIGNATURE
from ringserve.tensor import BY_NAME
from shm.layout import Column
from shm.packed import PackedTensor
from workers.engine import Form, LoadedVersion

# The `identity` model has a signature for each of these.
NUMERIC = (
    "half", "bfloat16", "float", "double", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128",
)  # fmt: skip

SIZES = [0, 1, 21, 22, 23, 24, 63, 64, 1000]  # a TF_TString holds up to 22 bytes itself
TEXTS = [bytes([65 + index]) * size for index, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def identity(models: Path) -> Iterator[LoadedVersion]:
    version = make_engine().load(str(models / "identity" / "1"))
    yield version
    version.unload()


@pytest.fixture(scope="module")
def text(models: Path) -> Iterator[LoadedVersion]:
    version = make_engine().load(str(models / "text" / "1"))
    yield version
    version.unload()


def values(dtype: str) -> Array:
    """Rows of two of every kind of value: of 16-bit types all there are, of others the edges and any bits."""
    storage = np.dtype(BY_NAME[dtype].numpy)
    if dtype == "bool":
        return np.array([[True, False], [False, True], [True, True]])
    if storage.itemsize <= 2:
        return np.arange(1 << 8 * storage.itemsize, dtype=f"<u{storage.itemsize}").view(storage).reshape(-1, 2)
    anything = np.frombuffer(np.random.default_rng(7).bytes(64 * storage.itemsize), dtype=storage)
    return np.concatenate([np.array(_edges(storage), dtype=storage), anything]).reshape(-1, 2)


def _edges(storage: np.dtype[Any]) -> list[Any]:
    if storage.kind in "iu":
        limits = np.iinfo(storage)
        return [0, 1, limits.max, limits.min]
    part = np.finfo(storage)
    floats = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), part.max, part.tiny, part.smallest_subnormal]
    return floats if storage.kind == "f" else [complex(real, 1.5) for real in floats]


def form_of(dtype: str) -> Form:
    column = (BY_NAME[dtype].number, Column(BY_NAME[dtype].numpy, (2,)))
    return Form((column,), (column,))


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("dtype", NUMERIC)
def test_packed_numbers_come_back_bit_by_bit(identity: LoadedVersion, dtype: str, inline: bool) -> None:
    given = values(dtype)
    answer = run(identity, numbers(given, dtype), signature=dtype, inline=inline)[0]
    assert (answer.dtype, answer.shape) == (BY_NAME[dtype].number, given.shape)
    assert answer.data == given.tobytes()


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("dtype", NUMERIC)
def test_rows_of_numbers_come_back_bit_by_bit(identity: LoadedVersion, dtype: str, inline: bool) -> None:
    """To two targets, as of two front ends."""
    given = values(dtype)
    row, count = given[0].nbytes, len(given)
    source, target = aligned(given.nbytes), aligned(given.nbytes + row)
    source[:] = given.reshape(-1).view(np.uint8)
    first = address_of(target)
    targets = [(1, [first]), (count - 1, [first + 2 * row])]  # a row between them stays as it was
    function = identity.row_function(dtype, form_of(dtype), inline)
    assert function.run(count, [address_of(source)], targets)
    assert target[:row].tobytes() + target[2 * row :].tobytes() == given.tobytes()
    assert not target[row : 2 * row].any()


@pytest.mark.parametrize("inline", [True, False])
def test_rows_that_only_fill_the_batch_up_are_written_nowhere(identity: LoadedVersion, inline: bool) -> None:
    given = values("float")
    row, count = given[0].nbytes, len(given)
    source, target = aligned(given.nbytes), aligned(given.nbytes)
    source[:] = given.reshape(-1).view(np.uint8)
    function = identity.row_function("float", form_of("float"), inline)
    assert function.run(count, [address_of(source)], [(count - 2, [address_of(target)])])
    assert target[: -2 * row].tobytes() == given[:-2].tobytes()
    assert not target[-2 * row :].any()


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize("shape", [(0, 2), (0,), (2, 0, 3), (), (1, 1, 1, 1, 1)])
def test_shapes_of_any_kind(identity: LoadedVersion, dtype: str, shape: tuple[int, ...]) -> None:
    given = np.resize(values(dtype)[0], shape)
    answer = run(identity, numbers(given, dtype), signature=dtype)[0]
    assert (answer.shape, bytes(answer.data)) == (shape, given.tobytes())


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 8, 16, 20, 32, 63])
def test_memory_that_is_not_aligned(identity: LoadedVersion, offset: int) -> None:
    """TensorFlow takes memory in place from a multiple of 64 on, and copies any other: the values are the same."""
    given = values("float")
    source, target = aligned(given.nbytes, offset), aligned(given.nbytes, offset)
    source[:] = given.reshape(-1).view(np.uint8)
    function = identity.row_function("float", form_of("float"), True)
    assert function.run(len(given), [address_of(source)], [(len(given), [address_of(target)])])
    assert target.tobytes() == given.tobytes()
    answer = run(identity, PackedTensor(1, given.shape, source.data), signature="float")[0]
    assert answer.data == given.tobytes()


def test_one_function_for_any_number_of_rows(identity: LoadedVersion) -> None:
    function = identity.row_function("int32", form_of("int32"), True)
    for rows in (1, 7, 1, 300, 2):
        source, target = np.arange(2 * rows, dtype="<i4"), np.zeros(2 * rows, dtype="<i4")
        assert function.run(rows, [address_of(source)], [(rows, [address_of(target)])])
        assert (source == target).all()


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b""],
        [b"", b"", b""],
        TEXTS,
        TEXTS[::-1],
        [b"\0", b"\0\0a\0", b"\0" * 22, b"\0" * 23],
        [bytes(range(256)), b"\xff\xfe", "größer".encode()],
        [b"%d" % number * (number % 40) for number in range(5000)],
        [b"x" * (4 << 20), b"y"],
    ],
    ids=["none", "one empty", "empty", "sizes", "sizes down", "nulls", "bytes", "many", "long"],
)
@pytest.mark.parametrize("inline", [True, False])
def test_strings_come_back(identity: LoadedVersion, text: LoadedVersion, texts: list[bytes], inline: bool) -> None:
    """By way of TF_TStrings that are views of our memory, and by way of those that TensorFlow makes itself."""
    pairs = [part for item in texts for part in (item, b"-")]
    answer = run(identity, strings(pairs, (len(texts), 2)), signature="string", inline=inline)[0]
    assert (answer.shape, texts_of(answer)) == ((len(texts), 2), pairs)
    length, upper, upper_bytes = run(text, strings(texts), inline=inline)
    assert array_of(length).tolist() == [len(item) for item in texts]
    assert texts_of(upper) == texts_of(upper_bytes) == [item.upper() for item in texts]


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0,)])
def test_no_strings_of_a_shape(identity: LoadedVersion, shape: tuple[int, ...]) -> None:
    answer = run(identity, strings([], shape), signature="string")[0]
    assert (answer.dtype, answer.shape, texts_of(answer)) == (BY_NAME["string"].number, shape, [])


def test_a_string_without_dimensions(identity: LoadedVersion) -> None:
    answer = run(identity, strings([b"alone"], ()), signature="string")[0]
    assert (answer.shape, texts_of(answer)) == ((), [b"alone"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=70), max_size=12), st.integers(0, 8))
def test_any_strings_from_any_address(identity: LoadedVersion, texts: list[bytes], offset: int) -> None:
    packed = strings(texts)
    memory = aligned(len(packed.data), 8 * offset)
    memory[:] = np.frombuffer(packed.data, dtype=np.uint8)
    answer = run(identity, PackedTensor(7, (len(texts),), memory.data), signature="string")[0]
    assert texts_of(answer) == texts


def test_the_default_signature_is_the_floats(identity: LoadedVersion) -> None:
    given = values("float")
    assert run(identity, numbers(given), signature=DEFAULT_SIGNATURE)[0].data == given.tobytes()

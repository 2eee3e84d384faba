"""Examples written by hand: what protobuf itself reads from them, and that it would have written the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from example_messages import example, features, parsed
from hypothesis import given
from hypothesis import strategies as st

from ringserve import example_bytes

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
FLOATS = st.floats(width=32)
LISTS = st.lists(INT64) | st.lists(FLOATS) | st.lists(st.binary(max_size=300))
EDGES = [0, 1, 127, 128, 16383, 16384, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, -1, -128, -(1 << 63)]


WRITERS: dict[type, Callable[[Any], bytes]] = {
    int: example_bytes.integers,
    float: example_bytes.floats,
    bytes: example_bytes.texts,
}


def feature(values: Sequence[Any]) -> bytes:
    return WRITERS[type(values[0])](values) if values else example_bytes.NOTHING


def written(name: str, data: bytes) -> bytes:
    return example_bytes.example([example_bytes.entry(example_bytes.made_name(name.encode()), data)])


@given(st.dictionaries(st.text(max_size=100), LISTS, max_size=5))
def test_protobuf_reads_what_was_written(lists: dict[str, list[Any]]) -> None:
    entries = [
        example_bytes.entry(example_bytes.made_name(name.encode()), feature(values)) for name, values in lists.items()
    ]
    made, by_protobuf = example_bytes.example(entries), example(**lists).SerializeToString()
    assert len(made) == len(by_protobuf)
    assert {name: repr(found) for name, found in features(made).items()} == {
        name: repr(found) for name, found in features(by_protobuf).items()
    }, "as texts: NaN is not equal to itself"


@given(st.text(max_size=200), LISTS)
def test_protobuf_writes_the_same_bytes(name: str, values: list[Any]) -> None:
    assert written(name, feature(values)) == example(**{name: values}).SerializeToString()


@given(st.text(max_size=200), FLOATS | st.floats())
def test_one_float_is_a_list_of_one(name: str, value: float) -> None:
    known = example_bytes.made_name(name.encode())
    one = example_bytes.example([known.one_float, example_bytes.one_float(value)])
    assert one == written(name, example_bytes.floats([value]))


@given(st.binary(max_size=400) | st.binary(min_size=120, max_size=132))
def test_one_text_is_a_list_of_one(value: bytes) -> None:
    assert example_bytes.one_text(value) == example_bytes.texts([value])


@pytest.mark.parametrize("length", [*range(118, 131), 16379, 16380, 16381, 16384])
def test_lengths_that_need_another_byte(length: int) -> None:
    one = written("x", example_bytes.one_text(b"a" * length))
    assert features(one) == {"x": ("bytes_list", [b"a" * length])}
    assert features(written("x", example_bytes.integers([7] * length))) == {"x": ("int64_list", [7] * length)}
    assert features(written("x", example_bytes.floats([0.5] * (length // 4)))) == {
        "x": ("float_list", [0.5] * (length // 4))
    }


@given(INT64 | st.sampled_from(EDGES))
def test_one_integer_is_a_list_of_one(value: int) -> None:
    assert example_bytes.one_integer(value) == example_bytes.integers([value])


@given(st.lists(INT64 | st.sampled_from(EDGES) | st.integers(0, 200), min_size=1, max_size=40))
def test_many_integers_are_what_each_would_be(values: list[int]) -> None:
    assert features(written("x", example_bytes.integers(values))) == {"x": ("int64_list", values)}


@pytest.mark.parametrize("count", [7, 8, 4095, 4096, 4097, 10000])
def test_integers_in_pieces(count: int) -> None:
    values = [(-1) ** at * at**4 for at in range(count)]
    assert features(written("x", example_bytes.integers(values))) == {"x": ("int64_list", values)}


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("value", [1 << 63, (1 << 64) - 1, -(1 << 63) - 1])
def test_integers_beyond_64_bits(value: int, count: int) -> None:
    with pytest.raises(OverflowError):
        example_bytes.integers([1] * (count - 1) + [value])


@pytest.mark.parametrize(
    ("value", "kept"),
    [(1e300, math.inf), (-1e300, -math.inf), (3.4028235677973366e38, math.inf), (1e-60, 0.0), (-math.inf, -math.inf)],
)
def test_numbers_beyond_a_floats_range(value: float, kept: float) -> None:
    assert features(written("x", example_bytes.floats([0.5, value]))) == {"x": ("float_list", [0.5, kept])}
    assert np.frombuffer(example_bytes.one_float(value), "<f4")[0] == kept


def test_not_a_number() -> None:
    assert math.isnan(features(written("x", example_bytes.floats([math.nan, 1.0])))["x"][1][0])


def test_of_one_name_the_last_counts() -> None:
    name = example_bytes.made_name(b"x")
    twice = [example_bytes.entry(name, example_bytes.floats([value])) for value in (1.0, 2.0)]
    assert features(example_bytes.example(twice)) == {"x": ("float_list", [2.0])}


def test_examples_one_behind_the_other_are_merged_and_the_last_wins() -> None:
    """Also where the kinds differ: a map's entry replaces, it is not merged into."""
    context = example(a=[1.0, 2.0], b=[b"context"], c=[1, 2, 3])
    own = example(b=[b"own"], c=[4.5], d=[7])
    both = features(context.SerializeToString() + own.SerializeToString())
    assert both == {
        "a": ("float_list", [1.0, 2.0]),
        "b": ("bytes_list", [b"own"]),
        "c": ("float_list", [4.5]),
        "d": ("int64_list", [7]),
    }


def test_nothing_at_all() -> None:
    assert example_bytes.example([]) == b""
    assert features(written("x", example_bytes.NOTHING)) == {"x": (None, [])}
    assert parsed(b"") == example()

"""Packed tensors: what is written is what is read, and what is damaged is refused with ValueError and nothing else."""

from __future__ import annotations

import mmap
import struct
import tracemalloc
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm import packed
from shm.layout import ALIGNMENT
from shm.packed import PackedTensor

STRING = 7

numbers = st.builds(
    lambda dtype, shape, itemsize, byte: PackedTensor(dtype, shape, bytes([byte]) * (prod(shape) * itemsize)),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 4), max_size=5).map(tuple),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(0, 255),
)
strings = st.lists(st.binary(max_size=80), max_size=12).map(
    lambda values: PackedTensor(STRING, (len(values),), packed.pack_strings(values))
)
messages = st.lists(st.one_of(numbers, strings), max_size=6)

#: Values that lengths, counts, offsets and dimensions may lie with.
LIES = st.one_of(
    st.integers(0, 4096),
    st.sampled_from([2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 64, 2**64 - 1]),
)


def written(tensors: list[PackedTensor]) -> bytearray:
    target = bytearray(b"\xee" * packed.size(tensors))
    packed.write(memoryview(target), tensors)
    return target


def use_all(message: bytes | bytearray) -> None:
    """Read a message that may be damaged, and every tensor of it as strings: ValueError is the one way out."""
    source = memoryview(message)
    try:
        tensors = packed.read(source)
    except ValueError:
        return
    for tensor in tensors:
        assert len(tensor.data) <= len(source)
        assert all(dim >= 0 for dim in tensor.shape)
        for count in {prod(tensor.shape), 0, 1, len(tensor.data) // 8}:
            try:
                values = packed.unpack_strings(tensor.data, count)
            except ValueError:
                continue
            assert len(values) == count
            assert sum(map(len, values)) <= len(tensor.data)


@settings(deadline=None)
@given(messages, st.integers(0, 200))
def test_round_trip(tensors: list[PackedTensor], room: int) -> None:
    """Also in more room than needed, as in a ring, and with every tensor at a multiple of 64."""
    size = packed.size(tensors)
    assert size % ALIGNMENT == 0
    with mmap.mmap(-1, size + room) as memory:
        memory[:] = b"\xee" * len(memory)
        with memoryview(memory) as whole:
            packed.write(whole, tensors)
            assert packed.message_length(whole) == size
            assert bytes(whole[size:]) == b"\xee" * room, "nothing is written behind the message"
            read = packed.read(whole)
            assert [(dtype, shape, bytes(data)) for dtype, shape, data in read] == tensors
            starts = [np.frombuffer(data, np.uint8).__array_interface__["data"][0] for *_, data in read if len(data)]
            assert all(start % ALIGNMENT == 0 for start in starts), "a page start plus multiples of 64"
            del read
            del tensors


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=40))
def test_strings_round_trip(values: list[bytes]) -> None:
    data = packed.pack_strings(values)
    assert packed.unpack_strings(data, len(values)) == values
    ends, blob = packed.string_table(data, len(values))
    assert ends.tolist() == np.cumsum([len(value) for value in values], dtype=np.uint64).tolist()
    assert blob.tobytes() == b"".join(values)


@pytest.mark.parametrize("value", [b"", b"text"])
def test_many_strings_take_little_besides_their_table(value: bytes) -> None:
    count = 200_000
    tracemalloc.start()
    try:
        data = packed.pack_strings([value] * count)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + (4 << 20)
    finally:
        tracemalloc.stop()
    assert len(data) == count * (8 + len(value))
    assert packed.unpack_strings(data, count) == [value] * count


def test_strings_of_all_lengths_in_several_joins() -> None:
    values = [bytes([index % 251]) * (index % 7) for index in range(150_000)]
    assert packed.unpack_strings(packed.pack_strings(values), len(values)) == values
    lone = bytes(range(256)) * 4096
    assert packed.pack_strings([lone]) == struct.pack("<Q", len(lone)) + lone


def test_no_tensors() -> None:
    assert packed.read(memoryview(written([]))) == []


@settings(deadline=None, max_examples=50)
@given(messages)
def test_cut_off_anywhere(tensors: list[PackedTensor]) -> None:
    message = written(tensors)
    for length in range(len(message)):
        with pytest.raises(ValueError, match="packed"):
            packed.read(memoryview(message)[:length])


@settings(deadline=None, max_examples=50)
@given(messages)
def test_cut_off_anywhere_with_a_length_that_agrees(tensors: list[PackedTensor]) -> None:
    message = written(tensors)
    for length in range(8, len(message)):
        struct.pack_into("<Q", message, 0, length)
        use_all(message[:length])
        use_all(message)


@settings(deadline=None, max_examples=500)
@given(messages, st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bits(tensors: list[PackedTensor], flips: list[tuple[int, int]]) -> None:
    message = written(tensors)
    for at, mask in flips:
        message[at % len(message)] ^= mask
    use_all(message)


@settings(deadline=None, max_examples=500)
@given(messages, st.lists(st.tuples(st.integers(0, 64), LIES), min_size=1, max_size=4))
def test_lying_fields(tensors: list[PackedTensor], lies: list[tuple[int, int]]) -> None:
    """Any word of the header says anything: message length, count, rank, offset, length, dimensions."""
    message = written(tensors)
    for word, value in lies:
        struct.pack_into("<Q", message, word * 8 % len(message), value)
    use_all(message)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(message: bytes) -> None:
    use_all(message)
    use_all(struct.pack("<QII", len(message) + 16, 3, 0) + message)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (0, 1 << 40),  # length of the message
        (1, 1 << 20),  # number of tensors
        (2, 255 << 32),  # rank
        (3, 1 << 40),  # offset, far outside
        (3, 2**64 - 64),  # offset that would wrap around 64 bits
        (3, 65),  # offset, not aligned
        (4, 65),  # bytes, past the end
        (4, 2**64 - 1),
        (5, 2**64 - 1),  # dimension -1
    ],
)
def test_each_field_is_checked(word: int, value: int) -> None:
    message = written([PackedTensor(1, (2, 4), bytes(32))])
    struct.pack_into("<Q", message, word * 8, value)
    with pytest.raises(ValueError, match="packed"):
        packed.read(memoryview(message))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 1),
        (b"1234567", 1),
        (b"", -1),
        (struct.pack("<Q", 1), 1),  # ends behind the bytes
        (struct.pack("<Q", 0) + b"x", 1),  # bytes behind the end
        (struct.pack("<3Q", 2, 1, 3) + b"abc", 3),  # goes back
        (struct.pack("<2Q", 2**64 - 1, 1) + b"a", 2),
        (packed.pack_strings([b"a", b"b"]), 1),
        (packed.pack_strings([b"a", b"b"]), 2**62),
    ],
)
def test_string_tables_that_do_not_fit(data: bytes, count: int) -> None:
    with pytest.raises(ValueError, match="string tensor"):
        packed.unpack_strings(data, count)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(-4, 24), LIES, st.integers(0, 7))
def test_damaged_string_tables(values: list[bytes], count: int, lie: int, word: int) -> None:
    data = bytearray(packed.pack_strings(values))
    if values:
        struct.pack_into("<Q", data, word % len(values) * 8, lie)
    try:
        read = packed.unpack_strings(data, count)
    except ValueError:
        return
    assert len(read) == count

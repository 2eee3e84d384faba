"""Segments: sealed, sparse, and given back when only a large request needed them."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from shm.consumer import LaneConsumer
from shm.lane import Lane
from shm.layout import PAGE, VERSION, WORD_MAGIC, WORD_VERSION, Column, LaneSpec
from shm.packed import PackedTensor
from shm.producer import LaneProducer
from shm.segment import Segment

GIB = 1 << 30
MIB = 1 << 20
SECOND = 10**9
SPEC = LaneSpec((Column("<f4", (4,)),), (Column("<f4", (2,)),), 16, 8, 2 * PAGE, PAGE)


def bytes_used(segment: Segment) -> int:
    return os.fstat(segment.fd).st_blocks * 512


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.create("test", 64 * PAGE)
    yield segment
    segment.close()


@pytest.mark.parametrize("size", [0, PAGE, 65 * PAGE, GIB])
def test_its_size_is_final(segment: Segment, size: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(segment.fd, size)


def test_its_seals_are_final(segment: Segment) -> None:
    with pytest.raises(PermissionError):
        fcntl.fcntl(segment.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_it_does_not_reach_other_programs(segment: Segment) -> None:
    assert not os.get_inheritable(segment.fd)


def test_both_sides_see_the_same_bytes(segment: Segment) -> None:
    other = Segment.attach(os.dup(segment.fd), segment.size)
    segment.map[100:105] = b"hello"
    assert other.map[100:105] == b"hello"
    other.close()


def memfd(size: int, flags: int, seals: int = 0) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | flags)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def regular_file() -> int:
    with tempfile.TemporaryFile() as file:
        file.truncate(PAGE)
        return os.dup(file.fileno())


REFUSED: list[tuple[Callable[[], int], str]] = [
    (lambda: memfd(PAGE // 2, os.MFD_ALLOW_SEALING, fcntl.F_SEAL_SHRINK), "2048 bytes, expected 4096"),
    (lambda: memfd(2 * PAGE, os.MFD_ALLOW_SEALING, fcntl.F_SEAL_SHRINK), "8192 bytes, expected 4096"),
    (lambda: memfd(PAGE, os.MFD_ALLOW_SEALING), "not sealed"),
    (lambda: memfd(PAGE, os.MFD_ALLOW_SEALING, fcntl.F_SEAL_GROW), "not sealed"),
    (lambda: memfd(PAGE, 0), "not sealed"),
    (regular_file, "not sealed"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_what_is_not_safe_to_map_is_refused(make: Callable[[], int], reason: str) -> None:
    fd = make()
    with pytest.raises(ValueError, match=reason):
        Segment.attach(fd, PAGE)
    assert not is_open(fd), "attaching owns the descriptor, also when it fails"


def test_a_large_segment_costs_address_space_only() -> None:
    segment = Segment.create("test", GIB)
    assert bytes_used(segment) == 0
    segment.map[GIB // 2] = 1
    assert bytes_used(segment) <= 2 * MIB, "one page, which may be a huge one"
    segment.close()


def test_pages_go_back_whole_and_only_inside_the_range(segment: Segment) -> None:
    segment.map[:] = b"\xaa" * segment.size
    full = bytes_used(segment)
    assert full == segment.size
    segment.give_back(PAGE + 1, 9 * PAGE - 1)  # pages 2 to 7 lie inside
    assert full - bytes_used(segment) == 6 * PAGE
    assert segment.map[: 2 * PAGE] == b"\xaa" * (2 * PAGE)
    assert segment.map[2 * PAGE : 8 * PAGE] == bytes(6 * PAGE)
    assert segment.map[8 * PAGE :] == b"\xaa" * (segment.size - 8 * PAGE)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (10, PAGE - 10), (10, PAGE + 10), (5, 5), (PAGE, PAGE)])
def test_less_than_a_page_stays(segment: Segment, start: int, end: int) -> None:
    segment.map[:] = b"\xaa" * segment.size
    segment.give_back(start, end)
    assert segment.map[:] == b"\xaa" * segment.size


def test_the_mapping_outlives_the_descriptor() -> None:
    segment = Segment.create("test", PAGE)
    segment.close()
    segment.close()
    segment.map[0] = 7
    assert segment.map[0] == 7
    assert isinstance(segment.map, mmap.mmap)


def test_lane_attaches_to_its_like_only() -> None:
    lane = Lane.create(SPEC, {"model": "m"})
    assert Lane.attach(os.dup(lane.segment.fd), SPEC).label == {"model": "m"}
    other = LaneSpec(SPEC.inputs, SPEC.outputs, SPEC.rows, SPEC.slots, SPEC.answer_bytes, SPEC.request_bytes)
    assert other.size == SPEC.size
    for word, value in ((None, 0), (WORD_MAGIC, 0), (WORD_VERSION, VERSION - 1)):
        fd = os.dup(lane.segment.fd)
        if word is not None:
            before, lane.words[word] = lane.words[word], value
        with pytest.raises(ValueError, match=r"sizes differ" if word is None else "not a lane"):
            Lane.attach(fd, other if word is None else SPEC)
        assert not is_open(fd)
        if word is not None:
            lane.words[word] = before
    lane.close()


def test_lane_refuses_a_segment_without_magic() -> None:
    segment = Segment.create("test", SPEC.size)
    with pytest.raises(ValueError, match="not a lane"):
        Lane.attach(os.dup(segment.fd), SPEC)
    segment.close()


def test_label_keeps_what_has_room() -> None:
    lane = Lane.create(SPEC, {"model": "m", "columns": "x" * 5000, "more": 1})
    assert lane.label == {"model": "m"}
    lane.close()


def test_memory_of_a_large_request_and_its_answer_goes_back() -> None:
    """With the next heartbeat. What lies below the soft limit stays warm."""
    lane = Lane.create(LaneSpec(SPEC.inputs, SPEC.outputs, 16, 8), {})
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    tensor = PackedTensor(1, (10 * MIB,), bytes(40 * MIB))
    producer.submit_packed(0, 1, [tensor], 0)
    assert bytes_used(lane.segment) >= 40 * MIB
    ticket = consumer.take(1)
    assert consumer.answer(0, [tensor])
    consumer.finish(ticket)
    assert bytes_used(lane.segment) >= 80 * MIB
    producer.release(1)
    producer.beat(SECOND)
    assert bytes_used(lane.segment) <= (40 + 16 + 1) * MIB
    consumer.beat(SECOND)
    assert bytes_used(lane.segment) <= (16 + 16 + 1) * MIB
    assert producer.submit_packed(1, 1, [tensor], 0) == 1
    assert bytes(consumer.request(1)[0].data) == tensor.data, "and comes again"
    lane.close()


def test_memory_of_many_large_rows_goes_back() -> None:
    columns = (Column("<u1", (MIB,)),)
    lane = Lane.create(LaneSpec.for_columns(columns, columns, ring_bytes=PAGE), {})
    assert lane.spec.soft_rows == 8
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    assert producer.submit_rows(0, 24, [np.full((24, MIB), 7, np.uint8)], 0) == 0
    ticket = consumer.take(1)
    lane.outputs[0][:24] = 9
    consumer.finish(ticket)
    assert bytes_used(lane.segment) >= 48 * MIB
    assert ((producer.answer_rows(0) or [])[0] == 9).all()
    producer.release(1)
    producer.beat(SECOND)
    assert bytes_used(lane.segment) <= 17 * MIB
    lane.close()


def test_memory_beyond_all_that_is_unread_goes_back() -> None:
    lane = Lane.create(LaneSpec(SPEC.inputs, SPEC.outputs, 16, 8), {})
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    tensor = PackedTensor(1, (5 * MIB,), b"\xab" * (20 * MIB))
    for number in range(3):
        producer.submit_packed(number, 1, [tensor], 0)
        ticket = consumer.take(1)
        assert consumer.answer(number, [tensor])
        consumer.finish(ticket)
        if number == 1:
            producer.release(1)
    assert bytes_used(lane.segment) >= 4 * 20 * MIB
    producer.release(2)  # the third lies where the first lay
    producer.beat(SECOND)
    consumer.beat(SECOND)
    assert bytes_used(lane.segment) <= (2 * 20 + 1) * MIB
    assert bytes(producer.answer_packed(2)[0].data) == tensor.data
    assert bytes(consumer.request(2)[0].data) == tensor.data
    lane.close()


def test_memory_in_steady_use_is_not_given_back_with_every_beat() -> None:
    lane = Lane.create(LaneSpec(SPEC.inputs, SPEC.outputs, 16, 8), {})
    producer, consumer = LaneProducer(lane), LaneConsumer(lane)
    producer.beat(5 * SECOND)
    producer.submit_packed(0, 1, [PackedTensor(1, (10 * MIB,), bytes(40 * MIB))], 0)
    consumer.finish(consumer.take(1))
    producer.release(1)
    producer.beat(5 * SECOND + SECOND // 2)
    assert bytes_used(lane.segment) >= 40 * MIB
    producer.beat(6 * SECOND)
    assert bytes_used(lane.segment) <= 17 * MIB
    lane.close()

"""The ring allocator against a model that knows every unit."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from shm.ring import Ring

Block = tuple[int, int]


class Units:
    """The model: which blocks are taken, oldest first, and what lies free by looking at every unit."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.blocks: list[Block] = []

    def taken(self) -> bytearray:
        units = bytearray(self.capacity)
        for start, end in self.blocks:
            assert 0 <= start < end <= self.capacity, "a block lies inside the ring, in one piece"
            assert not any(units[start:end]), "blocks never overlap"
            units[start:end] = b"\1" * (end - start)
        return units

    def longest_gap(self, below: int) -> int:
        """Units of the longest free stretch among the first `below`."""
        return max(map(len, self.taken()[:below].split(b"\1")))

    def free_behind_newest(self, count: int) -> bool:
        end = self.blocks[-1][1] if self.blocks else 0
        stretch = self.taken()[end : end + count]
        return len(stretch) == count and not any(stretch)


def check_find(ring: Ring, units: Units, count: int) -> int:
    """Where `find` puts a block is legal and the place promised; there is none only when no gap is long enough."""
    start = ring.find(count)
    assert ring.find(count) == start, "looking takes nothing"
    assert (start < 0) == (units.longest_gap(units.capacity) < count)
    assert ring.room == units.longest_gap(units.capacity)
    if start >= 0:
        end = start + count
        assert end <= units.capacity
        assert not any(units.taken()[start:end])
        assert end <= ring.soft or units.longest_gap(ring.soft) < count, "beyond the soft limit only when it has to"
        newest = units.blocks[-1][1] if units.blocks else 0
        if newest + count <= ring.soft and units.free_behind_newest(count):
            assert start == newest, "behind its neighbour in time wherever that is below the soft limit"
    return start


#: What happens to a ring: a number above 0 asks for a block, 0 and below frees one more than its negative.
STEPS = st.lists(st.one_of(st.integers(1, 24), st.integers(-3, 0)), max_size=80)
SIZES = st.integers(1, 48).flatmap(lambda capacity: st.tuples(st.just(capacity), st.integers(1, capacity)))


@settings(deadline=None, max_examples=500)
@given(SIZES, STEPS)
def test_blocks_against_the_model(sizes: tuple[int, int], steps: list[int]) -> None:
    ring, units = Ring(*sizes), Units(sizes[0])
    for step in steps:
        if step > 0:
            start = check_find(ring, units, step)
            if start >= 0:
                ring.take(start, start + step)
                units.blocks.append((start, start + step))
        else:
            for _ in range(min(1 - step, len(units.blocks))):
                ring.free(units.blocks.pop(0)[1])
        assert ring.empty == (not units.blocks)
        if not units.blocks:
            assert check_find(ring, units, 1) == 0, "an empty ring starts over"
    while units.blocks:
        ring.free(units.blocks.pop(0)[1])
    assert ring.empty
    assert ring.find(sizes[0]) == 0


@settings(deadline=None)
@given(SIZES, STEPS)
def test_trim_names_what_was_used_beyond_the_soft_limit(sizes: tuple[int, int], steps: list[int]) -> None:
    """And beyond everything that is taken."""
    ring = Ring(*sizes)
    ends: list[int] = []
    used = 0
    for step in steps:
        if step > 0 and (start := ring.find(step)) >= 0:
            ring.take(start, start + step)
            ends.append(start + step)
            used = max(used, start + step)
        elif step <= 0 and ends:
            ring.free(ends.pop(0))
        if step % 2:  # not after every step, so that something comes together
            continue
        top = max([ring.soft, *ends])
        assert ring.trimmed() == ((top, used) if used > top else None)
        assert ring.trimmed() is None, "told once"
        used = min(used, top)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 16), st.booleans()), max_size=40), st.randoms(use_true_random=False))
def test_blocks_taken_at_any_place_are_kept_apart(lengths: list[tuple[int, bool]], random: Random) -> None:
    """What attaching does: blocks found in the memory, in the order they will be freed, anywhere."""
    places: list[Block] = []
    at = 0
    for length, hole in lengths:
        at += hole
        places.append((at, at + length))
        at += length
    random.shuffle(places)
    ring, units = Ring(max(at, 1)), Units(max(at, 1))
    for start, end in places:
        ring.take(start, end)
        units.blocks.append((start, end))
        check_find(ring, units, 1)
    for _, end in places:
        ring.free(end)
        units.blocks.pop(0)
        check_find(ring, units, 3)
    assert ring.empty


def test_the_way_back_to_the_front_locks_nothing_away() -> None:
    """A few blocks of nearly the soft size, some of them always taken: all the ring stays usable."""
    ring = Ring(1000, 16)
    ends: list[int] = []
    for count in (12, 12, 12, 12):
        ends.append(ring.find(count) + count)
        ring.take(ends[-1] - count, ends[-1])
    for _ in range(20):
        ring.free(ends.pop(0))
        for _ in range(2):
            start = ring.find(12)
            assert start >= 0
            ring.take(start, start + 12)
            ends.append(start + 12)


def test_a_steady_flow_stays_below_the_soft_limit() -> None:
    ring = Ring(1 << 20, 64)
    ends: list[int] = []
    for turn in range(1000):
        count = 1 + turn % 7
        start = ring.find(count)
        ring.take(start, start + count)
        ends.append(start + count)
        if len(ends) > 4:
            ring.free(ends.pop(0))
    assert ring.high <= 64


def test_exactly_full() -> None:
    ring = Ring(8)
    ring.take(0, 3)
    ring.take(3, 8)
    assert ring.find(1) == -1
    assert ring.room == 0
    assert not ring.empty
    ring.free(3)
    assert ring.find(3) == 0
    ring.take(0, 3)
    assert ring.find(1) == -1
    assert not ring.empty
    ring.free(8)
    ring.free(3)
    assert ring.empty

"""The planner against a model that looks at one request after the other and makes no use of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm import layout
from shm.layout import ABANDONED, LOW, PACKED
from workers.planner import Array, Piece, Plan, plan

NOW = 1_000_000
FEW = 32  # requests of a window that are looked at in turn
RING = 300  # rows: small enough that positions start over at times


@dataclass(frozen=True)
class Request:
    position: int
    rows: int
    flags: int = 0
    deadline: int = 0
    enqueued: int = 1

    @property
    def is_odd(self) -> bool:
        return bool(self.flags) or 0 < self.deadline <= NOW


def window_of(requests: Sequence[Request]) -> Array:
    window = np.zeros(len(requests), dtype=layout.DESCRIPTOR)
    for descriptor, request in zip(window, requests, strict=True):
        for name in ("position", "rows", "flags", "deadline", "enqueued"):
            descriptor[name] = getattr(request, name)
    return window


def planned(*lanes: Sequence[Request], most_rows: int) -> Plan:
    return plan([(index, window_of(requests)) for index, requests in enumerate(lanes)], NOW, most_rows)


def model(lanes: Sequence[Sequence[Request]], most_rows: int) -> Plan | None:
    """One request at a time; None where one that is not usual is come across. Of a window of many, all are looked at."""
    pieces: list[tuple[int, Piece]] = []
    total, came, full = 0, [], False
    for lane, requests in enumerate(lanes):
        if len(requests) > FEW and any(request.is_odd for request in requests):
            return None
        taken = 0
        new = True
        for request in requests:
            if request.is_odd:
                return None
            if total + request.rows > most_rows and total:
                break
            last = pieces[-1][1] if pieces and not new else None
            if last is not None and request.position == last.row + last.rows:
                pieces[-1] = lane, Piece(last.requests + 1, last.row, last.rows + request.rows)
            else:
                pieces.append((lane, Piece(1, request.position, request.rows)))
            new = False
            total += request.rows
            taken += 1
        if taken:
            came.append(requests[0].enqueued)
        if taken < len(requests) or total >= most_rows:
            full = True
            break
    return Plan(pieces, total, min(came, default=0), full, False)


# Rows, does it lie elsewhere, flags, deadline; mostly the usual, so that long pieces come about.
PLAIN = st.one_of(
    st.just((1, False, 0, 0)),
    st.tuples(st.integers(1, 9), st.sampled_from([False, False, True]), st.just(0), st.sampled_from([0, NOW + 1, 2 * NOW])),
)
ODD = st.tuples(
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from([0, PACKED, ABANDONED, LOW, PACKED | ABANDONED]),
    st.sampled_from([0, NOW - 1, NOW, NOW + 1]),
)


@st.composite
def waiting(draw: st.DrawFn) -> list[Request]:
    """Requests as a front end writes them: each behind the one before, or from another place on, as in a ring."""
    requests = []
    position = draw(st.integers(0, RING))
    kinds = draw(st.sampled_from([PLAIN, PLAIN, PLAIN, st.one_of(PLAIN, PLAIN, PLAIN, ODD)]))
    enqueued = draw(st.integers(1, 50))
    for rows, jumps, flags, deadline in draw(st.lists(kinds, min_size=1, max_size=80)):
        if position + rows > RING or jumps:
            position = rows % 4
        requests.append(Request(position, rows, flags, deadline, enqueued))
        enqueued += 1
        if not flags & PACKED:
            position += rows
    return requests


LIMITS = st.one_of(st.integers(1, 24), st.integers(25, 400))


@given(st.lists(waiting(), min_size=1, max_size=3), LIMITS)
def test_as_the_model(lanes: list[list[Request]], most_rows: int) -> None:
    expected = model(lanes, most_rows)
    found = planned(*lanes, most_rows=most_rows)
    if expected is None:
        assert found.is_odd
        assert found.pieces == []
    else:
        assert found == expected


@pytest.mark.parametrize("flags", [PACKED, ABANDONED, LOW, PACKED | LOW])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_flag_is_not_usual(flags: int, count: int) -> None:
    usual = [Request(row, 1) for row in range(count)]
    assert planned([*usual, Request(count, 1, flags)], most_rows=1000).is_odd
    assert not planned(usual, most_rows=1000).is_odd


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize(("deadline", "is_odd"), [(0, False), (NOW + 1, False), (NOW, True), (NOW - 1, True)])
def test_a_deadline_that_has_passed_is_not_usual(count: int, deadline: int, is_odd: bool) -> None:
    requests = [Request(row, 1) for row in range(count)]
    assert planned([*requests, Request(count, 1, 0, deadline)], most_rows=1000).is_odd is is_odd


def test_a_request_with_too_many_rows_goes_by_itself() -> None:
    large, small = Request(0, 9), Request(9, 1)
    assert planned([large, small], most_rows=4) == Plan([(0, Piece(1, 0, 9))], 9, 1, True, False)
    assert planned([small, Request(10, 9)], most_rows=4) == Plan([(0, Piece(1, 9, 1))], 1, 1, True, False)
    many = [Request(9 * index, 9) for index in range(40)]
    assert planned(many, most_rows=4).pieces == [(0, Piece(1, 0, 9))]


def test_rows_that_start_over_share_a_batch() -> None:
    """The ring's end is no reason to run a smaller batch."""
    assert planned([Request(298, 2), Request(0, 3)], most_rows=9).pieces == [(0, Piece(1, 298, 2)), (0, Piece(1, 0, 3))]


def test_lanes_share_a_batch_until_one_request_does_not_fit() -> None:
    first, second = [Request(0, 2)], [Request(5, 2), Request(7, 2)]
    assert planned(first, second, most_rows=5) == Plan([(0, Piece(1, 0, 2)), (1, Piece(1, 5, 2))], 4, 1, True, False)
    assert planned(first, second, most_rows=6) == Plan([(0, Piece(1, 0, 2)), (1, Piece(2, 5, 4))], 6, 1, True, False)
    assert not planned(first, second, most_rows=7).is_full


def test_the_oldest_of_all_lanes_counts() -> None:
    assert planned([Request(0, 1, enqueued=9)], [Request(0, 1, enqueued=4)], most_rows=5).oldest == 4

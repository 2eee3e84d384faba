"""The planner against a model that looks at one request after the other and makes no use of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm import layout
from shm.layout import ABANDONED, PACKED
from workers.planner import Action, Array, Piece, first_piece, plan, single

NOW = 1_000_000
RING = 300  # rows: small enough that positions start over at times


@dataclass(frozen=True)
class Request:
    position: int
    rows: int
    flags: int = 0
    deadline: int = 0


def window_of(requests: Sequence[Request]) -> Array:
    window = np.zeros(len(requests), dtype=layout.DESCRIPTOR)
    for descriptor, request in zip(window, requests, strict=True):
        for name in ("position", "rows", "flags", "deadline"):
            descriptor[name] = getattr(request, name)
    return window


def model_action(request: Request) -> Action:
    if request.flags & ABANDONED:
        return Action.ABANDONED
    if request.deadline != 0 and request.deadline <= NOW:
        return Action.EXPIRED
    return Action.ALONE if request.flags & PACKED else Action.ROWS


def model_first(requests: Sequence[Request], most_rows: int) -> Piece:
    head = requests[0]
    action = model_action(head)
    if action is not Action.ROWS:
        return Piece(action, 1)
    count, rows = 1, head.rows
    for request in requests[1:]:
        joins = model_action(request) is Action.ROWS and request.position == head.position + rows
        if not joins or rows + request.rows > most_rows:
            break
        count, rows = count + 1, rows + request.rows
    return Piece(Action.ROWS, count, head.position, rows)


def model_plan(lanes: Sequence[Sequence[Request] | None], start: int, most_rows: int) -> list[tuple[int, Piece]]:
    chosen: list[tuple[int, Piece]] = []
    room = most_rows
    for index in [(start + step) % len(lanes) for step in range(len(lanes))]:
        requests = lanes[index]
        if requests is None or room <= 0:
            continue
        piece = model_first(requests, room)
        if not chosen and piece.action is not Action.ROWS:
            return [(index, piece)]
        if not chosen or (piece.action is Action.ROWS and piece.rows <= room):
            chosen.append((index, piece))
            room -= piece.rows
    return chosen


# Rows, does it lie elsewhere, flags, deadline; mostly the usual, so that long pieces come about.
KINDS = st.one_of(
    st.just((1, False, 0, 0)),
    st.tuples(st.integers(1, 9), st.just(False), st.just(0), st.sampled_from([0, NOW + 1, 2 * NOW])),
    st.just((2, False, 0, NOW + 1)),
    st.tuples(
        st.integers(1, 9),
        st.sampled_from([False, False, True]),
        st.sampled_from([0, 0, 0, PACKED, ABANDONED, PACKED | ABANDONED]),
        st.sampled_from([0, NOW - 1, NOW, NOW + 1]),
    ),
)


@st.composite
def waiting(draw: st.DrawFn) -> list[Request]:
    """Requests as a front end writes them: each behind the one before, or from another place on, as in a ring."""
    requests = []
    position = draw(st.integers(0, RING))
    for rows, jumps, flags, deadline in draw(st.lists(KINDS, min_size=1, max_size=80)):
        if position + rows > RING or jumps:
            position = rows % 4
        requests.append(Request(position, rows, flags, deadline))
        if not flags & PACKED:
            position += rows
    return requests


LIMITS = st.one_of(st.integers(1, 24), st.integers(25, 400))


@pytest.mark.parametrize(
    ("flags", "deadline", "action"),
    [
        (0, 0, Action.ROWS),
        (0, NOW + 1, Action.ROWS),
        (0, NOW, Action.EXPIRED),
        (0, NOW - 1, Action.EXPIRED),
        (PACKED, 0, Action.ALONE),
        (PACKED, NOW, Action.EXPIRED),
        (ABANDONED, 0, Action.ABANDONED),
        (ABANDONED, NOW, Action.ABANDONED),
        (ABANDONED | PACKED, NOW + 1, Action.ABANDONED),
    ],
)
def test_what_a_request_wants(flags: int, deadline: int, action: Action) -> None:
    """Nobody waits for it, then too late for it, then how it lies."""
    expected = Piece(action, 1, 3, 5) if action is Action.ROWS else Piece(action, 1)
    assert single(3, 5, flags, deadline, NOW) == expected


@given(waiting(), LIMITS)
def test_first_piece_is_the_models(requests: list[Request], most_rows: int) -> None:
    assert first_piece(window_of(requests), NOW, most_rows) == model_first(requests, most_rows)


@given(waiting())
def test_one_request_is_the_same_piece_with_and_without_a_window(requests: list[Request]) -> None:
    head = requests[0]
    piece = single(head.position, head.rows, head.flags, head.deadline, NOW)
    assert first_piece(window_of([head]), NOW, 1) == piece


@given(waiting(), LIMITS)
def test_a_piece_of_rows_is_a_contiguous_prefix_within_the_limit(requests: list[Request], most_rows: int) -> None:
    """Said once more without a model: what must hold of any piece, whatever the planner's strategy."""
    piece = first_piece(window_of(requests), NOW, most_rows)
    settled = requests[: piece.requests]
    assert 1 <= piece.requests <= len(requests)
    assert {model_action(request) for request in settled} == {piece.action}
    if piece.action is not Action.ROWS:
        assert (piece.requests, piece.row, piece.rows) == (1, 0, 0)
        return
    touched = [request.position + index for request in settled for index in range(request.rows)]
    assert touched == list(range(piece.row, piece.row + piece.rows))
    assert piece.rows <= most_rows or piece.requests == 1


@given(st.lists(st.one_of(st.none(), waiting()), min_size=1, max_size=5), st.integers(0, 20), LIMITS)
def test_plan_is_the_models(lanes: list[list[Request] | None], start: int, most_rows: int) -> None:
    windows = [None if requests is None else window_of(requests) for requests in lanes]
    assert plan(windows, start, NOW, most_rows) == model_plan(lanes, start, most_rows)


@given(st.lists(st.one_of(st.none(), waiting()), min_size=1, max_size=5), st.integers(0, 20), LIMITS)
def test_a_batch_keeps_the_rules(lanes: list[list[Request] | None], start: int, most_rows: int) -> None:
    chosen = plan([None if requests is None else window_of(requests) for requests in lanes], start, NOW, most_rows)
    assert bool(chosen) == any(requests is not None for requests in lanes), "nothing waits in vain"
    indices = [index for index, _ in chosen]
    assert len(set(indices)) == len(indices), "a lane gives one piece"
    if len(chosen) > 1:
        assert {piece.action for _, piece in chosen} == {Action.ROWS}
    rows = sum(piece.rows for _, piece in chosen)
    assert rows <= most_rows or (len(chosen) == 1 and chosen[0][1].requests == 1)


@given(st.integers(1, 6), st.integers(0, 50))
def test_every_lane_comes_first_in_its_turn(count: int, start: int) -> None:
    windows: list[Array | None] = [window_of([Request(0, 1)]) for _ in range(count)]
    firsts = [plan(windows, start + turn, NOW, 1) for turn in range(count)]
    assert sorted(index for [(index, _)] in firsts) == list(range(count))


def test_no_lane_and_no_request_give_no_batch() -> None:
    assert plan([], 0, NOW, 8) == []
    assert plan([None, None], 1, NOW, 8) == []


def test_a_request_too_large_for_what_is_left_keeps_nobody_else_out() -> None:
    windows = [window_of([Request(0, rows)]) for rows in (6, 8, 4)]
    assert plan(windows, 0, NOW, 10) == [(0, Piece(Action.ROWS, 1, 0, 6)), (2, Piece(Action.ROWS, 1, 0, 4))]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_positions_that_no_lane_has_are_told_like_any_other(count: int) -> None:
    """A front end may scribble anything: the planner must not stumble, its caller refuses the rows."""
    for position in (2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1):
        for requests in ([Request(position, 1)] * count, [Request(position + index, 1) for index in range(count)]):
            legal = [request for request in requests if request.position < 2**64]
            piece = first_piece(window_of(legal), NOW, 8)
            assert (piece.action, piece.row) == (Action.ROWS, position)
    for rows in (2**32 - 1, 2**31, 0):
        piece = first_piece(window_of([Request(0, rows)] * count), NOW, 8)
        assert (piece.action, piece.row, piece.rows) == (Action.ROWS, 0, rows)


def test_a_window_of_requests_without_a_row_has_no_row() -> None:
    assert first_piece(window_of([Request(5, 0)] * 100), NOW, 8).rows == 0

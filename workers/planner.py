"""The batch planner: given what waits in the lanes and a clock, what runs next. Pure: no lane, no engine, no clock.

A lane's waiting requests are shown as a window of its descriptors, oldest first. A *piece* is a stretch of them, from the
oldest on, that one action settles.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shm.layout import (
    ABANDONED,
    DEADLINE_WORD,
    DESCRIPTOR_WORDS,
    FLAGS_SHIFT,
    PACKED,
    POSITION_WORD,
    ROWS_MASK,
    ROWS_WORD,
)

Array = npt.NDArray[Any]

_FEW = 32  # requests; measured: where looking at each and array operations cost the same
_ONE = np.uint64(1)


class Action(enum.Enum):
    """What a piece wants."""

    ROWS = enum.auto()  # run these rows as one contiguous slice of the columns
    ALONE = enum.auto()  # run this one request by itself: packed tensors
    EXPIRED = enum.auto()  # answer DEADLINE_EXCEEDED without a run
    ABANDONED = enum.auto()  # nobody waits any more: answer anything


class Piece(NamedTuple):
    """`requests` of them, from the oldest on; with ROWS, `rows` rows from `row` on."""

    action: Action
    requests: int
    row: int = 0
    rows: int = 0


def single(position: int, rows: int, flags: int, deadline: int, now: int) -> Piece:
    """The piece made of one request, by its descriptor's words."""
    if flags & ABANDONED:
        return Piece(Action.ABANDONED, 1)
    if deadline and deadline <= now:
        return Piece(Action.EXPIRED, 1)
    if flags & PACKED:
        return Piece(Action.ALONE, 1)
    return Piece(Action.ROWS, 1, position, rows)


def first_piece(window: Array, now: int, most_rows: int) -> Piece:
    """The oldest piece of a window of one or more descriptors.

    Rows go together while each request's rows follow the one before, none is past its deadline and they are no more than
    `most_rows`; a request with more rows than that goes by itself.
    """
    words = window.view("<u8").reshape(len(window), DESCRIPTOR_WORDS)
    return _one_by_one(words, now, most_rows) if len(words) <= _FEW else _together(words, now, most_rows)


def _one_by_one(words: Array, now: int, most_rows: int) -> Piece:
    """For few requests: they are read at once and looked at in turn, which is quicker than any one array operation."""
    requests = words[:, DEADLINE_WORD : ROWS_WORD + 1].tolist()
    deadline, first, _, rows_and_flags = requests[0]
    piece = single(first, rows_and_flags & ROWS_MASK, rows_and_flags >> FLAGS_SHIFT, deadline, now)
    if piece.action is not Action.ROWS:
        return piece
    rows = piece.rows
    count = 1
    for deadline, position, _, rows_and_flags in requests[1:]:
        total = rows + rows_and_flags  # with any flag, far more than most_rows
        if position != first + rows or 0 < deadline <= now or total > most_rows:
            break
        rows = total
        count += 1
    return Piece(Action.ROWS, count, first, rows)


def _together(words: Array, now: int, most_rows: int) -> Piece:
    """For many requests: a handful of array operations settles the usual case, all of them plain and in time."""
    words = words.copy()  # the front end may set ABANDONED between one look at them and the next
    rows, positions = words[:, ROWS_WORD], words[:, POSITION_WORD]
    special = int(rows.max()) > ROWS_MASK  # a flag
    expired = int((words[:, DEADLINE_WORD] - _ONE).min()) < now  # none (0) wraps around and is the largest there is
    if special or expired:
        return _one_by_one(words, now, most_rows)
    ends = positions + rows
    breaks = ends[:-1] != positions[1:]
    count = int(breaks.argmax()) + 1 if breaks.any() else len(words)
    first = int(positions[0])
    if int(ends[count - 1]) - first > most_rows:
        count = max(1, int(ends[:count].searchsorted(first + most_rows, side="right")))
    return Piece(Action.ROWS, count, first, int(ends[count - 1]) - first)


def plan(windows: Sequence[Array | None], start: int, now: int, most_rows: int) -> list[tuple[int, Piece]]:
    """What runs next of the lanes of one queue: (lane's index, piece), all of them one batch.

    Lanes take turns at being first, by `start`. Pieces of ROWS of several lanes join until `most_rows`; any other piece is
    settled by itself, first come first served. Empty when nothing waits (every window is None).
    """
    chosen: list[tuple[int, Piece]] = []
    room = most_rows
    for step in range(len(windows)):
        index = (start + step) % len(windows)
        window = windows[index]
        if window is None or room <= 0:
            continue
        piece = first_piece(window, now, room)
        if not chosen and piece.action is not Action.ROWS:
            return [(index, piece)]
        if not chosen or (piece.action is Action.ROWS and piece.rows <= room):
            chosen.append((index, piece))
            room -= piece.rows
    return chosen

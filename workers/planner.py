"""The planner of the usual case: rows in columns, taken in the order in which they came. Pure: no lane, no engine, no clock.

A lane's waiting requests are shown as a window of its descriptors, oldest first. A *piece* is a stretch of them whose rows
lie one after the other. What is not usual (tensors that travel packed, a lower priority, a deadline that has passed, a
client that is gone) is left to `workers.backlog`, which looks at each request.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shm.layout import DEADLINE_WORD, DESCRIPTOR_WORDS, ENQUEUED_WORD, POSITION_WORD, ROWS_MASK, ROWS_WORD

Array = npt.NDArray[Any]

_FEW = 32  # requests; measured: where looking at each and array operations cost the same
_ONE = np.uint64(1)


class Piece(NamedTuple):
    """`requests` of them, from the oldest on: `rows` rows of the columns from `row` on."""

    requests: int
    row: int
    rows: int


class Plan(NamedTuple):
    """What a batch could take now: (lane's index, piece), the rows of all, and when the oldest of them came (ns)."""

    pieces: list[tuple[int, Piece]]
    rows: int
    oldest: int
    is_full: bool  # it has all rows that it may have, or the next request does not fit
    is_odd: bool  # a request waits that is not usual


_ODD = Plan([], 0, 0, False, True)


def plan(windows: Sequence[tuple[int, Array]], now: int, most_rows: int) -> Plan:
    """The next batch of one queue: of each window in turn (lane's index, one or more descriptors), as long as there is room.

    Whole requests, none out of its order, no more than `most_rows` rows; a request with more goes by itself.
    """
    pieces: list[tuple[int, Piece]] = []
    total = oldest = 0
    is_full = False
    for lane, window in windows:
        words = window.view("<u8").reshape(len(window), DESCRIPTOR_WORDS)
        few = len(words) <= _FEW
        room = most_rows - total
        found = _one_by_one(words, now, room, not pieces) if few else _together(words, now, room, not pieces)
        if found is None:
            return _ODD
        taken = 0
        for piece in found:
            pieces.append((lane, piece))
            total += piece.rows
            taken += piece.requests
        if found:
            enqueued = int(words[0, ENQUEUED_WORD])
            oldest = min(oldest, enqueued) if oldest else enqueued
        is_full = taken < len(window) or total >= most_rows
        if is_full:
            break
    return Plan(pieces, total, oldest, is_full, False)


def _one_by_one(words: Array, now: int, room: int, is_first: bool) -> list[Piece] | None:
    """For few requests: they are read at once and looked at in turn, which is quicker than any one array operation.

    None where one is not usual; `is_first`: of the batch, so that its first request may have more rows than there is room.
    """
    pieces: list[Piece] = []
    first = rows = count = 0
    for deadline, position, _, more in words[:, DEADLINE_WORD : ROWS_WORD + 1].tolist():
        if more > ROWS_MASK or 0 < deadline <= now:  # a flag
            return None
        if more > room and (count or pieces or not is_first):
            break
        room -= more
        if count and position == first + rows:
            rows += more
            count += 1
            continue
        if count:
            pieces.append(Piece(count, first, rows))
        first, rows, count = position, more, 1
    if count:
        pieces.append(Piece(count, first, rows))
    return pieces


def _together(words: Array, now: int, room: int, is_first: bool) -> list[Piece] | None:
    """The same for many requests, with a handful of array operations."""
    words = words.copy()  # the front end may set a flag between one look at them and the next
    rows, positions = words[:, ROWS_WORD], words[:, POSITION_WORD]
    if int(rows.max()) > ROWS_MASK or int((words[:, DEADLINE_WORD] - _ONE).min()) < now:  # no deadline (0) wraps around
        return None
    ends = positions + rows
    breaks = (ends[:-1] != positions[1:]).nonzero()[0]
    if len(breaks) == 0 and int(ends[-1]) - int(positions[0]) <= room:  # the usual case of it
        first = int(positions[0])
        return [Piece(len(words), first, int(ends[-1]) - first)]
    sums = rows.cumsum()
    count = int(sums.searchsorted(room, side="right"))
    if not count:
        return [Piece(1, int(positions[0]), int(rows[0]))] if is_first else []
    starts = [0, *(breaks[breaks < count - 1] + 1).tolist(), count]
    return [
        Piece(end - start, int(positions[start]), int(ends[end - 1]) - int(positions[start]))
        for start, end in pairwise(starts)
    ]

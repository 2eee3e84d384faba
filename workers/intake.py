"""Requests of a lane as a queue gets to know them one by one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from ringserve.batchable import check_rows
from ringserve.errors import Code, ServingError
from shm.lane import Array
from shm.layout import (
    DEADLINE_WORD,
    DESCRIPTOR_WORDS,
    ENQUEUED_WORD,
    FLAGS_SHIFT,
    LENGTH_WORD,
    LOW,
    PACKED,
    POSITION_WORD,
    ROWS_MASK,
    ROWS_WORD,
)
from shm.packed import PackedTensor
from workers.engine import Form
from workers.limits import Limits
from workers.merge import batch_rows, check_batchable, merge_key
from workers.planner import Piece
from workers.queued_lane import QueuedLane
from workers.waiting import Waiting

assert (ENQUEUED_WORD, DEADLINE_WORD, POSITION_WORD, LENGTH_WORD, ROWS_WORD) == (1, 2, 3, 4, 5)

_ASKED: Final = slice(ENQUEUED_WORD, ROWS_WORD + 1)
_AT_A_TIME: Final = 1024  # requests of a lane that are looked at before others run


class Intake:
    """Of one queue. What can't be run gets its error here, and is left to whoever answers it."""

    def __init__(self, form: Form | None) -> None:
        self._form = form

    def look(self, lane: QueuedLane, limits: Limits, now: int, most: int = _AT_A_TIME) -> list[Waiting]:
        """The lane's waiting requests, all or many of them, from now on known to whoever calls this alone.

        Raises BrokenLaneError for rows outside the columns.
        """
        consumer = lane.consumer
        count = min(consumer.waiting, most)
        if not count:
            return []
        words = _words(consumer.window(count))
        if len(words) < count:  # the slots start over
            words += _words(consumer.window(count - len(words), len(words)))
        key = self._key(limits)
        found: list[Waiting] = []
        for number, (enqueued, deadline, position, _, more) in enumerate(words, consumer.taken):
            rows, flags = more & ROWS_MASK, more >> FLAGS_SHIFT
            # A client of its own lane may write any time; what is from the future would hold up the others.
            request = Waiting(lane, number, None, rows, bool(flags & LOW), min(enqueued, now), deadline)
            if flags & PACKED:
                _look_into(request, limits)
            else:
                piece = Piece(1, position, rows)
                if found and lane.fault(piece):  # those before run first
                    break
                lane.check(piece)
                request.key, request.row = key, position
                if limits.most_request_rows:
                    _check(request, limits)
            found.append(request)
        consumer.look_past(len(found))
        return found

    def _key(self, limits: Limits) -> Hashable:
        """Of requests whose rows have columns: the same as of packed ones of their shapes."""
        if self._form is None or not limits.joins:
            return None
        if limits.pad:
            return tuple((dtype, len(column.shape) + 1) for dtype, column in self._form.inputs)
        return tuple((dtype, column.shape) for dtype, column in self._form.inputs)


def _words(window: Array) -> list[list[int]]:
    """Of each descriptor: when it was enqueued, its deadline, position, length, and rows with flags."""
    words: list[list[int]] = window.view("<u8").reshape(len(window), DESCRIPTOR_WORDS)[:, _ASKED].tolist()
    return words


def _check(request: Waiting, limits: Limits) -> None:
    try:
        check_rows(request.rows, limits.most_request_rows)
    except ServingError as error:
        request.refuse(error)
        request.key = None


def _look_into(request: Waiting, limits: Limits) -> None:
    """Read a packed request's inputs, and learn what it can be merged with."""
    if request.lane.is_local:  # its tensors have to be copied, which is not done for all that wait
        request.rows = 1  # whatever it says
        return
    try:
        tensors = request.tensors = read_inputs(request, limits)
    except ServingError as error:
        request.refuse(error)
        return
    rows = batch_rows(tensors)
    if rows is not None:
        request.rows = rows
        request.nbytes = sum(len(tensor.data) for tensor in tensors)
        request.key = merge_key(tensors, limits)


def read_inputs(request: Waiting, limits: Limits) -> list[PackedTensor]:
    """A packed request's inputs. Raises ServingError for what can't be run."""
    try:
        tensors = request.lane.request(request.number)
    except ValueError as error:
        raise ServingError(Code.INVALID_ARGUMENT, str(error)) from error
    if limits.by_parameters:
        check_batchable(tensors, limits)
    return tensors

"""Writes requests' answers and errors into their lanes. Used from several threads at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from ringserve.errors import Code, ServingError
from shm import packed
from shm.layout import ALIGNMENT
from shm.packed import PackedTensor
from workers.queued_lane import QueuedLane

_WAIT_SECONDS: Final = 2.0  # how long an answer waits for room in a lane before it becomes an error
_MOST_TEXT: Final = 64 << 10  # bytes of an error's text
_TEXT_HEAD: Final = packed.size([PackedTensor(0, (0,), b"")])  # what an answer needs besides its text


def write_answer(lane: QueuedLane, number: int, tensors: Sequence[PackedTensor]) -> None:
    """A packed answer; waits a while for room in the lane. Raises ServingError when there is none."""
    # Nobody waits for a client of its own lane: it would hold up all others.
    give_up = time.monotonic() + (0 if lane.stuck or lane.is_local else _WAIT_SECONDS)
    try:
        while not lane.consumer.answer(number, tensors):
            if time.monotonic() >= give_up:
                lane.stuck = True
                raise ServingError(Code.RESOURCE_EXHAUSTED, "The lane's answers are not being read")
            time.sleep(0.001)  # the front end is a gigabyte of answers behind; it rings nobody when it reads
    except ValueError as error:
        raise ServingError(Code.RESOURCE_EXHAUSTED, str(error)) from error
    lane.stuck = False


def write_error(lane: QueuedLane, number: int, error: ServingError) -> None:
    """The answer is an error: its code, and its text where the lane has room for that."""
    lane.consumer.set_status(number, int(error.code))
    room = lane.consumer.lane.spec.answer_bytes // ALIGNMENT * ALIGNMENT - _TEXT_HEAD
    if room >= 0:
        # Replaced: what is no text in a path, say. Ignored: the half of a character that the cut may leave.
        text = error.message.encode(errors="replace")[: min(room, _MOST_TEXT)].decode(errors="ignore").encode()
        lane.consumer.answer(number, [PackedTensor(0, (len(text),), text)])

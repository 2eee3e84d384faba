"""Waits that end on time: epoll counts in whole milliseconds and rounds up, which would make requests late."""

from __future__ import annotations

import select
from typing import Final

_LONG: Final = 0.002  # s; of a longer wait the last millisecond is left for the next
_LAST: Final = 0.001


def wait(poll: select.epoll, seconds: float) -> list[tuple[int, int]]:
    """As `poll.poll(seconds)`, never longer, at times shorter. Its descriptor has to be below 1024."""
    if seconds >= _LONG:
        return poll.poll(seconds - _LAST)
    found = poll.poll(0)
    if found or not seconds:
        return found
    select.select((poll,), (), (), seconds)
    return poll.poll(0)

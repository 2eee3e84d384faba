"""A limit on the time of a loop that must not look at a clock itself: measured loops wait in plain blocking reads."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raises TimeoutError when the block takes longer. In the main thread only, and not nested."""

    def expire(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"{what} took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

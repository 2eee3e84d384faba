"""Ctrl-C and SIGTERM end a measurement, and leave it the time to put together what there is."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: s; whoever presses again after that wants the end, whatever is lost. Some wrappers send the same signal twice.
GRACE: Final = 8.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruption() -> Iterator[None]:
    """In the block the first of these signals raises KeyboardInterrupt, and no other does for a while. Main thread only."""
    last = -GRACE

    def interrupt(_: int, __: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last > GRACE:
            last = time.monotonic()
            raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)

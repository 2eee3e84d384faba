"""Order of memory accesses between processes, for the cursors of a lane."""

from __future__ import annotations

import platform
import threading

#: x86-64 keeps stores in order with stores and loads with loads, which is all that publishing through a cursor needs:
#: the data first, then the cursor; on the other side the cursor first, then the data.
ORDERED = platform.machine() in ("x86_64", "AMD64", "i686")

_lock = threading.Lock()


def fence() -> None:
    """Where the processor may reorder (aarch64), giving back a lock and then taking one is a barrier both ways.

    In this order: accesses may move into a locked stretch from either side, and pass each other there.
    """
    if not ORDERED:
        for _ in range(2):
            _lock.acquire()
            _lock.release()

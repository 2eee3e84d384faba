"""Where two processes that wake each other run.

Left alone, the kernel puts them on one CPU in one run and on two in the next, and a wake-up across CPUs takes several times
as long (7 and 50 us there and back were seen). A floor compares only with what is placed as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def apart(*others: int) -> Iterator[None]:
    """This process on one CPU, with all its threads the `others` on another, until the end of the block.

    On a machine with a single CPU nothing is moved.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        yield
        return
    os.sched_setaffinity(0, cpus[:1])
    for pid in others:
        _move(pid, cpus[1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def _move(pid: int, cpu: int) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), [cpu])

"""The process's heap, as far as the system sees it."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from ringserve.options import schedulable_cpus

_M_TRIM_THRESHOLD: Final = -1  # of mallopt, like the next two
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_CPUS_AN_ARENA: Final = 4
_FEWEST_ARENAS: Final = 2


def keep_together() -> None:
    """Let glibc's malloc use few arenas; to be called before there are threads. MALLOC_ARENA_MAX, where set, stands.

    By default there may be eight a processor, and a version's memory lies scattered over those of the threads that loaded
    it: over 100 reloads of a 15 MB model the process grew by 100 MB, and with two arenas by 2.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and "MALLOC_ARENA_MAX" not in os.environ:
        libc.mallopt(_M_ARENA_MAX, max(_FEWEST_ARENAS, schedulable_cpus() // _CPUS_AN_ARENA))


def keep_freed(most_bytes: int, largest_block: int) -> None:
    """Let malloc keep so much freed memory for its next blocks, also of large ones up to `largest_block` (at most 32 MiB).

    By default a block of several MB comes from the system with each request, page by page and zeroed, and goes back: a third
    of the time that a front end needs for a request and an answer of 12 MB. `give_memory_back` returns what was kept.
    MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_, where set, stand.
    """
    libc = ctypes.CDLL(None)
    for option, variable, value in (
        (_M_TRIM_THRESHOLD, "MALLOC_TRIM_THRESHOLD_", most_bytes),
        (_M_MMAP_THRESHOLD, "MALLOC_MMAP_THRESHOLD_", largest_block),
    ):
        if hasattr(libc, "mallopt") and variable not in os.environ:
            libc.mallopt(option, value)


def give_memory_back() -> None:
    """Freed heap pages go back to the system: glibc keeps them otherwise."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)

"""The process's heap, as far as the system sees it."""

from __future__ import annotations

import ctypes


def give_memory_back() -> None:
    """Freed heap pages go back to the system: glibc keeps them otherwise."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)

"""How soon the kernel runs a thread that wakes up on a busy machine."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

_SHORT_NS: Final = 500_000  # shorter than Linux's own 1.4 ms and more, and longer than a request keeps a thread busy
_LONG_NS: Final = 50_000_000
_NUMBERS: Final = {"x86_64": 314, "aarch64": 274}  # of the system call sched_setattr


class _SchedAttr(ctypes.Structure):
    """struct sched_attr, its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def wake_promptly() -> bool:
    """Let the calling thread, and those it starts, run at once when they wake, instead of when somebody's slice ends.

    By asking for short slices, which needs no privilege and takes nobody's share of the processor. Linux 6.12 and newer
    know this; says whether the kernel took it, which older ones do without any effect.
    """
    return _take_slices(_SHORT_NS)


def give_way() -> bool:
    """Let whatever wakes interrupt the calling thread, and those it starts, which have much to compute; by long slices."""
    return _take_slices(_LONG_NS)


def _take_slices(length: int) -> bool:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _SchedAttr(ctypes.sizeof(_SchedAttr), os.SCHED_OTHER, 0, nice, 0, length, 0, 0)
    failed: int = ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attributes), 0)
    return not failed

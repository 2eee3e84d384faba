"""Which threads the kernel interrupts for others on a busy machine."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

_LONG_NS: Final = 50_000_000  # Linux's own slices are some milliseconds
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


def give_way() -> bool:
    """Let whatever wakes interrupt the calling thread, and those it starts, which have much to compute.

    By asking for long slices, which needs no privilege and gives up no share of the processor. Linux 6.12 and newer know
    this; says whether the kernel took it, which older ones do without any effect.
    """
    number = _NUMBERS.get(platform.machine())
    if number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _SchedAttr(ctypes.sizeof(_SchedAttr), os.SCHED_OTHER, 0, nice, 0, _LONG_NS, 0, 0)
    failed: int = ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attributes), 0)
    return not failed

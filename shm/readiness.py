"""Waiting for a descriptor with a time limit of less than a millisecond, which Python's own calls round up."""

from __future__ import annotations

import ctypes
import os
from errno import EINTR
from typing import Final

_POLLIN: Final = 1


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_ppoll: Final = ctypes.CDLL(None, use_errno=True).ppoll
_ppoll.argtypes = (ctypes.POINTER(_PollFd), ctypes.c_ulong, ctypes.POINTER(_Timespec), ctypes.c_void_p)


def wait_readable(fd: int, seconds: float) -> bool:
    """Sleep until `fd` can be read, at most so long; says whether it can. A signal's handler may end it early."""
    whole = int(max(seconds, 0.0))
    limit = _Timespec(whole, int((max(seconds, 0.0) - whole) * 1e9))
    polled = _PollFd(fd, _POLLIN, 0)
    found: int = _ppoll(ctypes.byref(polled), 1, ctypes.byref(limit), None)
    if found < 0 and (error := ctypes.get_errno()) != EINTR:
        raise OSError(error, os.strerror(error))
    return found > 0

"""The memory that inputs lie in, as TensorFlow sees it: borrowed from a lane, or private where it may be kept.

A run usually lets go of its inputs when it ends, so they are lent to it where they lie. But a graph may keep one: an
assignment makes the fed tensor's buffer the variable's own, a queue or a stack holds on to it. For those the input must be a
copy that nobody else writes to, and that lives until TensorFlow lets go of it. A signature that changes state is given
copies always; which of the others keep their inputs is found out by lending copies to their first run.
"""

from __future__ import annotations

import ctypes as c
import itertools
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shm.layout import ALIGNMENT
from workers.tf.capi import tensorflow

Array = npt.NDArray[Any]

_LATE_SECONDS: Final = 0.1

_numbers = itertools.count(1)
_lent: dict[int, Any] = {}  # what TensorFlow holds, by number


def _let_go(_: int, __: int, number: int) -> None:
    """What TensorFlow calls when it needs a copy no more, from any of its threads."""
    _lent.pop(number, None)


_CALLBACK: Final = c.CFUNCTYPE(None, c.c_void_p, c.c_size_t, c.c_void_p)(_let_go)
_LET_GO: Final = c.cast(_CALLBACK, c.c_void_p)


def lend_copy(dtype: int, dims: int, rank: int, data: Array, beside: Any = None) -> tuple[Any, int]:
    """A TF_Tensor over a private copy of these bytes, and a number for `is_held`.

    `dims`: the address of the dimensions; `beside`: what the bytes point to, if they do (the text of strings). Both
    copies live until TensorFlow lets go.
    """
    number = next(_numbers)
    copy = np.empty(data.nbytes + ALIGNMENT, dtype=np.uint8)
    # Aligned: otherwise TensorFlow makes its own copy at once, and nothing is learnt about this one.
    skip = -copy.__array_interface__["data"][0] % ALIGNMENT
    copy[skip : skip + data.nbytes] = data.reshape(-1).view(np.uint8)
    _lent[number] = (copy, beside)
    address = copy.__array_interface__["data"][0] + skip
    return tensorflow().NewTensor(dtype, dims, rank, address, data.nbytes, _LET_GO, number), number


def are_held(numbers: Sequence[int]) -> bool:
    """Does TensorFlow hold one of these copies, also a moment after the run? Its threads may be a little late."""
    give_up = time.monotonic() + _LATE_SECONDS
    while any(number in _lent for number in numbers):
        if time.monotonic() > give_up:
            return True
        time.sleep(0.001)
    return False

"""Do requests get the same answers alone and together? Found out by running them both ways."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.tensor import dtype_of
from shm.packed import PackedTensor
from workers.engine import LoadedVersion
from workers.merge import as_array, batch_rows, have_rows, merged

Array = npt.NDArray[Any]
Request = Sequence[PackedTensor]

SAME: Final = "rows run alone and together gave the same answers"
NO_ROWS: Final = "an output's first dimension is not the batch"
DIFFERENT: Final = "a row's answer differs when another row is in its batch"


@dataclass(frozen=True, slots=True)
class Agreement:
    """`difference`: "" where the answers are the same. Seconds: of the last request alone, and of all together."""

    difference: str
    has_rows: bool
    seconds: float
    together_seconds: float


def compare(version: LoadedVersion, signature: str, requests: Sequence[Request], order: Sequence[int]) -> Agreement:
    """Run each request alone, and then all as one batch in this order, in which some may be several times.

    They can be merged: see `workers.merge.merge_key`. Raises ServingError when a run fails.
    """
    alone: list[list[Array]] = []
    seconds = 0.0
    for request in requests:
        seconds, outputs = _run(version, signature, request)
        if not have_rows(outputs, batch_rows(request) or 0):
            return Agreement(NO_ROWS, False, seconds, 0.0)
        alone.append([as_array(output) for output in outputs])
    together = [
        merged([as_array(requests[index][number]) for index in order], tensor.dtype)
        for number, tensor in enumerate(requests[0])
    ]
    together_seconds, outputs = _run(version, signature, together)
    if not have_rows(outputs, batch_rows(together) or 0):
        return Agreement(NO_ROWS, False, seconds, together_seconds)
    for number, output in enumerate(outputs):
        joined, first = as_array(output), 0
        for index in order:
            one = alone[index][number]
            rows = joined[first : first + len(one)]
            first += len(one)
            if rows.shape != one.shape or not same_values(output.dtype, one, rows):
                return Agreement(DIFFERENT, True, seconds, together_seconds)
    return Agreement("", True, seconds, together_seconds)


def _run(version: LoadedVersion, signature: str, request: Request) -> tuple[float, list[PackedTensor]]:
    began = time.perf_counter()
    with version.run(signature, request, False) as outputs:
        seconds = time.perf_counter() - began
        return seconds, [PackedTensor(dtype, shape, bytes(data)) for dtype, shape, data in outputs]


def same_values(number: int, left: Array, right: Array) -> bool:
    """Of two arrays of one shape and of TensorFlow's type `number`.

    Joined rows may be summed in another order: the last bits may differ, not more.
    """
    if dtype_of(number).name == "bfloat16":
        left, right = (np.asarray(side, dtype="<u4") << 16 for side in (left, right))
        left, right = left.view("<f4"), right.view("<f4")
    if left.dtype.kind not in "fc":
        return bool(np.array_equal(left, right))
    loose = 1e-2 if left.dtype.itemsize <= 2 or dtype_of(number).name == "bfloat16" else 1e-4
    return bool(np.allclose(left, right, rtol=loose, atol=loose * 1e-2, equal_nan=True))

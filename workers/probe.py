"""What a signature does with rows of one form, found out by running it: its outputs, whether rows may join, how fast.

Two synthetic rows are run alone and together. Where each row's answer is the same both ways, the signature is proven to
treat rows one by one, and requests may be joined. Otherwise they are not, and the reason is kept. A signature that changes
the model's state is never run: what it makes of synthetic rows would stay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.errors import ServingError
from ringserve.tensor import dtype_of
from shm.layout import Column
from shm.packed import PackedTensor
from workers.engine import Form, LoadedVersion
from workers.row_agreement import DIFFERENT, SAME, same_values

Array = npt.NDArray[Any]
Inputs = Sequence[tuple[int, Column]]

#: Why a signature is not run on synthetic rows.
CHANGES_STATE: Final = "it changes the model's state"

# The synthetic rows in the batch: in neither order, not the same backwards and one of them several times, so that a sort,
# a reversal, a running maximum or a set of the rows does not look like a function of each row.
ORDER: Final = (1, 0, 1, 1)
_TIMED_RUNS: Final = 5
_SLOW_SECONDS: Final = 0.02  # a model that takes longer gains nothing from the calling thread, and is not timed further
_MOST_ROWS: Final = 1024
_MOST_BYTES: Final = 64 << 20
_LEAST_SHARE: Final = 64  # rows beyond the first cost at least 1/64 of the first


@dataclass(frozen=True, slots=True)
class Report:
    """What the probe found. Without `form` requests of this kind travel packed."""

    form: Form | None
    batched: bool
    reason: str
    inline: bool = True
    seconds: float = 0.0  # one row, alone; 0: not known
    most_rows: int = 1  # of a batch, that are not too many for the memory
    each: float = 0.0  # seconds that one more row takes, together with others
    has_rows: bool = True  # the outputs' first dimension is the batch, as far as is known


def probe(version: LoadedVersion, signature: str, inputs: Inputs) -> Report:
    """Run the signature on synthetic rows of these inputs. Never raises for what the model does."""
    if version.changes_state(signature):
        return Report(None, False, CHANGES_STATE)
    if not inputs:
        return Report(None, False, "it has no inputs")
    rows = [synthetic_rows(inputs, first, 1) for first in (0, 1)]
    batch = [np.concatenate([pair[row] for row in ORDER]) for pair in zip(*rows, strict=True)]
    try:
        warm_up, _ = _run(version, signature, inputs, rows[0])
        second, seconds = _run(version, signature, inputs, rows[1])
        alone = [warm_up, second]
        together, batch_seconds = _run(version, signature, inputs, batch)
        columns = _columns(alone, together)
        if columns is None:
            return Report(None, False, "an output's first dimension is not the batch, or its rows have no fixed size")
        form = Form(tuple(inputs), columns)
        inline = False
        if seconds < _SLOW_SECONDS:
            inline, seconds = _time(version, signature, form, rows[0])
            _, batch_seconds = _time(version, signature, form, batch)
        reason = _difference(alone, together)
        if reason:
            return Report(form, False, reason, inline, seconds)
    except ServingError as error:
        text = (error.message or error.code.name).splitlines()[0]
        return Report(None, False, f"a run on synthetic rows failed: {text}")
    more = max((batch_seconds - seconds) / (len(ORDER) - 1), seconds / _LEAST_SHARE, 1e-9)
    row_bytes = sum(column.row_bytes for _, column in (*form.inputs, *form.outputs))
    most_rows = int(min(_MOST_BYTES / max(row_bytes, 1), _MOST_ROWS))
    return Report(form, True, SAME, inline, seconds, max(most_rows, 1), more)


def synthetic_rows(inputs: Inputs, first: int, count: int) -> list[Array]:
    """Synthetic rows: small numbers, different in each row and along it; whole numbers only 0 and 1, as an index may be."""
    arrays = []
    for number, column in inputs:
        size = int(np.prod(column.shape, dtype=np.int64))
        steps = np.arange(first * size, (first + count) * size).reshape((count, *column.shape))
        row = np.arange(first, first + count).reshape((count, *[1] * len(column.shape)))
        kind = np.dtype(column.dtype).kind
        if dtype_of(number).name == "bfloat16":
            values = ((0.25 + row + steps % 7 / 8).astype("<f4").view("<u4") >> 16).astype("<u2")
        elif kind in "fc":
            values = 0.25 + row + steps % 7 / 8
        else:
            values = np.broadcast_to(row % 2, steps.shape)
        arrays.append(np.ascontiguousarray(values, dtype=column.dtype))
    return arrays


def packed_rows(inputs: Inputs, arrays: Sequence[Array]) -> list[PackedTensor]:
    return [
        PackedTensor(number, array.shape, array.reshape(-1).view(np.uint8).data)
        for (number, _), array in zip(inputs, arrays, strict=True)
    ]


def _run(
    version: LoadedVersion, signature: str, inputs: Inputs, arrays: Sequence[Array]
) -> tuple[list[tuple[int, Array]], float]:
    """The outputs, as (dtype number, array), and the seconds it took."""
    began = time.perf_counter()
    with version.run(signature, packed_rows(inputs, arrays), False) as answers:
        seconds = time.perf_counter() - began
        return [(answer.dtype, _array(answer)) for answer in answers], seconds


def _array(tensor: PackedTensor) -> Array:
    storage = dtype_of(tensor.dtype).numpy
    if not storage:
        return np.empty((0,), dtype=np.uint8)  # strings: no column, whatever they are
    return np.frombuffer(tensor.data, dtype=storage).reshape(tensor.shape).copy()


def _columns(
    alone: Sequence[Sequence[tuple[int, Array]]], together: Sequence[tuple[int, Array]]
) -> tuple[tuple[int, Column], ...] | None:
    """The outputs as columns, or None where one is not."""
    columns = []
    for index, (number, joined) in enumerate(together):
        row = joined.shape[1:]
        if not dtype_of(number).numpy or not joined.size or joined.shape[:1] != (len(ORDER),):
            return None
        if any(answers[index][1].shape != (1, *row) for answers in alone):
            return None
        columns.append((number, Column(dtype_of(number).numpy, row)))
    return tuple(columns)


def _difference(alone: Sequence[Sequence[tuple[int, Array]]], together: Sequence[tuple[int, Array]]) -> str:
    """Why rows may not share a batch, "" if they may."""
    for index, (number, joined) in enumerate(together):
        for place, row in enumerate(ORDER):
            if not same_values(number, alone[row][index][1][0], joined[place]):
                return DIFFERENT
    return ""


def _time(version: LoadedVersion, signature: str, form: Form, arrays: Sequence[Array]) -> tuple[bool, float]:
    """(run in the calling thread?, seconds of a run): whichever of the two ways is quicker here."""
    rows = len(arrays[0])
    outputs = [np.empty((rows, *column.shape), dtype=column.dtype) for _, column in form.outputs]
    sources, targets = ([a.__array_interface__["data"][0] for a in group] for group in (arrays, outputs))
    best = {}
    for inline in (True, False):
        function = version.row_function(signature, form, inline)
        taken: list[float] = []
        while len(taken) <= _TIMED_RUNS:
            began = time.perf_counter()
            function.run(rows, sources, [(rows, targets)])
            taken.append(time.perf_counter() - began)
        best[inline] = min(taken[1:])
    inline = best[True] <= best[False]
    return inline, best[inline]

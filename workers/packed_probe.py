"""What a signature does with requests that travel packed: strings, and rows whose size it leaves open.

As `workers.probe` does for rows of a fixed size, made-up requests are run alone and together; where a version brings
recorded requests along, those.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ringserve.errors import ServingError
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import STRING
from shm.layout import Column
from shm.packed import PackedTensor, pack_strings
from workers.engine import LoadedVersion
from workers.limits import Limits
from workers.merge import merge_key
from workers.probe import CHANGES_STATE, ORDER, Report, packed_rows, synthetic_rows
from workers.recorded_requests import RecordedRequests
from workers.row_agreement import SAME, Request, compare

NOT_MADE_UP: Final = "no rows can be made up for it, and none were recorded that would tell"
SAME_RECORDED: Final = "recorded requests run alone and together got the same answers"

#: The methods whose signatures take tf.Examples, of which no model can make anything that were made up.
OF_EXAMPLES: Final = (CLASSIFY, REGRESS)

_OPEN_DIM: Final = 2  # made-up size of what a signature leaves open
_TEXTS: Final = (b"a", b"b c")  # of different lengths: who fills up to the longest of a batch is found out
_MOST_ROWS: Final = 1024
_MOST_ELEMENTS: Final = 1 << 20  # of a made-up request
_TIMED_RUNS: Final = 3
_MOST_RECORDED: Final = 4


def probe_packed(version: LoadedVersion, signature: Signature, recorded: Sequence[Request]) -> Report:
    """Never raises for what the model does. `recorded`: requests that the version was warmed up with."""
    if version.changes_state(signature.name):
        return Report(None, False, CHANGES_STATE)
    if not signature.inputs:
        return Report(None, False, "it has no inputs")
    if not has_open_rows(signature):
        return Report(None, False, "an input's first dimension is not unknown", has_rows=False)
    requests = joinable(recorded)
    if len(requests) > 1:
        return _tried(version, signature.name, requests, range(len(requests)), "recorded")
    requests = [] if signature.method in OF_EXAMPLES else _made_up(signature)
    if not requests:
        return Report(None, False, NOT_MADE_UP)
    return _tried(version, signature.name, requests, ORDER, "synthetic")


def _tried(version: LoadedVersion, signature: str, requests: Sequence[Request], order: Sequence[int], what: str) -> Report:
    try:
        found = compare(version, signature, requests, order)
        if found.difference:
            return Report(None, False, found.difference, seconds=found.seconds, has_rows=found.has_rows)
        inline, seconds = _time(version, signature, requests[-1])
    except ServingError as error:
        text = (error.message or error.code.name).splitlines()[0]
        return Report(None, False, f"a run on {what} rows failed: {text}")
    each = max((found.together_seconds - found.seconds) / (len(order) - 1), seconds / 64, 1e-9)
    reason = SAME if what == "synthetic" else SAME_RECORDED
    return Report(None, True, reason, inline, seconds, _MOST_ROWS, min(each, seconds))


def has_open_rows(signature: Signature) -> bool:
    """May each input's first dimension be the batch, as it is declared?"""
    return all(spec.shape is None or spec.shape[:1] == (-1,) for spec in signature.inputs)


def confirmed(report: Report, version: LoadedVersion, signature: str, recorded: RecordedRequests) -> Report:
    """The report of made-up rows, or that they may not be joined after all: recorded requests may tell more."""
    requests = joinable(recorded.of(signature))
    if not report.batched or len(requests) < 2:
        return report
    try:
        difference = compare(version, signature, requests, range(len(requests))).difference
    except ServingError as error:
        difference = (error.message or error.code.name).splitlines()[0]
    return replace(report, batched=False, reason=f"of recorded requests, {difference}") if difference else report


def joinable(recorded: Sequence[Request]) -> list[Request]:
    """The first few recorded requests that are unlike each other and can be merged."""
    groups: dict[object, list[Request]] = {}
    for request in recorded:
        key = merge_key(request, Limits(most_rows=_MOST_ROWS))
        group = groups.setdefault(key, [])
        if key is not None and len(group) < _MOST_RECORDED and all(not _equal(request, other) for other in group):
            group.append(request)
    return max(groups.values(), key=len, default=[])


def _equal(left: Request, right: Request) -> bool:
    return all(bytes(a.data) == bytes(b.data) and a.shape == b.shape for a, b in zip(left, right, strict=True))


def _made_up(signature: Signature) -> list[Request]:
    """Two requests of a row each; none where that can't be."""
    rows = [[_tensor(spec, row) for spec in signature.inputs] for row in range(2)]
    if any(tensor is None for row in rows for tensor in row):
        return []
    return [[tensor for tensor in row if tensor is not None] for row in rows]


def _tensor(spec: TensorSpec, row: int) -> PackedTensor | None:
    shape = tuple(_OPEN_DIM if dim < 0 else dim for dim in (spec.shape or ())[1:])
    count = math.prod(shape)
    if count > _MOST_ELEMENTS or not (spec.dtype.numpy or spec.dtype is STRING):
        return None
    if spec.dtype is STRING:
        return PackedTensor(STRING.number, (1, *shape), pack_strings([_TEXTS[row]] * count))
    inputs = [(spec.dtype.number, Column(spec.dtype.numpy, shape))]
    (tensor,) = packed_rows(inputs, synthetic_rows(inputs, row, 1))
    return tensor


def _time(version: LoadedVersion, signature: str, request: Request) -> tuple[bool, float]:
    """(run in the calling thread?, seconds of a run): whichever of the two ways is quicker here."""
    best = {}
    for inline in (True, False):
        taken = []
        for _ in range(_TIMED_RUNS):
            began = time.perf_counter()
            with version.run(signature, request, inline):
                taken.append(time.perf_counter() - began)
        best[inline] = float(np.min(taken))
    inline = best[True] <= best[False]
    return inline, best[inline]

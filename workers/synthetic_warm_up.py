"""Warm-up of a version that brings no requests: made-up ones, at the batch sizes that the server will run.

The first run of a signature, and of each batch size, is where TensorFlow prunes the graph, compiles kernels and finds its
memory; a client should not have to wait for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import STRING
from shm.layout import Column
from shm.packed import PackedTensor, pack_strings
from workers.engine import LoadedVersion
from workers.limits import Limits
from workers.packed_probe import OF_EXAMPLES
from workers.probe import CHANGES_STATE, Report, packed_rows, synthetic_rows

#: No run begins later than this many seconds after the first.
BUDGET_SECONDS: Final = 3.0

_MOST_ELEMENTS: Final = 1 << 22  # of one made-up tensor
_MOST_BYTES: Final = 256 << 20  # of a made-up batch
_INTERNAL: Final = "__saved_model"  # TensorFlow's own: __saved_model_init_op, __saved_model_train_op


class SyntheticWarmUp:
    """One version's. Nothing that goes wrong here fails the load: a made-up row need not make sense to the model."""

    def __init__(
        self,
        version: LoadedVersion,
        plan: Callable[[str], tuple[Report, Limits]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`plan`: the probe's report of a signature, and the limits of its batches."""
        self._version = version
        self._plan = plan
        self._clock = clock
        self._end = clock() + BUDGET_SECONDS
        self.requests = 0  #: runs of this warm-up, those of the probe not counted
        self.notes: list[str] = []  #: what could not be run, and why

    def run(self) -> None:
        """All signatures, the default one first, within the budget."""
        names = [name for name in self._version.signatures if not name.startswith(_INTERNAL)]
        names.sort(key=lambda name: name != DEFAULT_SIGNATURE)
        for index, name in enumerate(names):
            if self._is_over():
                self.notes.append(f"stopped after {BUDGET_SECONDS:g} s, before signatures {', '.join(names[index:])}")
                return
            try:
                self._run_signature(name)
            except ServingError as error:
                text = (error.message or error.code.name).splitlines()[0]
                self.notes.append(f"signature {name}: {text}")

    def _run_signature(self, name: str) -> None:
        if self._version.changes_state(name):
            self.notes.append(f"signature {name}: left out, as {CHANGES_STATE}")
            return
        report, limits = self._plan(name)
        if report.form is None and self._version.signatures[name].method in OF_EXAMPLES:
            self.notes.append(f"signature {name}: left out, as it takes tf.Examples, which can't be made up")
        elif report.form is None:
            tensors = _synthetic_request(self._version.signatures[name])
            self.requests += 1
            with self._version.run(name, tensors, False):
                pass
        elif limits.joins:
            self._run_sizes(name, report, limits)

    def _run_sizes(self, name: str, report: Report, limits: Limits) -> None:
        """Batches of the sizes that are allowed, or of 1, 2, 4, … rows and of the most; a signature that is not batched has
        been run by the probe.
        """
        assert report.form is not None
        function = self._version.row_function(name, report.form, report.inline)
        sizes = limits.sizes or batch_sizes(limits.most_rows)
        row_bytes = sum(column.row_bytes for _, column in (*report.form.inputs, *report.form.outputs))
        sizes = [size for size in sizes if size * row_bytes <= _MOST_BYTES] or [1]
        most = max(sizes)
        inputs = [np.repeat(row, most, axis=0) for row in synthetic_rows(report.form.inputs, 0, 1)]
        outputs = [np.empty((most, *column.shape), dtype=column.dtype) for _, column in report.form.outputs]
        sources, targets = ([array.__array_interface__["data"][0] for array in group] for group in (inputs, outputs))
        for rows in sizes:
            if self._is_over():
                self.notes.append(f"signature {name}: stopped after {BUDGET_SECONDS:g} s, before batches of {rows} rows")
                return
            self.requests += 1
            if not function.run(rows, sources, [(rows, targets)]):
                self.notes.append(f"signature {name}: the answers to {rows} rows have another shape than those to one")
                return

    def _is_over(self) -> bool:
        return self._clock() >= self._end


def batch_sizes(most: int) -> list[int]:
    """1, 2, 4, … below `most`, and `most`."""
    return [1 << power for power in range((most - 1).bit_length())] + [most]


def _synthetic_request(signature: Signature) -> list[PackedTensor]:
    """The smallest request that fits the declaration: unknown dimensions are 1, strings empty. Raises ServingError."""
    return [_synthetic_tensor(spec) for spec in signature.inputs]


def _synthetic_tensor(spec: TensorSpec) -> PackedTensor:
    shape = (1,) if spec.shape is None else tuple(1 if dim < 0 else dim for dim in spec.shape)
    if not spec.dtype.numpy and spec.dtype is not STRING:
        raise ServingError(Code.UNIMPLEMENTED, f"no {spec.dtype.name} can be made up for input {spec.alias}")
    count = math.prod(shape)
    if count > _MOST_ELEMENTS:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"{list(shape)} is too large to make up input {spec.alias}")
    if spec.dtype is STRING:
        return PackedTensor(STRING.number, shape, pack_strings([b""] * count))
    inputs = [(spec.dtype.number, Column(spec.dtype.numpy, shape))]
    (tensor,) = packed_rows(inputs, synthetic_rows(inputs, 0, 1))
    return PackedTensor(tensor.dtype, shape, tensor.data)

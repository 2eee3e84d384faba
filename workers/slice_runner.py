"""Runs batches of requests that are known one by one: merged where they can be, apart where one of them spoils it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError
from shm.packed import PackedTensor
from workers.answer_writer import write_answer, write_error
from workers.batch import Batch
from workers.engine import LoadedVersion
from workers.intake import read_inputs
from workers.limits import Limits
from workers.merge import as_array, have_rows, merged, put_together, rows_of
from workers.probe import Report
from workers.waiting import Slice, Waiting

Array = npt.NDArray[Any]

_logger = logging.getLogger(__name__)

_NO_ROWS: Final = (
    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors"
)


class SliceRunner:
    """Used from several threads at once, a request by one at a time, but for those that run in parts."""

    def __init__(self, version: LoadedVersion, signature: str, report: Report) -> None:
        self._version = version
        self._signature = signature
        self._form = report.form
        self._inline = report.inline

    def run(self, batch: Batch, limits: Limits) -> None:
        """Every request of the batch that is in it as a whole has its answer, or its error, when this returns."""
        slices = batch.slices
        if len(slices) == 1 and slices[0].is_whole and batch.executed == batch.rows:
            request = slices[0].request
            self._alone(request, limits)
            if batch.rows and request.row < 0 and request.lane.is_local:  # only now it is known
                batch.rows = batch.executed = max(request.lane.consumer.describe(request.number)[2], 1)
            return
        try:
            if self._merged(slices, batch, limits):
                return
            batch.has_rows = False
        except Exception as error:
            if len(slices) == 1 and not slices[0].is_whole:
                self._blame(slices[0].request, error)
                return
        batch.is_retried = True
        self.apart(slices, batch, limits)

    def apart(self, slices: Sequence[Slice], batch: Batch, limits: Limits) -> None:
        """Run requests that failed together: by halves, so that a few guilty ones are found in a few runs; each by itself
        where the outputs are no rows of theirs. The innocent get their answers.
        """
        if len(slices) == 1:
            self._part(slices[0], batch, limits)
            return
        middle = len(slices) // 2
        for half in (slices[:middle], slices[middle:]):
            try:
                if batch.has_rows and len(half) > 1 and self._merged(half, batch, limits):
                    continue
            except Exception as error:  # whose fault it is shows when it runs by itself
                _logger.debug("a part of a batch of %s failed: %s", self._signature, error)
            self.apart(half, batch, limits)

    def _part(self, part: Slice, batch: Batch, limits: Limits) -> None:
        if part.is_whole:
            self._alone(part.request, limits)
            return
        try:
            if not self._merged([part], batch, limits):
                self._blame(part.request, ServingError(Code.FAILED_PRECONDITION, _NO_ROWS))
        except Exception as error:
            self._blame(part.request, error)

    def _blame(self, request: Waiting, error: Exception) -> None:
        """Of a request's parts the first one that fails has its say."""
        if request.error is None:
            request.refuse(self._as_answer(error))

    def _as_answer(self, error: Exception) -> ServingError:
        if isinstance(error, ServingError):
            return error
        _logger.error("a request of %s failed in a way it never should", self._signature, exc_info=error)
        return ServingError(Code.INTERNAL, f"worker error: {error}")

    def _merged(self, slices: Sequence[Slice], batch: Batch, limits: Limits) -> bool:
        """False when the outputs are not as many rows as were run. Raises ServingError, nothing being answered then."""
        began = time.monotonic_ns()
        rows = sum(part.rows for part in slices)
        more = limits.executed(rows) - rows
        arrays = [self._arrays(part) for part in slices]
        dtypes = self._dtypes(slices[0].request)
        tensors = [
            merged(column, dtype, more, limits.pad) for column, dtype in zip(zip(*arrays, strict=True), dtypes, strict=True)
        ]
        running = time.monotonic_ns()
        with self._version.run(self._signature, tensors, self._inline) as outputs:
            ran = time.monotonic_ns()
            if not have_rows(outputs, rows + more):
                return False
            first = 0
            for part in slices:
                self._deliver(part, [rows_of(output, first, part.rows) for output in outputs])
                first += part.rows
        batch.aside += running - began + time.monotonic_ns() - ran
        return True

    def _arrays(self, part: Slice) -> list[Array]:
        """The rows of a slice, for each input: views, but of a local client's copies, made once."""
        request, end = part.request, part.first + part.rows
        if request.tensors is None and request.lane.is_local:
            request.tensors = self._column_tensors(request)
        if request.tensors is not None:
            return [as_array(tensor)[part.first : end] for tensor in request.tensors]
        columns = request.lane.consumer.lane.inputs
        return [column[request.row + part.first : request.row + end] for column in columns]

    def _dtypes(self, request: Waiting) -> list[int]:
        if request.tensors is not None:
            return [tensor.dtype for tensor in request.tensors]
        assert self._form is not None
        return [dtype for dtype, _ in self._form.inputs]

    def _column_tensors(self, request: Waiting) -> list[PackedTensor]:
        assert self._form is not None
        return [
            PackedTensor(dtype, (request.rows, *column.shape), data)
            for (dtype, column), data in zip(self._form.inputs, request.lane.rows_of(request.number), strict=True)
        ]

    def _deliver(self, part: Slice, outputs: Sequence[PackedTensor]) -> None:
        """The outputs of a slice, whose memory ends with the run's."""
        request = part.request
        if request.row >= 0 and self._write_rows(part, outputs):
            request.answers[part.first] = ()
        elif part.is_whole:
            self._answer(request, outputs)
        else:
            request.answers[part.first] = [PackedTensor(dtype, shape, bytes(data)) for dtype, shape, data in outputs]

    def _write_rows(self, part: Slice, outputs: Sequence[PackedTensor]) -> bool:
        """To the lane's columns, where they are as these say."""
        form, request = self._form, part.request
        if form is None or len(outputs) != len(form.outputs):
            return False
        for (dtype, column), output in zip(form.outputs, outputs, strict=True):
            if output.dtype != dtype or output.shape[1:] != column.shape:
                return False
        row = request.row + part.first
        for target, output in zip(request.lane.consumer.lane.outputs, outputs, strict=True):
            target[row : row + part.rows] = np.frombuffer(output.data, dtype=target.dtype).reshape(output.shape)
        return True

    def _alone(self, request: Waiting, limits: Limits) -> None:
        """One request by itself, whatever it is: its outputs may have any shape."""
        if request.error is not None:
            write_error(request.lane, request.number, request.error)
            return
        try:
            if request.tensors is None:
                request.tensors = read_inputs(request, limits) if request.row < 0 else self._column_tensors(request)
            with self._version.run(self._signature, request.tensors, self._inline) as outputs:
                fits = request.row >= 0 and have_rows(outputs, request.rows)
                if not (fits and self._write_rows(Slice(request, 0, request.rows), outputs)):
                    self._answer(request, outputs)
        except Exception as error:
            write_error(request.lane, request.number, self._as_answer(error))

    @staticmethod
    def _answer(request: Waiting, outputs: Sequence[PackedTensor]) -> None:
        try:
            write_answer(request.lane, request.number, outputs)
        except ServingError as error:
            write_error(request.lane, request.number, error)

    def conclude(self, request: Waiting) -> None:
        """All parts of a request that ran in parts have ended: write its answer."""
        parts = [request.answers[first] for first in sorted(request.answers)]
        if request.error is None and all(parts):
            whole = [put_together(outputs) for outputs in zip(*parts, strict=True)]
            if None in whole:
                request.error = ServingError(
                    Code.INTERNAL, "Tensor split operation failed: parts of one request have outputs of different shapes"
                )
            else:
                self._answer(request, [tensor for tensor in whole if tensor is not None])
        elif request.error is None and any(parts):
            request.error = ServingError(
                Code.INTERNAL, "Tensor split operation failed: only parts of it are rows of the lane's columns"
            )
        if request.error is not None:
            write_error(request.lane, request.number, request.error)

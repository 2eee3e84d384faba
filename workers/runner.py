"""Runs a batch of a queue and writes every request's answer, whatever happens. Used from several threads at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ringserve.errors import Code, ServingError
from workers.answer_writer import write_error
from workers.batch import Batch
from workers.engine import LoadedVersion, RowFunction, Target
from workers.limits import Limits
from workers.local_lane import LocalLane
from workers.private_memory import aligned, as_bools
from workers.probe import Report
from workers.queued_lane import Part
from workers.slice_runner import SliceRunner
from workers.waiting import Slice, Waiting

_logger = logging.getLogger(__name__)


class Runner:
    """The runs of one signature and form."""

    def __init__(self, version: LoadedVersion, signature: str, report: Report) -> None:
        self._version = version
        self._signature = signature
        self._report = report
        self._slices = SliceRunner(version, signature, report)
        form = report.form
        self._source_bytes = [column.row_bytes for _, column in form.inputs] if form else []
        self._target_bytes = [column.row_bytes for _, column in form.outputs] if form else []
        self._functions: list[RowFunction] = []  # those not in use

    def run(self, batch: Batch, limits: Limits) -> None:
        """Run a batch and write the answer of every request that it has all of. Never raises."""
        try:
            if batch.parts:
                self._run_parts(batch, limits)
            else:
                self._slices.run(batch, limits)
        except Exception as error:
            _logger.exception("a batch of %s failed in a way it never should", self._signature)
            self._fail(batch, ServingError(Code.INTERNAL, f"worker error: {error}"))

    def conclude(self, request: Waiting) -> None:
        """Write the answer of a request that ran in parts."""
        self._slices.conclude(request)

    def _run_parts(self, batch: Batch, limits: Limits) -> None:
        parts = batch.parts
        try:
            if self._run_joined(batch):
                return
            batch.has_rows = False
        except ServingError as error:
            if len(parts) == 1 and parts[0].piece.requests == 1 and batch.executed == batch.rows:
                self._fail(batch, error)
                return
        # One request's error never reaches its neighbours.
        batch.is_retried = True
        self._slices.apart([Slice(request, 0, request.rows) for request in _requests(parts)], batch, limits)

    def _run_joined(self, batch: Batch) -> bool:
        """Run the rows of all parts as one batch; False when the outputs don't have the form's shape."""
        parts, more = batch.parts, batch.executed - batch.rows
        if len(parts) == 1 and not more:
            lane, (_, row, rows) = parts[0].lane, parts[0].piece
            target = (rows, _addresses(lane.targets, row, self._target_bytes))
            if isinstance(lane, LocalLane):
                return self._run_copy(lane, row, target)
            return self._call(rows, _addresses(lane.sources, row, self._source_bytes), (target,))
        began = time.monotonic_ns()
        targets = [(part.piece.rows, _addresses(part.lane.targets, part.piece.row, self._target_bytes)) for part in parts]
        gathered = self._gather(parts, more)
        sources = [array.__array_interface__["data"][0] for array in gathered]
        batch.aside += time.monotonic_ns() - began
        return self._call(batch.executed, sources, targets)

    def _run_copy(self, lane: LocalLane, row: int, target: Target) -> bool:
        private = lane.take_rows(row, target[0])
        try:
            return self._call(target[0], private.addresses, (target,))
        finally:
            lane.give_back(private)

    def _gather(self, parts: Sequence[Part], more: int) -> list[Any]:
        """The rows of several pieces in one: one copy, to 64-byte-aligned memory. `more` rows fill the batch up: the first
        one of the last request's, again and again.
        """
        gathered = []
        for index in range(len(self._source_bytes)):
            columns = [
                part.lane.consumer.lane.inputs[index][part.piece.row : part.piece.row + part.piece.rows] for part in parts
            ]
            if more:
                lane, ticket = parts[-1].lane, parts[-1].ticket
                row = lane.consumer.describe(ticket.end - 1)[0]
                columns.append(np.repeat(lane.consumer.lane.inputs[index][row : row + 1], more, axis=0))
            rows = np.concatenate(columns, out=_aligned(columns))
            if rows.dtype == np.bool_ and any(part.lane.is_local for part in parts):
                as_bools(rows.reshape(-1).view(np.uint8))
            gathered.append(rows)
        return gathered

    def _call(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        assert self._report.form is not None
        try:
            function = self._functions.pop()
        except IndexError:
            function = self._version.row_function(self._signature, self._report.form, self._report.inline)
        try:
            return function.run(rows, sources, targets)
        finally:
            self._functions.append(function)

    @staticmethod
    def _fail(batch: Batch, error: ServingError) -> None:
        """The answer of every request of the batch is this error."""
        for part in batch.parts:
            for number in range(part.ticket.start, part.ticket.end):
                write_error(part.lane, number, error)
        for piece in batch.slices:
            piece.request.error = error
            if piece.is_whole:
                write_error(piece.request.lane, piece.request.number, error)


def _requests(parts: Sequence[Part]) -> Iterable[Waiting]:
    for part in parts:
        consumer = part.lane.consumer
        for number in range(part.ticket.start, part.ticket.end):
            row, _, rows, _, deadline = consumer.describe(number)
            yield Waiting(part.lane, number, None, rows, False, 0, deadline, row=row)


def _addresses(columns: Sequence[int], row: int, row_bytes: Sequence[int]) -> list[int]:
    return [column + row * size for column, size in zip(columns, row_bytes)]  # noqa: B905 - of one length by construction


def _aligned(columns: Sequence[Any]) -> Any:
    """Room for these arrays in one, from a 64-byte boundary on."""
    first = columns[0]
    rows = sum(len(column) for column in columns)
    nbytes = sum(column.nbytes for column in columns)
    return aligned(nbytes).view(first.dtype).reshape((rows, *first.shape[1:]))

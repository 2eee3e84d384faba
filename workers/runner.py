"""Runs a batch of a queue and writes every request's answer, whatever happens. Used from several threads at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ringserve.errors import Code, ServingError
from shm import packed
from shm.layout import ALIGNMENT
from shm.packed import PackedTensor
from workers.engine import LoadedVersion, RowFunction, Target
from workers.local_lane import LocalLane
from workers.planner import Action
from workers.private_memory import aligned, as_bools
from workers.probe import Report
from workers.queued_lane import Part, QueuedLane

_logger = logging.getLogger(__name__)

_ANSWER_WAIT_SECONDS: Final = 2.0  # how long an answer waits for room in a lane before it becomes an error
_MOST_TEXT: Final = 64 << 10  # bytes of an error's text
_TEXT_HEAD: Final = packed.size([PackedTensor(0, (0,), b"")])  # what an answer needs besides its text


class Runner:
    """The runs of one signature and form."""

    def __init__(self, version: LoadedVersion, signature: str, report: Report) -> None:
        self._version = version
        self._signature = signature
        self._report = report
        form = report.form
        self._source_bytes = [column.row_bytes for _, column in form.inputs] if form else []
        self._target_bytes = [column.row_bytes for _, column in form.outputs] if form else []
        self._functions: list[RowFunction] = []  # those not in use

    def run(self, parts: Sequence[Part]) -> None:
        """Run a batch and write every request's answer. Never raises."""
        try:
            if parts[0].piece.action is Action.ROWS and self._report.form is not None:
                self._run_rows(parts)
            else:
                self._run_packed(parts[0])
        except Exception as error:
            _logger.exception("a batch of %s failed in a way it never should", self._signature)
            self.fail(parts, ServingError(Code.INTERNAL, f"worker error: {error}"))

    def _run_rows(self, parts: Sequence[Part]) -> None:
        try:
            if self._run_joined(parts):
                return
        except ServingError as error:
            if len(parts) == 1 and parts[0].piece.requests == 1:
                self.fail(parts, error)
                return
        for part in parts:  # one request's error never reaches its neighbours
            for number in range(part.ticket.start, part.ticket.end):
                self._run_alone(part.lane, number)

    def _run_joined(self, parts: Sequence[Part]) -> bool:
        """Run the rows of all parts as one batch; False when the outputs don't have the form's shape."""
        if len(parts) == 1:
            lane, (_, _, row, rows) = parts[0].lane, parts[0].piece
            target = (rows, _addresses(lane.targets, row, self._target_bytes))
            if isinstance(lane, LocalLane):
                return self._run_copy(lane, row, target)
            return self._call(rows, _addresses(lane.sources, row, self._source_bytes), (target,))
        targets = [(part.piece.rows, _addresses(part.lane.targets, part.piece.row, self._target_bytes)) for part in parts]
        gathered = self._gather(parts)
        sources = [array.__array_interface__["data"][0] for array in gathered]
        return self._call(sum(part.piece.rows for part in parts), sources, targets)

    def _run_copy(self, lane: LocalLane, row: int, target: Target) -> bool:
        private = lane.take_rows(row, target[0])
        try:
            return self._call(target[0], private.addresses, (target,))
        finally:
            lane.give_back(private)

    def _gather(self, parts: Sequence[Part]) -> list[Any]:
        """The rows of several lanes in one piece: one copy, to 64-byte-aligned memory."""
        gathered = []
        for index in range(len(self._source_bytes)):
            columns = [
                part.lane.consumer.lane.inputs[index][part.piece.row : part.piece.row + part.piece.rows] for part in parts
            ]
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

    def _run_alone(self, lane: QueuedLane, number: int) -> None:
        """One request of rows by itself, its answer packed: its outputs may have any shape."""
        assert self._report.form is not None
        _, _, rows, _, _ = lane.consumer.describe(number)
        tensors = [
            PackedTensor(dtype, (rows, *column.shape), data)
            for (dtype, column), data in zip(self._report.form.inputs, lane.rows_of(number), strict=True)
        ]
        self._run_and_answer(lane, number, tensors)

    def _run_packed(self, part: Part) -> None:
        number = part.ticket.start
        try:
            tensors = part.lane.request(number)
        except ValueError as error:
            self._answer_error(part.lane, number, ServingError(Code.INVALID_ARGUMENT, str(error)))
            return
        except ServingError as error:
            self._answer_error(part.lane, number, error)
            return
        self._run_and_answer(part.lane, number, tensors)

    def _run_and_answer(self, lane: QueuedLane, number: int, tensors: Sequence[PackedTensor]) -> None:
        try:
            with self._version.run(self._signature, tensors, self._report.inline) as answers:
                self._answer(lane, number, answers)
        except ServingError as error:
            self._answer_error(lane, number, error)

    def _answer(self, lane: QueuedLane, number: int, tensors: Sequence[PackedTensor]) -> None:
        """Write a packed answer, waiting a while for room in the lane. Raises ServingError when there is none."""
        # Nobody waits for a client of its own lane: it would hold up all others.
        give_up = time.monotonic() + (0 if lane.stuck or lane.is_local else _ANSWER_WAIT_SECONDS)
        try:
            while not lane.consumer.answer(number, tensors):
                if time.monotonic() >= give_up:
                    lane.stuck = True
                    raise ServingError(Code.RESOURCE_EXHAUSTED, "The lane's answers are not being read")
                time.sleep(0.001)  # the front end is a gigabyte of answers behind; it rings nobody when it reads
        except ValueError as error:
            raise ServingError(Code.RESOURCE_EXHAUSTED, str(error)) from error
        lane.stuck = False

    def fail(self, parts: Sequence[Part], error: ServingError) -> None:
        """The answer of every request of the batch is this error."""
        for part in parts:
            for number in range(part.ticket.start, part.ticket.end):
                self._answer_error(part.lane, number, error)

    def _answer_error(self, lane: QueuedLane, number: int, error: ServingError) -> None:
        """The answer is an error: its code, and its text where the lane has room for that."""
        lane.consumer.set_status(number, int(error.code))
        room = lane.consumer.lane.spec.answer_bytes // ALIGNMENT * ALIGNMENT - _TEXT_HEAD
        if room >= 0:
            # Replaced: what is no text in a path, say. Ignored: the half of a character that the cut may leave.
            text = error.message.encode(errors="replace")[: min(room, _MOST_TEXT)].decode(errors="ignore").encode()
            lane.consumer.answer(number, [PackedTensor(0, (len(text),), text)])


def _addresses(columns: Sequence[int], row: int, row_bytes: Sequence[int]) -> list[int]:
    return [column + row * size for column, size in zip(columns, row_bytes)]  # noqa: B905 - of one length by construction


def _aligned(columns: Sequence[Any]) -> Any:
    """Room for these arrays in one, from a 64-byte boundary on."""
    first = columns[0]
    rows = sum(len(column) for column in columns)
    nbytes = sum(column.nbytes for column in columns)
    return aligned(nbytes).view(first.dtype).reshape((rows, *first.shape[1:]))

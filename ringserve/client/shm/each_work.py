"""Many requests of one row each, put into a lane as far as it has room, and more when it has again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

import numpy as np

from ringserve.client.answers import Array, Predictions
from ringserve.client.shm.inputs import Input
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.outputs import as_typed, packed_outputs, stored_array
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.shm.work import PORTION, Inside, Tell, Work
from ringserve.errors import Code, ServingError
from shm.producer import FULL, LaneProducer

_AT_ONCE: Final = 256  # packed requests that are given back together: their answers lie in a ring


class _EachWork(Work):
    """`_next`: the first request that is not in the lane yet, `_read`: the first one that has no answer."""

    __slots__ = ("_chosen", "_count", "_errors", "_next", "_outputs", "_read", "_terms")

    def __init__(self, count: int, chosen: Sequence[int] | None, terms: LaneTerms, limit: Limit, tell: Tell | None) -> None:
        super().__init__(limit, tell)
        self._count = count
        self._chosen = range(len(terms.output_dtypes)) if chosen is None else chosen
        self._terms = terms
        self._next = 0
        self._read = 0
        self._outputs: dict[int, Array] = {}
        self._errors: dict[int, ServingError] = {}

    @abstractmethod
    def _submit_some(self, producer: LaneProducer, now: int) -> int:
        """From `_next` on; returns how many."""

    def submit(self, producer: LaneProducer, inside: Inside, now: int) -> bool:
        while self._next < self._count:
            taken = self._submit_some(producer, now)
            if not taken:
                return False
            self._next += taken
            end = producer.submitted
            inside.append((end - taken, end, self))
        return True

    def read(self, producer: LaneProducer, start: int, end: int) -> bool:
        self._read_rows(producer, start, end)
        self._read += end - start
        if self._read < self._count:
            return False
        self.outcome = self._whole()
        return True

    def _read_rows(self, producer: LaneProducer, start: int, end: int) -> None:
        for number in range(start, end):
            self._read_one(producer, number, self._read + number - start)

    def _read_one(self, producer: LaneProducer, number: int, index: int) -> None:
        try:
            for output, row in self._rows_of(producer, number):
                self._put(output, index, row)
        except ServingError as error:
            self._errors[index] = error

    def _rows_of(self, producer: LaneProducer, number: int) -> list[tuple[int, Array]]:
        rows = producer.answer_rows(number)
        if rows is not None:
            return [(output, rows[output]) for output in self._chosen]
        tensors = packed_outputs(producer, self._terms, number)
        return [(output, stored_array(tensors[output])) for output in self._chosen]

    def _put(self, output: int, index: int, row: Array) -> None:
        """Raises ServingError (FAILED_PRECONDITION) for what is no row, or none like the others."""
        found = self._outputs.get(output)
        if not row.ndim or len(row) != 1:
            raise self._unfit(output, f"{list(row.shape)} is not the shape of one row")
        if found is None:
            found = self._outputs[output] = np.zeros((self._count, *row.shape[1:]), row.dtype)
        if row.shape[1:] != found.shape[1:] or row.dtype != found.dtype:
            text = f"rows of the shape {list(row.shape[1:])} do not go with those of the shape {list(found.shape[1:])}"
            raise self._unfit(output, text)
        found[index] = row[0]

    def _unfit(self, output: int, why: str) -> ServingError:
        alias = self._terms.signature.outputs[output].alias
        return ServingError(Code.FAILED_PRECONDITION, f"Output {alias!r}: {why}")

    def _whole(self) -> Predictions | ServingError:
        """The answer; where all have failed alike, it is that."""
        errors = self._errors
        if len(errors) == self._count:
            first = errors[0]
            if all([(error.code, error.message) == (first.code, first.message) for error in errors.values()]):
                return first
        outputs = [self._output(output) for output in self._chosen]
        return Predictions(outputs, self._terms.source, errors)

    def _output(self, output: int) -> tuple[str, Array]:
        spec = self._terms.signature.outputs[output]
        found = self._outputs.get(output)
        if found is None:  # no request has an answer
            found = np.zeros((self._count,), spec.dtype.numpy or object)
        return spec.alias, as_typed(spec.dtype, found)


class EachRowWork(_EachWork):
    """Rows of the lane's columns."""

    __slots__ = ("_columns", "_first")

    def __init__(
        self, columns: Sequence[Array], chosen: Sequence[int] | None, terms: LaneTerms, limit: Limit, tell: Tell | None
    ) -> None:
        super().__init__(len(columns[0]), chosen, terms, limit, tell)
        self._columns = columns
        self._first = 0  # the request that they begin with

    def _submit_some(self, producer: LaneProducer, now: int) -> int:
        at = self._next - self._first
        portion = [column[at : at + PORTION] for column in self._columns]
        return producer.submit_each(producer.submitted, portion, now, self.deadline, flags=self.flags)

    def _read_rows(self, producer: LaneProducer, start: int, end: int) -> None:
        """All at once, but for those whose answers are elsewhere; rows of one burst lie one after the other."""
        at, count = self._read, end - start
        columns = producer.rows_from(start, count)
        for output in self._chosen:
            rows = columns[output]
            if self._count == count:
                self._outputs[output] = rows.copy()
                continue
            found = self._outputs.get(output)
            if found is None:
                found = self._outputs[output] = np.zeros((self._count, *rows.shape[1:]), rows.dtype)
            found[at : at + count] = rows
        for index in producer.answers_elsewhere(start, count):
            self._read_one(producer, start + index, at + index)

    def own(self) -> None:
        self._columns = [column[self._next - self._first :].copy() for column in self._columns]
        self._first = self._next
        self.nbytes = sum([column.nbytes for column in self._columns])


class EachPackedWork(_EachWork):
    """Each packed by itself: the lane has no columns for them."""

    __slots__ = ("_divided", "_inputs")

    def __init__(
        self,
        count: int,
        inputs: Sequence[Input],
        divided: Sequence[bool],
        chosen: Sequence[int] | None,
        terms: LaneTerms,
        limit: Limit,
        tell: Tell | None,
    ) -> None:
        """`divided`: has an input a row for each request? Otherwise all of them have all of it, as with default values."""
        super().__init__(count, chosen, terms, limit, tell)
        self._inputs = inputs
        self._divided = divided

    def request(self, index: int) -> list[Input]:
        """The inputs of one request."""
        pairs = zip(self._inputs, self._divided, strict=True)
        return [tensor.row(index) if divided else tensor for tensor, divided in pairs]

    def _submit_some(self, producer: LaneProducer, now: int) -> int:
        taken = 0
        for index in range(self._next, min(self._next + _AT_ONCE, self._count)):
            tensors = [tensor.packed() for tensor in self.request(index)]
            if producer.submit_packed(producer.submitted, 1, tensors, now, self.deadline, self.flags) == FULL:
                break
            taken += 1
        return taken

    def own(self) -> None:
        self._inputs = [tensor.copy() for tensor in self._inputs]
        self.nbytes = sum([tensor.values.nbytes for tensor in self._inputs if not isinstance(tensor.values, list)])

"""One request in a lane: rows of its columns, or packed."""

from __future__ import annotations

from collections.abc import Sequence

from ringserve.client.answers import Array, Prediction
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.outputs import outputs_of
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.shm.work import Inside, Tell, Work
from shm.packed import PackedTensor
from shm.producer import FULL, LaneProducer


class _PredictWork(Work):
    __slots__ = ("_chosen", "_rows", "_terms")

    def __init__(self, rows: int, chosen: Sequence[int] | None, terms: LaneTerms, limit: Limit, tell: Tell | None) -> None:
        """`chosen`: which of the signature's outputs are the answer, None: all."""
        super().__init__(limit, tell)
        self._rows = rows
        self._chosen = chosen
        self._terms = terms

    def read(self, producer: LaneProducer, start: int, end: int) -> bool:
        self.outcome = Prediction(outputs_of(producer, self._terms, start, self._chosen), self._terms.source)
        return True


class RowsWork(_PredictWork):
    """Of a form that the lane has columns for."""

    __slots__ = ("_columns",)

    def __init__(
        self,
        columns: Sequence[Array],
        rows: int,
        chosen: Sequence[int] | None,
        terms: LaneTerms,
        limit: Limit,
        tell: Tell | None,
    ) -> None:
        super().__init__(rows, chosen, terms, limit, tell)
        self._columns = columns

    def submit(self, producer: LaneProducer, inside: Inside, now: int) -> bool:
        number = producer.submit_rows(producer.submitted, self._rows, self._columns, now, self.deadline, self.flags)
        if number == FULL:
            return False
        inside.append((number, number + 1, self))
        self._columns = ()
        return True

    def own(self) -> None:
        self._columns = [column.copy() for column in self._columns]
        self.nbytes = sum([column.nbytes for column in self._columns])


class PackedWork(_PredictWork):
    """Of any form."""

    __slots__ = ("_tensors",)

    def __init__(
        self,
        tensors: Sequence[PackedTensor],
        rows: int,
        chosen: Sequence[int] | None,
        terms: LaneTerms,
        limit: Limit,
        tell: Tell | None,
    ) -> None:
        super().__init__(rows, chosen, terms, limit, tell)
        self._tensors = tensors

    def submit(self, producer: LaneProducer, inside: Inside, now: int) -> bool:
        number = producer.submit_packed(producer.submitted, self._rows, self._tensors, now, self.deadline, self.flags)
        if number == FULL:
            return False
        inside.append((number, number + 1, self))
        self._tensors = ()
        return True

    def own(self) -> None:
        self._tensors = [tensor._replace(data=bytes(tensor.data)) for tensor in self._tensors]
        self.nbytes = sum([len(tensor.data) for tensor in self._tensors])

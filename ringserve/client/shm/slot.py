"""Rows of a lane in which requests are made, and their answers read, without a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from ringserve.client.answers import Array, Prediction
from ringserve.client.deadline import limit as checked_limit
from ringserve.client.failures import again
from ringserve.client.operations import Predict, Which
from ringserve.client.shm.lane import LaneOverError, ShmLane
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.outputs import as_typed, outputs_of
from ringserve.client.shm.route import Route
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.shm.work import Inside, Work
from ringserve.errors import Code, ServingError
from shm.producer import FULL, LaneProducer
from shm.reservation import Reservation

#: Asks the server: what, and how long that may take.
Call = Callable[[Predict, float | None], Prediction]


class SlotWork(Work):
    """The rows as they stand. Its outcome: None where the answer is in the slot's own rows, otherwise the outputs."""

    __slots__ = ("_reservation", "_terms")

    def __init__(self, reservation: Reservation, terms: LaneTerms, limit: Limit) -> None:
        super().__init__(limit, None)
        self._reservation = reservation
        self._terms = terms

    def submit(self, producer: LaneProducer, inside: Inside, now: int) -> bool:
        if self._reservation.number >= producer.completed:
            return False  # its request before this one was given up, and is not over yet
        number = producer.submit_reserved(self._reservation, producer.submitted, now, self.deadline)
        if number == FULL:
            return False
        inside.append((number, number + 1, self))
        return True

    def read(self, producer: LaneProducer, start: int, end: int) -> bool:
        if producer.answer_rows(start) is None:
            self.outcome = dict(outputs_of(producer, self._terms, start, None))
        return True

    def own(self) -> None:
        """Never: somebody waits for it."""


class ShmSlot:
    """Where its lane is over, its requests are copied to another one: to the caller they are the same."""

    def __init__(
        self, which: Which, route: Route, lane: ShmLane, reservation: Reservation, call: Call, timeout: float | None
    ) -> None:
        """`timeout`: of a run that has no other, in seconds."""
        self._is_closed = False
        self._which = which
        self._route = route
        self._lane = lane
        self._reservation = reservation
        self._call = call
        self._timeout = timeout
        signature = lane.terms.signature
        self._inputs = {
            spec.alias: as_typed(spec.dtype, array) for spec, array in zip(signature.inputs, reservation.inputs, strict=True)
        }
        self._in_place = {
            spec.alias: as_typed(spec.dtype, array)
            for spec, array in zip(signature.outputs, reservation.outputs, strict=True)
        }
        self._outputs: Mapping[str, Array] = {}
        for array in reservation.inputs:
            array[...] = 0  # what others have left there

    @property
    def inputs(self) -> Mapping[str, Array]:
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        return self._outputs

    def run(self, timeout: float | None = None) -> None:
        if self._is_closed:
            raise ServingError(Code.FAILED_PRECONDITION, "The slot is closed")
        limit = Limit.of(self._timeout if timeout is None else checked_limit(timeout))
        self._outputs = {}
        work = SlotWork(self._reservation, self._lane.terms, limit)
        try:
            self._lane.submit(work)
        except LaneOverError:
            self._outputs = self._call(self._copy(), limit.left())
            return
        self._lane.wait(work)
        outcome = work.outcome
        if isinstance(outcome, ServingError):
            raise again(outcome)
        self._outputs = self._in_place if outcome is None else outcome

    def _copy(self) -> Predict:
        """As a request that is not in the lane."""
        signature = self._lane.terms.signature
        pairs = zip(signature.inputs, self._reservation.inputs, strict=True)
        tensors = {spec.alias: (spec.dtype, array.shape, array) for spec, array in pairs}
        return Predict(self._which, signature.name, tensors)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._inputs, self._outputs, self._in_place = {}, {}, {}
            self._route.give_back(self._lane, self._reservation)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._is_closed:  # without a lock: it may be this very thread that holds it
            self._lane.drop(self._reservation)

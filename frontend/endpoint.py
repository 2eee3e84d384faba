"""One signature of one loaded version, as requests reach it: its lanes, and which of them a request takes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from frontend.batch_queue_bound import BatchQueueBound
from frontend.lane_cost import quickest
from frontend.open_lane import TIMED_OUT, OpenLane
from frontend.pending import Pending, Tell
from frontend.tensors import Array, Tensor, unpacked
from ringserve.batchable import check_rows, check_shapes
from ringserve.batching_parameters import BatchingParameters
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import Signature
from shm import packed
from shm.producer import LaneProducer

#: The rows of a request: dtype number and shape of one row, for each input.
Form = tuple[tuple[int, tuple[int, ...]], ...]

_FORMS_AFTER: Final = 8  # requests of one form before lanes with columns for it are asked for
_MOST_SEEN: Final = 64  # forms that are counted at a time
_ASK_AGAIN_NS: Final = 1_000_000_000
_MOST_COUNTED: Final = 1 << 16  # rows of a packed request: a tensor without elements may have any number of them
_MOST_FORMS: Final = 8  # a client can't make the server open lanes without end


T = TypeVar("T")


class TooLargeError(ServingError):
    """A request that no lane can ever take."""


class Endpoint:
    """Requests whose rows have a form with columns go there; all others go packed to a base lane.

    The base lanes' columns are for rows as the signature declares them. Lanes for other forms, which clients were seen to
    send, are opened in the background.
    """

    def __init__(
        self,
        servable: ServableId,
        signature: Signature,
        ask: Callable[[Message], None],
        parameters: BatchingParameters | None = None,
    ) -> None:
        """`ask` sends a message to the supervisor; `parameters`: what the version's requests are batched by."""
        self.servable = servable
        self.signature = signature
        self._output_dtypes = [spec.dtype for spec in signature.outputs]
        self.base: list[OpenLane] = []
        self._with_columns: dict[Form, list[OpenLane]] = {}
        # Of those, the lanes that requests choose from:
        self._base: list[OpenLane] = []
        self._columns: dict[Form, list[OpenLane]] = {}
        self._seen: dict[Form, int] = {}
        self._asked: set[Form] = set()
        self._ask = ask
        self._parameters = parameters
        self._opening: asyncio.Future[None] | None = None
        self._refused = 0  # when, in ns of CLOCK_MONOTONIC

    @property
    def lanes(self) -> list[OpenLane]:
        """Every lane, once."""
        return [*self.base, *(lane for lanes in self._with_columns.values() for lane in lanes if lane not in self.base)]

    def add(self, lane: OpenLane, inputs: Any, form: Form | None) -> None:
        """A lane is open. `inputs` None: it is a base lane; `form`: it has columns for these rows."""
        if self._parameters is not None:
            lane.bound = BatchQueueBound(self._parameters)
        if inputs is None:
            self.base.append(lane)
        if form is not None:
            self._with_columns.setdefault(form, []).append(lane)
        self.choose_lanes()
        if self._opening is not None and not self._opening.done() and self.base:
            self._opening.set_result(None)

    def choose_lanes(self) -> None:
        """Which lanes requests choose from, now that there are others or some are to be avoided.

        Those to avoid only where no other lane can take the request, in columns or packed.
        """
        usable = [lane for lane in self.base if not lane.avoided]
        self._base = usable or self.base
        self._columns = {
            form: [lane for lane in lanes if not lane.avoided] or ([] if usable else lanes)
            for form, lanes in self._with_columns.items()
        }
        for lanes in (self._base, *self._columns.values()):
            if len(lanes) > 1:
                for lane in lanes:
                    lane.has_rivals = True

    def refuse(self, error: ServingError) -> None:
        """The base lane that requests wait for can't be made."""
        self._refused = time.monotonic_ns()
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(error)
            self._opening.exception()  # perhaps nobody waits for it, which is no reason to complain
        self._opening = None

    def prepare(self) -> None:
        """Have the base lane made, without waiting for it; not again soon after it could not be."""
        if not self.base and time.monotonic_ns() - self._refused >= _ASK_AGAIN_NS:
            self._open()

    def _open(self) -> asyncio.Future[None]:
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_future()
            self._want(None)
        return self._opening

    async def open(self, timeout: int = 0) -> None:
        """Wait for the base lane, which is made when the first request comes; `timeout` in ns, 0: none.

        Raises ServingError if it can't be made, or not in time.
        """
        if self.base:
            return
        try:
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes in the turn in which the lane opens.
            async with asyncio.timeout(timeout / 1e9 if timeout > 0 else None):
                await asyncio.shield(self._open())
        except TimeoutError:
            raise ServingError(Code.DEADLINE_EXCEEDED, TIMED_OUT) from None

    def _want(self, inputs: Any) -> None:
        message = {"type": "want_lane", "servable": self.servable, "signature": self.signature.name, "inputs": inputs}
        self._ask(message)

    def submit(self, inputs: Sequence[Tensor], timeout: int, tell: Tell | None = None, low: bool = False) -> Pending:
        """Put a request into the lane of the worker that can take it and is expected to be done first; `timeout` in ns, 0:
        none; `low`: it is of low priority.

        Raises ServingError: UNAVAILABLE when every lane is full, INVALID_ARGUMENT for what can't be batched by parameters.
        """
        if self._parameters is not None:
            check_shapes([tensor.shape for tensor in inputs], self._parameters.max_batch_size)
        now = time.monotonic_ns()
        deadline = now + timeout if timeout > 0 else 0
        form, rows = _form(inputs)
        if form is not None:
            lanes = self._columns.get(form)
            if lanes:
                lane = lanes[0] if len(lanes) == 1 else quickest(lanes, rows, now)
                if rows <= lane.most_rows:  # more would hold up the ring: those go packed
                    columns: list[Array] = [t.data for t in inputs]  # type: ignore[misc]
                    pending = lane.submit_rows(columns, rows, now, deadline, tell, low) or _first(
                        other.submit_rows(columns, rows, now, deadline, tell, low) for other in lanes if other is not lane
                    )
                    if pending is None:
                        raise lane.refusal(rows)
                    return pending
            elif lanes is None:
                self._note(form, inputs)
        return self._submit_packed(inputs, rows, now, deadline, tell, low)

    def takes_each(self, form: Form, rows_each: int) -> bool:
        """Is there a lane with columns for requests of so many rows of this form?"""
        lanes = self._columns.get(form)
        return bool(lanes) and 0 < rows_each <= lanes[0].most_rows  # type: ignore[index]

    def submit_each(
        self, form: Form, columns: Sequence[Array], rows_each: int, timeout: int, tell: Tell, low: bool = False
    ) -> tuple[Pending, int]:
        """Put many requests into a lane that is chosen as in `submit`, and `takes_each`: one after the other, so many rows
        each. Returns how many of them found room, from the front. Raises ServingError as `submit`, where none did.
        """
        if self._parameters is not None:
            check_rows(rows_each, self._parameters.max_batch_size)
        now = time.monotonic_ns()
        lanes = self._columns[form]
        lane = lanes[0] if len(lanes) == 1 else quickest(lanes, len(columns[0]), now)
        deadline = now + timeout if timeout > 0 else 0
        found = lane.submit_each(columns, rows_each, now, deadline, tell, low) or _first(
            other.submit_each(columns, rows_each, now, deadline, tell, low) for other in lanes if other is not lane
        )
        if found is None:
            raise lane.refusal(rows_each)
        return found

    def _submit_packed(
        self, inputs: Sequence[Tensor], rows: int, now: int, deadline: int, tell: Tell | None, low: bool
    ) -> Pending:
        lane = self._base[0] if len(self._base) == 1 else quickest(self._base, max(rows, 1), now)
        tensors = [tensor.packed() for tensor in inputs]
        room = lane.producer.lane.spec.request_bytes
        for dtype, shape, _ in inputs:
            # Without elements, but so wide that its answer could have any size, for no bytes sent.
            if 0 in shape and math.prod(dim for dim in shape if dim) * np.dtype(dtype.numpy or "O").itemsize > room:
                text = f"The request has an empty tensor whose other dimensions, {list(shape)}, are larger than a lane"
                raise TooLargeError(Code.RESOURCE_EXHAUSTED, text)
        if packed.size(tensors) > room:
            text = f"The request's tensors take {packed.size(tensors)} bytes, the lane holds {room}: "
            raise TooLargeError(Code.RESOURCE_EXHAUSTED, text + "start the server with a higher --max_request_bytes")
        rows = min(rows, _MOST_COUNTED)
        pending = lane.submit_packed(tensors, rows, now, deadline, tell, low) or _first(
            other.submit_packed(tensors, rows, now, deadline, tell, low) for other in self._base if other is not lane
        )
        if pending is None:
            raise lane.refusal(rows)
        return pending

    def _note(self, form: Form, inputs: Sequence[Tensor]) -> None:
        """Requests of this form came without columns for it: once they are many, ask for lanes that have some."""
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()  # forms that come once and never again must not keep the common ones out
        seen = self._seen[form] = self._seen.get(form, 0) + 1
        if seen == _FORMS_AFTER and len(self._asked) < _MOST_FORMS and form not in self._asked:
            self._asked.add(form)
            self._want([[tensor.dtype.number, tensor.dtype.numpy, list(tensor.shape[1:])] for tensor in inputs])

    def answer(self, pending: Pending) -> list[Tensor]:
        """The outputs of a completed request, in the signature's order; views, valid until `pending.done()`.

        Raises ServingError with the error that the request ended in.
        """
        producer = pending.lane.producer
        rows = producer.answer_rows(pending.number)
        if rows is not None:
            # Not strict: of one length by construction, and checking it is a tenth of what reading an answer costs.
            return [Tensor(dtype, array.shape, array) for dtype, array in zip(self._output_dtypes, rows)]  # noqa: B905
        return _packed_answer(producer, pending.number)

    def answers(self, pending: Pending) -> tuple[Sequence[Array], dict[int, list[Tensor] | ServingError]]:
        """Of completed requests that were submitted together: the outputs' rows, in the signature's order; and, by how many
        they come after the first one, those whose rows mean nothing: they ended in an error, or in tensors of other shapes.
        All are views, valid until `pending.done()`.
        """
        producer = pending.lane.producer
        elsewhere: dict[int, list[Tensor] | ServingError] = {}
        for index in producer.answers_elsewhere(pending.number, pending.last + 1 - pending.number):
            try:
                elsewhere[index] = _packed_answer(producer, pending.number + index)
            except ServingError as error:
                elsewhere[index] = error
        return producer.rows_from(pending.number, pending.rows), elsewhere


def _packed_answer(producer: LaneProducer, number: int) -> list[Tensor]:
    """Raises ServingError with the error that the request ended in."""
    status, is_packed = producer.verdict(number)
    try:
        if not status:
            return [unpacked(tensor) for tensor in producer.answer_packed(number)]
        code = Code(status)
        text = bytes(producer.answer_packed(number)[0].data).decode("utf-8", "replace") if is_packed else ""
    except (ValueError, IndexError) as error:
        raise ServingError(Code.INTERNAL, f"The worker's answer is damaged: {error}") from error
    raise ServingError(code, text)


def _first(found: Iterable[T | None]) -> T | None:
    """What the first lane took that has room, where the one that would be quickest has none."""
    return next((each for each in found if each is not None), None)


def _form(inputs: Sequence[Tensor]) -> tuple[Form | None, int]:
    """(form, rows) of a request; no form when it can't be rows of columns: strings, scalars, unequal first dimensions."""
    if not inputs or not inputs[0].shape:
        return None, 0
    rows = inputs[0].shape[0]
    form = []
    for dtype, shape, _ in inputs:
        if not shape or shape[0] != rows or not dtype.numpy or 0 in shape:
            return None, rows if shape else 0
        form.append((dtype.number, shape[1:]))
    return tuple(form), rows

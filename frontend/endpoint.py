"""One signature of one loaded version, as requests reach it: its lanes, and which of them a request takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from frontend.open_lane import TIMED_OUT, OpenLane, Pending
from frontend.tensors import Tensor, unpacked
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import Signature
from shm import packed

#: The rows of a request: dtype number and shape of one row, for each input.
Form = tuple[tuple[int, tuple[int, ...]], ...]

_FULL: Final = "The batch scheduling queue to which this task was submitted is full"  # upstream's text
_FORMS_AFTER: Final = 8  # requests of one form before lanes with columns for it are asked for
_MOST_SEEN: Final = 64  # forms that are counted at a time
_MOST_FORMS: Final = 8  # a client can't make the server open lanes without end


class TooLargeError(ServingError):
    """A request that no lane can ever take."""


class Endpoint:
    """Requests whose rows have a form with columns go there; all others go packed to a base lane.

    The base lanes' columns are for rows as the signature declares them. Lanes for other forms, which clients were seen to
    send, are opened in the background.
    """

    def __init__(self, servable: ServableId, signature: Signature, ask: Callable[[Message], None]) -> None:
        """`ask` sends a message to the supervisor."""
        self.servable = servable
        self.signature = signature
        self._output_dtypes = [spec.dtype for spec in signature.outputs]
        self.base: list[OpenLane] = []
        self._columns: dict[Form, list[OpenLane]] = {}
        self._seen: dict[Form, int] = {}
        self._asked: set[Form] = set()
        self._ask = ask
        self._opening: asyncio.Future[None] | None = None
        self._gone: ServingError | None = None

    @property
    def lanes(self) -> list[OpenLane]:
        """Every lane, once."""
        return [*self.base, *(lane for lanes in self._columns.values() for lane in lanes if lane not in self.base)]

    def add(self, lane: OpenLane, inputs: Any, form: Form | None) -> None:
        """A lane is open. `inputs` None: it is a base lane; `form`: it has columns for these rows."""
        if inputs is None:
            self.base.append(lane)
        if form is not None:
            self._columns.setdefault(form, []).append(lane)
        if self._opening is not None and not self._opening.done() and self.base:
            self._opening.set_result(None)

    def refuse(self, error: ServingError) -> None:
        """The base lane that requests wait for can't be made."""
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(error)
        self._opening = None

    def retire(self, error: ServingError) -> None:
        """No request may be put into its lanes any more."""
        self._gone = error
        self.refuse(error)

    async def open(self, timeout: int = 0) -> None:
        """Wait for the base lane, which is made when the first request comes; `timeout` in ns, 0: none.

        Raises ServingError if it can't be made, or not in time.
        """
        if self.base:
            return
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_future()
            self._want(None)
        try:
            await asyncio.wait_for(asyncio.shield(self._opening), timeout / 1e9 if timeout > 0 else None)
        except TimeoutError:
            raise ServingError(Code.DEADLINE_EXCEEDED, TIMED_OUT) from None
        if self._gone is not None:  # since this request was woken
            raise self._gone

    def _want(self, inputs: Any) -> None:
        message = {"type": "want_lane", "servable": self.servable, "signature": self.signature.name, "inputs": inputs}
        self._ask(message)

    def submit(self, inputs: Sequence[Tensor], timeout: int) -> Pending:
        """Put a request into the least busy worker's lane; `timeout` in ns, 0: none.

        Raises ServingError: UNAVAILABLE when every lane is full.
        """
        now = time.monotonic_ns()
        deadline = now + timeout if timeout > 0 else 0
        form, rows = _form(inputs)
        if form is not None:
            lanes = self._columns.get(form)
            if lanes is not None:
                lane = lanes[0] if len(lanes) == 1 else min(lanes, key=_busyness)
                if rows <= lane.most_rows:  # more would hold up the ring: those go packed
                    pending = lane.submit_rows([tensor.data for tensor in inputs], rows, now, deadline)  # type: ignore[misc]
                    if pending is None:
                        raise ServingError(Code.UNAVAILABLE, _FULL)
                    return pending
            else:
                self._note(form, inputs)
        return self._submit_packed(inputs, rows, now, deadline)

    def _submit_packed(self, inputs: Sequence[Tensor], rows: int, now: int, deadline: int) -> Pending:
        lane = self.base[0] if len(self.base) == 1 else min(self.base, key=_busyness)
        tensors = [tensor.packed() for tensor in inputs]
        room = lane.producer.lane.spec.request_bytes
        if packed.size(tensors) > room:
            text = f"The request's tensors take {packed.size(tensors)} bytes, the lane holds {room}: "
            raise TooLargeError(Code.RESOURCE_EXHAUSTED, text + "start the server with a higher --max_request_bytes")
        pending = lane.submit_packed(tensors, rows, now, deadline)
        if pending is None:
            raise ServingError(Code.UNAVAILABLE, _FULL)
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
        status, is_packed = producer.verdict(pending.number)
        try:
            if not status:
                return [unpacked(tensor) for tensor in producer.answer_packed(pending.number)]
            code = Code(status)
            text = bytes(producer.answer_packed(pending.number)[0].data).decode("utf-8", "replace") if is_packed else ""
        except (ValueError, IndexError) as error:
            raise ServingError(Code.INTERNAL, f"The worker's answer is damaged: {error}") from error
        raise ServingError(code, text)


def _busyness(lane: OpenLane) -> int:
    return lane.outstanding_rows


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

"""A copy of a request, under way at a shadow: both answers are awaited, and compared."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from frontend.catalog import Version
from frontend.endpoint import Endpoint
from frontend.pending import Pending
from frontend.same_answers import same_answers
from frontend.tensors import Tensor
from ringserve.errors import ServingError
from ringserve.handle import ServableHandle

_QUICK_BYTES: Final = 1 << 18  # of an answer that is compared at once; a larger one would hold up the loop


class Outcome(enum.Enum):
    """What became of a copy."""

    ALIKE = enum.auto()
    DIFFERED = enum.auto()
    FAILED = enum.auto()  # the request was answered, the copy not
    DROPPED = enum.auto()  # it was not sent, or its request got no answer to compare with


class Submitted(NamedTuple):
    """A request in a lane."""

    endpoint: Endpoint
    pending: Pending

    def kept(self) -> list[Tensor] | None:
        """Its answer, copied out of the lane; None when there is none to be read."""
        future, pending = self.pending.future, self.pending
        if future.cancelled() or future.exception() is not None or pending.given_up or pending.released:
            return None
        try:
            answer = self.endpoint.answer(pending)
            return [t if isinstance(t.data, list) else t._replace(data=t.data.copy()) for t in answer]
        except (ServingError, MemoryError):
            return None


class ShadowCopy:
    """Both requests are in their lanes. The shadow's version is pinned until its answer is read."""

    def __init__(
        self,
        request: Submitted,
        copy: Submitted,
        handle: ServableHandle[Version],
        settled: Callable[[Outcome], None],
    ) -> None:
        """`handle` is given up here; `settled` is called once, when both requests are done."""
        self._request = request
        self._copy = copy
        self._handle = handle
        self._settled = settled
        self._awaited = 2
        self._wanted: list[Tensor] | None = None
        self._found: list[Tensor] | None = None
        # Callbacks run in the order in which they were added: this one before whoever awaits the answer, reads it and gives
        # its place in the lane back.
        request.pending.future.add_done_callback(self._on_request)
        copy.pending.future.add_done_callback(self._on_copy)

    def _on_request(self, _: asyncio.Future[None]) -> None:
        self._wanted = self._request.kept()
        self._settle()

    def _on_copy(self, _: asyncio.Future[None]) -> None:
        # Kept even where the request's answer is there to compare it with at once: slots go back in order, and must not
        # wait for another lane's.
        self._found = self._copy.kept()
        self._copy.pending.done()
        self._handle.release()
        self._settle()

    def _settle(self) -> None:
        self._awaited -= 1
        if self._awaited:
            return
        if self._wanted is None:
            self._settled(Outcome.DROPPED)
        elif self._found is None:
            self._settled(Outcome.FAILED)
        elif _size(self._wanted) <= _QUICK_BYTES:
            self._settled(self._outcome())
        else:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, self._outcome).add_done_callback(self._on_compared)

    def _outcome(self) -> Outcome:
        assert self._wanted is not None and self._found is not None
        wanted, found = self._request.endpoint.signature.outputs, self._copy.endpoint.signature.outputs
        return Outcome.ALIKE if same_answers(wanted, self._wanted, found, self._found) else Outcome.DIFFERED

    def _on_compared(self, future: asyncio.Future[Outcome]) -> None:
        self._settled(Outcome.DROPPED if future.cancelled() or future.exception() is not None else future.result())


def _size(answer: Sequence[Tensor]) -> int:
    return sum(sum(map(len, t.data)) if isinstance(t.data, list) else t.data.nbytes for t in answer)

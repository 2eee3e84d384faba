"""Requests that differ in their rows alone: resolved once, put into a lane together, and answered together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frontend.catalog import ModelSpec, Version
from frontend.endpoint import Endpoint, Form
from frontend.failure import as_serving_error
from frontend.open_lane import TIMED_OUT
from frontend.pending import Pending
from frontend.tensors import Array, Tensor
from ringserve.errors import Code, ServingError
from ringserve.handle import ServableHandle
from ringserve.servable import ServableId
from ringserve.signature import Signature

if TYPE_CHECKING:
    from frontend.front_end import FrontEnd

#: What became of a request whose rows of the outputs mean nothing.
Elsewhere = list[Tensor] | ServingError


class RowGroup:
    """`resolve` it, `submit` its rows, and when its owner is told read its `answers`; `close` it, whatever happened.

    Where `can_be_together` says no, its requests have to be made one by one (`frontend.call`).
    """

    __slots__ = (
        "_api",
        "_began",
        "_count",
        "_done",
        "_elsewhere",
        "_endpoint",
        "_entrypoint",
        "_front_end",
        "_handle",
        "_low",
        "_parts",
        "_refused",
        "_rows_each",
        "_spec",
        "_timeout",
        "_waiting",
    )

    def __init__(
        self,
        front_end: FrontEnd,
        spec: ModelSpec,
        api: str,
        entrypoint: str,
        timeout: int,
        began: int,
        low: bool = False,
    ) -> None:
        """`timeout` in ns from `began` on, 0: none; `began`: ns of CLOCK_MONOTONIC; `low`: they are of low priority."""
        self._low = low
        self._front_end = front_end
        self._spec = spec
        self._api = api
        self._entrypoint = entrypoint
        self._timeout = timeout
        self._began = began
        self._handle: ServableHandle[Version] | None = None
        self._endpoint: Endpoint | None = None
        self._parts: list[Pending] = []
        self._refused: ServingError | None = None  # what those that found no room end in
        self._elsewhere: dict[int, Elsewhere] = {}
        self._waiting = self._count = self._rows_each = 0

    def resolve(self, signature: Callable[[Version], Signature]) -> Signature:
        """Pin the version and find the signature. Raises ServingError."""
        handle = self._handle = self._front_end.catalog.servable_handle(self._spec)
        version = handle.servable
        found = signature(version)
        self._endpoint = version.endpoint(found.name)
        return found

    @property
    def servable(self) -> ServableId:
        """Of the version that was found."""
        assert self._handle is not None
        return self._handle.id

    def can_be_together(self, form: Form, rows_each: int) -> bool:
        """Is there a lane with columns for such rows, and are none of them to be copied for another version?"""
        assert self._endpoint is not None
        return not self._front_end.has_shadows and self._endpoint.takes_each(form, rows_each)

    def submit(self, form: Form, columns: Sequence[Array], rows_each: int, done: Callable[[], None]) -> None:
        """Put the rows into a lane. `done` is called when every request is completed, or has failed, perhaps at once. Raises
        nothing.
        """
        self._done = done
        self._rows_each = rows_each
        self._count = len(columns[0]) // rows_each
        self._waiting = 1  # until all are submitted
        taken = 0
        try:
            while taken < self._count:
                row = taken * rows_each
                pending, count = self._submit(form, [column[row:] for column in columns] if row else columns)
                self._parts.append(pending)
                taken += count
        except Exception as error:  # those before are in a lane
            self._refused = as_serving_error(error)
        self._told(None)

    def _submit(self, form: Form, columns: Sequence[Array]) -> tuple[Pending, int]:
        assert self._endpoint is not None
        timeout = 0
        if self._timeout > 0:
            timeout = self._began + self._timeout - time.monotonic_ns()
            if timeout <= 0:
                raise ServingError(Code.DEADLINE_EXCEEDED, TIMED_OUT)
        self._waiting += 1
        try:
            return self._front_end.submit_each(
                self._endpoint, form, columns, self._rows_each, timeout, self._told, self._low
            )
        except BaseException:
            self._waiting -= 1
            raise

    def _told(self, error: ServingError | None) -> None:
        if error is not None:  # its time is over, of all of it
            self._refused = error
        self._waiting -= 1
        if not self._waiting:
            self._done()

    def answers(self) -> tuple[list[Array], dict[int, Elsewhere]]:
        """The outputs, `rows_each` rows for each request, in the signature's order; and what became of those whose rows mean
        nothing, by their place in the group. Views, valid until `close`, where all lie in one piece.

        Raises ServingError where all of them failed alike.
        """
        assert self._endpoint is not None
        pieces: list[Sequence[Array]] = []
        place = 0
        for pending in self._parts:
            if not pending.completed:  # given up
                break
            outputs, elsewhere = self._endpoint.answers(pending)
            pieces.append(outputs)
            self._elsewhere |= {place + index: found for index, found in elsewhere.items()}
            place += pending.last + 1 - pending.number
        refused = self._refused
        if refused is not None:
            if not place:
                raise refused
            self._elsewhere |= dict.fromkeys(range(place, self._count), refused)
        return _joined(pieces, (self._count - place) * self._rows_each), self._elsewhere

    def drop(self) -> None:
        """Before `submit`: its requests are made one by one, and counted there."""
        if self._handle is not None:
            self._handle.release()
            self._handle = None

    def hand_over(self) -> ServableHandle[Version]:
        """As `drop`: the handle is the caller's then, who releases it."""
        handle, self._handle = self._handle, None
        assert handle is not None
        return handle

    def close(self, code: Code = Code.OK) -> None:
        """Give everything back, and count each request with the code that it ended in."""
        handle, endpoint = self._handle, self._endpoint
        signature = "" if endpoint is None else endpoint.signature.name
        version = None if handle is None else handle.id.version
        meter = self._front_end.counters.meter(self._spec.name, version, signature, self._api, self._entrypoint)
        total = time.monotonic_ns() - self._began
        if code is not Code.OK:
            for _ in range(max(self._count, 1)):
                meter.failed(code, total)
        else:
            errors = [found for found in self._elsewhere.values() if isinstance(found, ServingError)]
            for error in errors:
                meter.failed(error.code, total)
            first = self._parts[0]
            queue, run = first.begun - first.submitted, first.ended - first.begun
            meter.ok_each(self._count - len(errors), queue, run, total)
        for pending in self._parts:
            pending.done()
        self._parts = []
        self.drop()


def _joined(pieces: Sequence[Sequence[Array]], missing: int) -> list[Array]:
    """The rows of all pieces, and zeros for those that are missing."""
    if len(pieces) == 1 and not missing:
        return list(pieces[0])
    return [_with_zeros(columns, missing) for columns in zip(*pieces, strict=True)]


def _with_zeros(columns: Iterable[Array], missing: int) -> Array:
    found = list(columns)
    return np.concatenate([*found, np.zeros((missing, *found[0].shape[1:]), found[0].dtype)])

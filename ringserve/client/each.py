"""PredictEach where the protocol has no words for it: a request for each row, some of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from ringserve.client import failures
from ringserve.client.answers import Array, Prediction, Predictions, Source
from ringserve.client.deadline import Deadline
from ringserve.client.operations import Predict, PredictEach
from ringserve.client.tensors import Tensor
from ringserve.client.transport import Transport
from ringserve.errors import Code, ServingError

_MOST_AT_A_TIME: Final = 64

Done = Callable[[Predictions | ServingError], None]
Start = Callable[[Predict, float | None, Callable[[Prediction | ServingError], None]], Callable[[], object]]


def start_each(transport: Transport, operation: PredictEach, timeout: float | None, done: Done) -> Callable[[], object]:
    """As `Transport.start`, by the transport's `start` of single requests."""
    return start_rows(transport.start, operation, timeout, done, _MOST_AT_A_TIME)


def start_rows(
    start: Start, operation: PredictEach, timeout: float | None, done: Done, most_at_a_time: int
) -> Callable[[], object]:
    """As `start_each`, by anything that is like a transport's `start`."""
    rows = _Rows(start, operation, timeout, done, most_at_a_time)
    rows.start_more()
    return rows.cancel


class _Rows:
    """`done` is called when every row has its answer."""

    def __init__(self, start: Start, operation: PredictEach, timeout: float | None, done: Done, most_at_a_time: int) -> None:
        self._start = start
        self._most = most_at_a_time
        self._operation = operation
        self._inputs = {alias: (kind, _shaped(array, shape)) for alias, (kind, shape, array) in operation.inputs.items()}
        self._deadline = Deadline(timeout)
        self._done = done
        self._outcomes: list[Prediction | ServingError | None] = [None] * operation.count
        self._lock = threading.Lock()
        self._next = 0
        self._left = operation.count
        self._cancels: dict[int, Callable[[], object]] = {}  # of those that have no answer
        self._running = 0
        self._starting = False  # one thread at a time, so that answers that come at once are no recursion
        self._over = False

    def start_more(self) -> None:
        """As many as there is room for."""
        while (index := self._begin()) is not None:
            try:
                cancel = self._start(self._single(index), self._deadline.left(), partial(self._settle, index))
            except ServingError as error:
                self._settle(index, error)
            except Exception as error:  # whatever it is, somebody waits
                self._settle(index, failures.unforeseen(error))
            else:
                self._began(index, cancel)
            with self._lock:
                self._starting = False

    def cancel(self) -> None:
        """`done` is not called any more."""
        with self._lock:
            self._over = True
            cancels = list(self._cancels.values())
            self._cancels.clear()
        for cancel in cancels:
            cancel()

    def _begin(self) -> int | None:
        with self._lock:
            is_full = self._running >= self._most or self._next == len(self._outcomes)
            if self._starting or self._over or is_full:
                return None
            self._starting = True
            self._running += 1
            self._next += 1
            return self._next - 1

    def _began(self, index: int, cancel: Callable[[], object]) -> None:
        with self._lock:
            is_wanted = not self._over
            if is_wanted and self._outcomes[index] is None:
                self._cancels[index] = cancel
        if not is_wanted:
            cancel()

    def _single(self, index: int) -> Predict:
        of = self._operation
        rows: dict[str, Tensor] = {}
        for alias, (kind, array) in self._inputs.items():
            row = array[index : index + 1]
            rows[alias] = kind, row.shape, row
        return Predict(of.which, of.signature, rows, of.outputs, of.key, of.low)

    def _settle(self, index: int, outcome: Prediction | ServingError) -> None:
        with self._lock:
            self._outcomes[index] = outcome
            self._cancels.pop(index, None)
            self._running -= 1
            self._left -= 1
            is_last = not self._left and not self._over
        if is_last:
            self._done(self._together())
        else:
            self.start_more()

    def _together(self) -> Predictions | ServingError:
        try:
            return _together(self._operation, [found for found in self._outcomes if found is not None])
        except MemoryError:
            return ServingError(Code.RESOURCE_EXHAUSTED, f"No memory for the outputs of {len(self._outcomes)} requests")
        except Exception as error:  # whatever it is, somebody waits
            return failures.unforeseen(error)


def _together(operation: PredictEach, outcomes: Sequence[Prediction | ServingError]) -> Predictions | ServingError:
    """An error where all have failed alike."""
    errors = {index: found for index, found in enumerate(outcomes) if isinstance(found, ServingError)}
    first = next((found for found in outcomes if isinstance(found, Prediction)), None)
    if first is None:
        if len({(error.code, error.message) for error in errors.values()}) == 1:
            return errors[0]
        model, version, _ = operation.which
        return Predictions([], Source(model, version or 0, operation.signature), errors)
    for alias, array in first.items():
        if array.ndim == 0 or len(array) != 1:
            text = f"Output {alias!r} has the shape {list(array.shape)}, not a row for the request: use submit or a stream"
            return ServingError(Code.FAILED_PRECONDITION, text)
    for index, found in enumerate(outcomes):
        if isinstance(found, Prediction) and _form(found) != _form(first):
            text = "The outputs differ in type or shape from those of other requests"
            errors[index] = ServingError(Code.FAILED_PRECONDITION, text)
    columns = [(alias, _column(alias, array, outcomes, errors)) for alias, array in first.items()]
    return Predictions(columns, first.source, errors)


def _shaped(values: Array | list[bytes], shape: Sequence[int]) -> Array:
    return np.asarray(values).reshape(tuple(shape))


def _form(prediction: Prediction) -> list[tuple[str, Any, Any]]:
    return sorted((alias, array.dtype.str, array.shape) for alias, array in prediction.items())


def _column(alias: str, like: Array, outcomes: Sequence[Any], errors: Mapping[int, ServingError]) -> Array:
    """An output's rows; zeros for those that have failed."""
    nothing = np.full(like.shape, b"", like.dtype) if like.dtype.hasobject else np.zeros(like.shape, like.dtype)
    return np.concatenate([nothing if index in errors else found[alias] for index, found in enumerate(outcomes)])

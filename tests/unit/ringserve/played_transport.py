"""A transport without a server: what is asked waits until the test answers it, or is answered at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from ringserve.client import Metadata, Prediction, async_client, client, failures
from ringserve.client.answers import Source
from ringserve.client.operations import Operation, Predict
from ringserve.errors import ServingError
from ringserve.signature import Signature

HALF = Signature.of({"x": ("float", (-1,))}, {"y": ("float", (-1,))})


class Asked:
    """A call that has no answer yet."""

    def __init__(self, operation: Any, timeout: float | None, done: Callable[[Any], object]) -> None:
        self.operation = operation
        self.timeout = timeout
        self.done = done
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class PlayedTransport:
    """`answer`: of an operation; what it raises is a failure. None: calls wait in `asked`."""

    def __init__(self, answer: Callable[[Any], Any] | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.operations: list[Any] = []
        self.timeouts: list[float | None] = []
        self.is_closed = False
        self._changed = threading.Condition()

    def call(self, operation: Operation[Any], timeout: float | None) -> Any:
        come: SimpleQueue[Any] = SimpleQueue()
        self.start(operation, timeout, come.put)
        outcome = come.get(timeout=20)
        if isinstance(outcome, ServingError):
            raise outcome
        return outcome

    def start(self, operation: Any, timeout: float | None, done: Callable[[Any], object]) -> Callable[[], object]:
        if self.is_closed:
            raise failures.closed()
        self.operations.append(operation)
        self.timeouts.append(timeout)
        asked = Asked(operation, timeout, done)
        if self.answer is None:
            with self._changed:
                self.asked.append(asked)
                self._changed.notify_all()
            return asked.cancel
        try:
            outcome = self.answer(operation)
        except ServingError as error:
            outcome = error
        done(outcome)
        return asked.cancel

    def close(self) -> None:
        self.is_closed = True

    def next(self, count: int = 1) -> list[Asked]:
        """Waits for so many calls, and takes them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= count, 20)
            taken, self.asked[:] = self.asked[:count], self.asked[count:]
        return taken


@contextmanager
def playing(transport: PlayedTransport) -> Iterator[Any]:
    """Clients of any address have this transport."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (client, async_client):
            patch.setattr(module, "transport_of", lambda *_: transport)
        yield transport


def half(operation: Any) -> Any:
    """Answers of half_plus_two, to Predict and to questions for its metadata."""
    if not isinstance(operation, Predict):
        return Metadata(operation.which[0], 7, {"serving_default": HALF})
    _, shape, x = operation.inputs["x"]
    return prediction(y=np.asarray(x).reshape(shape) * np.float32(0.5) + np.float32(2))


def prediction(**outputs: Any) -> Prediction:
    return Prediction(outputs.items(), Source("half", 7, "serving_default"))

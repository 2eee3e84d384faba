"""Operations for the servers of `lane_server`, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lane_server import LIMIT, LaneServer, lane_server, until

from ringserve.client.operations import Operation, Predict, PredictEach, Which
from ringserve.client.shm.transport import ShmTransport
from ringserve.errors import ServingError
from ringserve.tensor import BY_NAME

HALF: Which = ("half", None, None)
FLOAT = BY_NAME["float"]


def predict(values: Any, *outputs: str, which: Which = HALF, key: str | None = None) -> Predict:
    array = np.asarray(values, "<f4")
    return Predict(which, "", {"x": (FLOAT, array.shape, array)}, outputs, key)


def each(values: Any, *outputs: str) -> PredictEach:
    array = np.asarray(values, "<f4")
    return PredictEach(HALF, "", {"x": (FLOAT, array.shape, array)}, outputs)


def half(values: Any) -> Any:
    return (np.asarray(values, "<f4") / 2 + 2).tolist()


class Started:
    """Calls that were started, and their outcomes."""

    def __init__(self, transport: ShmTransport) -> None:
        self.transport = transport
        self.outcomes: dict[int, list[Any]] = {}
        self.cancel: list[Callable[[], object]] = []

    def start(self, operation: Operation[Any], timeout: float | None = LIMIT) -> int:
        number = len(self.outcomes)
        told: list[Any] = []
        self.outcomes[number] = told
        self.cancel.append(self.transport.start(operation, timeout, told.append))
        return number

    def outcome(self, number: int) -> Any:
        """Waits for it."""
        until(lambda: bool(self.outcomes[number]))
        (outcome,) = self.outcomes[number]
        return outcome

    def error(self, number: int) -> ServingError:
        outcome = self.outcome(number)
        assert isinstance(outcome, ServingError)
        return outcome


@contextmanager
def served(folder: Path) -> Iterator[tuple[LaneServer, ShmTransport]]:
    with lane_server(folder) as server:
        transport = ShmTransport("shm://" + server.path)
        try:
            yield server, transport
        finally:
            server.running.set()
            transport.close()

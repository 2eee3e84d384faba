"""A way for many predict requests, under a stream that callers see."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from ringserve.client.answers import Prediction
from ringserve.client.operations import Predict


class OperationStream(Protocol):
    """Used by several threads at once."""

    def submit(self, operation: Predict, timeout: float | None) -> Future[Prediction]:
        """Waits while there is no room, but not in a callback. `timeout` in seconds, None: no limit.

        Raises ServingError: why the stream has ended, or DEADLINE_EXCEEDED where there is no room in time.
        """

    def close(self) -> None:
        """Takes no more requests, and returns when every one has its result; in a callback, at once."""

    def cancel(self) -> None:
        """Requests without a result fail with CANCELLED, as do later ones."""

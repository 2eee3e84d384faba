"""Many small predict requests, of which a number has no result at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from ringserve.client.answers import Prediction
from ringserve.client.operation_stream import OperationStream
from ringserve.client.operations import Predict

#: As `Client.predict` takes it, to an operation. The last argument is the seconds that there are for it; those that are left
#: are returned, too.
MakePredict = Callable[..., tuple[Predict, float | None]]


class PredictionStream:
    """A request that fails does so alone. Used by any number of threads. `Client.stream` makes them."""

    def __init__(
        self,
        way: OperationStream,
        make: MakePredict,
        seconds: Callable[[float | None], float | None],
        key: str | None,
        low: bool,
    ) -> None:
        """`seconds`: what a request's timeout comes to; `low`: the requests are of low priority."""
        self._way = way
        self._make = make
        self._seconds = seconds
        self._key = key
        self._low = low

    def submit(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> Future[Prediction]:
        """As `Client.submit`. Waits while the stream has as many requests without a result as it may have.

        Raises ServingError for inputs that are no tensors, when there is no room in time, and when the stream has ended.
        Callbacks of futures run in the stream's own threads: they may submit, beyond the limit too, but not wait for results
        of the same stream.
        """
        seconds = self._seconds(timeout)
        operation, left = self._make(model, version, label, signature, inputs, outputs, self._key, self._low, seconds)
        return self._way.submit(operation, left)

    def predict(self, model: str, inputs: Any, **named: Any) -> Prediction:
        """Submits and waits."""
        return self.submit(model, inputs, **named).result()

    def close(self) -> None:
        """Takes no more requests, and returns when every one has its result; in a callback, at once. Again: does nothing."""
        self._way.close()

    def cancel(self) -> None:
        """Ends the stream; requests without a result fail with CANCELLED."""
        self._way.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.cancel()

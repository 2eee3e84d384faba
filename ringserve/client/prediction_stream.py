"""Many small predict requests on one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

from ringserve.client.answers import Prediction
from ringserve.client.predict_requests import PredictRequests
from ringserve.client.prediction_reader import prediction
from ringserve.client.request_queue import Request, RequestQueue
from ringserve.client.streamed_messages import Result, results
from ringserve.client.transport import CallMetadata, Transport
from ringserve.errors import Code, ServingError
from ringserve.protobuf_wire import WireError
from ringserve.streaming_messages import PREDICT_STREAM

_END_SECONDS: Final = 5.0  # for a server that has answered everything to end the call
_LARGEST_CODE: Final = max(Code)


class PredictionStream:
    """Requests go out as the connection takes them, several in a message; results come back in the requests' order.

    A request that fails does so alone. When the stream itself ends early, all that have no result fail with why it did, as
    do later ones: there is no second try. Used by any number of threads. `Client.stream` makes them.
    """

    def __init__(
        self,
        transport: Transport,
        requests: PredictRequests,
        seconds: Callable[[float | None], float | None],
        most_outstanding: int,
        timeout: float | None,
        beside: CallMetadata = (),
    ) -> None:
        """`timeout`: in seconds, of the stream; `seconds`: what a request's timeout comes to."""
        self._requests = requests
        self._seconds = seconds
        self._queue = RequestQueue(most_outstanding)
        self._call = transport.open_stream(PREDICT_STREAM, self._queue, timeout, beside)
        self._threads = [
            threading.Thread(target=self._read, name="ringserve-stream", daemon=True),
            threading.Thread(target=self._queue.watch, name="ringserve-stream-deadlines", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

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
        `Future.cancel` works until the request is sent. Callbacks run in the stream's own thread: they may submit, beyond
        the limit too, but not wait for results of the same stream.
        """
        seconds = self._seconds(timeout)
        message = self._requests.serialised((model, version, label), inputs, signature, outputs, seconds)
        request = Request(message, seconds)
        if seconds == 0:  # which no message can say
            request.is_over()
            return request.future
        self._queue.add(request, may_wait=not self._is_inside())
        return request.future

    def predict(self, model: str, inputs: Any, **named: Any) -> Prediction:
        """Submits and waits."""
        return self.submit(model, inputs, **named).result()

    def close(self) -> None:
        """Takes no more requests, and returns when every one has its result; in a callback, at once. Again: does nothing."""
        self._queue.close()
        if self._is_inside():
            return
        self._queue.wait_until_answered()
        self._threads[0].join(_END_SECONDS)
        self.cancel()

    def cancel(self) -> None:
        """Ends the stream; requests without a result fail with CANCELLED."""
        self._queue.fail(ServingError(Code.CANCELLED, "The stream was cancelled"))
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.cancel()

    def _is_inside(self) -> bool:
        """Is this a thread that must not wait, since others wait for it?"""
        return threading.current_thread() in self._threads

    def _read(self) -> None:
        error = ServingError(Code.INTERNAL, "The stream's thread has failed")
        try:
            for message in self._call:
                self._settle(message)
            error = ServingError(Code.UNAVAILABLE, "The server has ended the stream")
        except ServingError as ended:
            error = ended
        except WireError as broken:
            error = ServingError(Code.INTERNAL, f"The server's answer can't be read: {broken}")
        finally:  # nobody is to wait for a thread that is no more, whatever it was that ended it
            self._queue.fail(error)
            self._call.cancel()

    def _settle(self, message: bytes) -> None:
        found = list(results(message))
        for request, result in zip(self._queue.answered(len(found)), found, strict=True):
            if request is not None:
                _settle_one(request, message, result)


def _settle_one(request: Request, message: bytes, result: Result) -> None:
    if result.code:
        code = Code(result.code) if result.code <= _LARGEST_CODE else Code.UNKNOWN
        request.fail(ServingError(code, result.message))
        return
    try:
        answer = prediction(message[slice(*result.response)])
    except Exception as error:  # whatever it is, somebody waits
        request.fail(error)
    else:
        request.future.set_result(answer)

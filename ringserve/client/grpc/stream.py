"""Many small predict requests on one gRPC call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Final

from ringserve.client import failures
from ringserve.client.answers import Prediction
from ringserve.client.grpc.channel import StreamCall
from ringserve.client.grpc.messages import predict_message
from ringserve.client.grpc.prediction_reader import prediction
from ringserve.client.grpc.request_queue import Request, RequestQueue
from ringserve.client.grpc.streamed_messages import Result, results
from ringserve.client.operations import Predict
from ringserve.errors import Code, ServingError
from ringserve.protobuf_wire import WireError

_END_SECONDS: Final = 5.0  # for a server that has answered everything to end the call
_LARGEST_CODE: Final = max(Code)


class GrpcStream:
    """Requests go out as the connection takes them, several in a message; results come back in the requests' order.

    A request that fails does so alone. When the stream itself ends early, all that have no result fail with why it did, as
    do later ones: there is no second try. `Future.cancel` works until the request is sent.
    """

    def __init__(self, opened: Callable[[Iterator[bytes]], StreamCall], most_outstanding: int) -> None:
        """`opened`: makes the call, given the messages to send."""
        self._queue = RequestQueue(most_outstanding)
        self._call = opened(self._queue)
        self._threads = [
            threading.Thread(target=self._read, name="ringserve-stream", daemon=True),
            threading.Thread(target=self._queue.watch, name="ringserve-stream-deadlines", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def failure(self) -> ServingError | None:
        """Why it has ended before its time."""
        return self._queue.failure

    def submit(self, operation: Predict, timeout: float | None) -> Future[Prediction]:
        request = Request(predict_message(operation), timeout)
        if timeout == 0:  # which no message can say
            request.is_over()
            return request.future
        self._queue.add(request, may_wait=not self._is_inside())
        return request.future

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
        self._queue.fail(failures.stream_cancelled())
        self._call.cancel()

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
    except ServingError as error:
        request.fail(error)
    except Exception as error:  # whatever it is, somebody waits
        request.fail(failures.unforeseen(error))
    else:
        request.future.set_result(answer)

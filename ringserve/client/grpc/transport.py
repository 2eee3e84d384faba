"""Operations over TensorFlow Serving's gRPC API, of ringserve's own server and of upstream's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from ringserve.client import failures
from ringserve.client.call_future import call_started
from ringserve.client.each import Done, start_each
from ringserve.client.grpc.address import Address
from ringserve.client.grpc.channel import GrpcChannel
from ringserve.client.grpc.each import FEW, StreamedEach
from ringserve.client.grpc.messages import Exchange, beside, exchange_of, request_metadata
from ringserve.client.grpc.stream import GrpcStream
from ringserve.client.operations import Models, Operation, PredictEach
from ringserve.client.per_process import PerProcess
from ringserve.client.tls import Tls, with_texts
from ringserve.client.transport import nothing
from ringserve.errors import Code, ServingError
from ringserve.streaming_messages import PREDICT_STREAM

T = TypeVar("T")


class GrpcTransport:
    """One connection for each process that uses it."""

    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        """Raises ValueError for `tls` with an address that has none, OSError where a file of it can't be read."""
        if tls is not None and not address.secure:
            raise ValueError("tls needs an address that begins with grpcs://")
        texts = with_texts(tls or Tls()) if address.secure else None
        self._channels = PerProcess(lambda: GrpcChannel(address.target, texts), GrpcChannel.close)
        self._closed = False
        self._has_streams = True  # as far as is known

    def call(self, operation: Operation[T], timeout: float | None) -> T:
        if isinstance(operation, PredictEach):
            return cast(T, call_started(self, operation, timeout))
        exchange = exchange_of(operation)
        message = exchange.message(operation)
        try:
            answer = self._channel().call(exchange.method, message, timeout, beside(operation))
        except ServingError as error:
            raise _in_words(error, operation) from None
        return cast(T, exchange.read(answer))

    def start(
        self, operation: Operation[T], timeout: float | None, done: Callable[[T | ServingError], None]
    ) -> Callable[[], object]:
        if isinstance(operation, PredictEach):
            return self._start_each(operation, timeout, cast(Callable[[Any], None], done))
        exchange = exchange_of(operation)
        channel = self._channel()
        try:
            message = exchange.message(operation)
        except ServingError as error:
            done(error)
            return nothing
        return channel.start(
            exchange.method, message, timeout, lambda outcome: done(_answer(exchange, operation, outcome)), beside(operation)
        )

    def stream(self, most_outstanding: int, timeout: float | None, key: str | None, low: bool) -> GrpcStream:
        """One call for all of its requests; only ringserve's server has it."""

        def opened(messages: Any) -> Any:
            return self._channel().open_stream(PREDICT_STREAM, messages, timeout, request_metadata(key, low))

        return GrpcStream(opened, most_outstanding)

    def _start_each(self, operation: PredictEach, timeout: float | None, done: Done) -> Callable[[], object]:
        if not self._has_streams or operation.count < FEW:
            return start_each(self, operation, timeout, done)
        each = StreamedEach(self, operation, timeout, done, self._note_no_streams)
        each.start(self.stream(operation.count, None, operation.key, operation.low))
        return each.cancel

    def _note_no_streams(self) -> None:
        self._has_streams = False

    def close(self) -> None:
        self._closed = True
        made = self._channels.made()
        if made is not None:
            made.close()

    def _channel(self) -> GrpcChannel:
        if self._closed:
            raise failures.closed()
        channel = self._channels.get()
        if self._closed:  # meanwhile, so that `close` may not have seen this one
            channel.close()
            raise failures.closed()
        return channel


def _answer(exchange: Exchange, operation: Operation[Any], outcome: bytes | ServingError) -> Any:
    """Or why there is none."""
    if isinstance(outcome, ServingError):
        return _in_words(outcome, operation)
    try:
        return exchange.read(outcome)
    except ServingError as error:
        return error
    except Exception as error:  # whatever it is, somebody waits
        return failures.unforeseen(error)


def _in_words(error: ServingError, operation: Operation[Any]) -> ServingError:
    if error.code is Code.UNIMPLEMENTED and isinstance(operation, Models):
        text = "TensorFlow Serving's gRPC API can't name the models, and this server has no grpc.health.v1.Health/List"
        return ServingError(error.code, text)
    return error

"""gRPC, with messages as plain bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc

from ringserve.client.address import Address
from ringserve.client.tls import Tls, pem
from ringserve.client.transport import CallMetadata, StreamCall
from ringserve.errors import Code, ServingError

_MOST_BYTES: Final = (1 << 31) - 1  # of a message: what lengths in gRPC and protobuf can say

_LATE_WORDS: Final = "Deadline Exceeded"  # what gRPC says itself; servers have other words
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", -1),  # where gRPC's own 4 MiB would fail large tensors
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each client, not one for all with the same address
    ("grpc.initial_reconnect_backoff_ms", 200),  # a server that is back is found soon; gRPC waits up to 120 s
    ("grpc.max_reconnect_backoff_ms", 5000),
]


class GrpcTransport:
    """One connection, made when it is first needed and again when it is lost. Nothing is sent twice."""

    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        """Raises ValueError for `tls` with an address that has none, OSError where a file of it can't be read."""
        if not address.secure:
            if tls is not None:
                raise ValueError("tls needs an address that begins with grpcs://")
            self._channel = grpc.insecure_channel(address.target, _OPTIONS)
        else:
            self._channel = _secure_channel(address.target, tls or Tls())
        self._unary: dict[str, Any] = {}
        self._lock = threading.Lock()

    def call(self, method: str, message: bytes, timeout: float | None, beside: CallMetadata = ()) -> bytes:
        if _is_over(timeout):
            raise _late(timeout)
        try:
            answer: bytes = self._method(method)(_sendable(message), timeout=timeout, metadata=beside)
        except grpc.RpcError as error:
            raise _serving_error(error, timeout) from None  # the call's own traceback has all of gRPC's threads
        except ValueError as error:
            raise _closed() from error
        return answer

    def start(
        self,
        method: str,
        message: bytes,
        timeout: float | None,
        done: Callable[[bytes | ServingError], None],
        beside: CallMetadata = (),
    ) -> Callable[[], object]:
        if _is_over(timeout):
            done(_late(timeout))
            return _nothing
        try:
            call = self._method(method).future(_sendable(message), timeout=timeout, metadata=beside)
        except ValueError as error:
            raise _closed() from error
        call.add_done_callback(lambda ended: done(_outcome(ended, timeout)))
        cancel: Callable[[], object] = call.cancel
        return cancel

    def open_stream(
        self, method: str, messages: Iterator[bytes], timeout: float | None, beside: CallMetadata = ()
    ) -> StreamCall:
        try:
            return _Stream(self._channel.stream_stream(method)(messages, timeout=timeout, metadata=beside), timeout)
        except ValueError as error:
            raise _closed() from error

    def close(self) -> None:
        self._channel.close()

    def _method(self, method: str) -> Any:
        known = self._unary.get(method)
        if known is None:
            with self._lock:
                known = self._unary.setdefault(method, self._channel.unary_unary(method))
        return known


class _Stream:
    def __init__(self, call: Any, timeout: float | None) -> None:
        self._call = call
        self._timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._call
        except grpc.RpcError as error:
            raise _serving_error(error, self._timeout) from None

    def cancel(self) -> None:
        self._call.cancel()


def _secure_channel(target: str, tls: Tls) -> Any:
    credentials = grpc.ssl_channel_credentials(pem(tls.root_certificates), pem(tls.private_key), pem(tls.certificate))
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.secure_channel(target, credentials, [*_OPTIONS, *named])


def _sendable(message: bytes) -> bytes:
    if len(message) > _MOST_BYTES:
        text = f"A request of {len(message)} bytes; gRPC carries at most {_MOST_BYTES}"
        raise ServingError(Code.INVALID_ARGUMENT, text)
    return message


def _outcome(call: Any, timeout: float | None) -> bytes | ServingError:
    """Of a call that is done."""
    try:
        answer: bytes = call.result()
    except grpc.RpcError as error:
        return _serving_error(error, timeout)
    except grpc.FutureCancelledError:
        return ServingError(Code.CANCELLED, "The call was cancelled")
    return answer


def _serving_error(error: Any, timeout: float | None) -> ServingError:
    code, text = Code(error.code().value[0]), error.details() or ""
    if code is Code.DEADLINE_EXCEEDED and text == _LATE_WORDS and timeout is not None:
        return _late(timeout)
    return ServingError(code, text)


def _is_over(timeout: float | None) -> bool:
    """gRPC itself may or may not make a call without any time."""
    return timeout is not None and timeout <= 0


def _late(timeout: float | None) -> ServingError:
    return ServingError(Code.DEADLINE_EXCEEDED, f"No answer within {timeout or 0:.6g} s")


def _nothing() -> None:
    """Cancels a call that was never made."""


def _closed() -> ServingError:
    return ServingError(Code.FAILED_PRECONDITION, "The client is closed")

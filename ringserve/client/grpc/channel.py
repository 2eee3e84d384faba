"""gRPC, with messages as plain bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import grpc

from ringserve.client import failures
from ringserve.client.grpc.forks import GATE
from ringserve.client.tls import Tls, pem
from ringserve.client.transport import nothing
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


#: What a call says beside its messages: names, and ASCII texts.
CallMetadata = Sequence[tuple[str, str]]


class StreamCall(Protocol):
    """One call with a stream of messages in either direction."""

    def __iter__(self) -> Iterator[bytes]:
        """The server's messages, by one thread, until the call has ended. Raises ServingError where it didn't end well."""

    def cancel(self) -> None:
        """Ends the call at once."""


class GrpcChannel:
    """One connection, made when it is first needed and again when it is lost. Nothing is sent twice.

    `method` is a path, "/package.Service/Method"; `timeout` is in seconds, None: no limit.
    """

    def __init__(self, target: str, tls: Tls | None) -> None:
        """`target`: as gRPC names it; `tls`: with texts, None: without TLS. Raises ServingError as `ForkGate.check`."""
        GATE.check()
        if tls is None:
            self._channel = grpc.insecure_channel(target, _OPTIONS)
        else:
            roots, certificate, key = pem(tls.root_certificates), pem(tls.certificate), pem(tls.private_key)
            credentials = grpc.ssl_channel_credentials(roots, key, certificate)
            named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
            self._channel = grpc.secure_channel(target, credentials, [*_OPTIONS, *named])
        self._unary: dict[str, Any] = {}

    def call(self, method: str, message: bytes, timeout: float | None, beside: CallMetadata = ()) -> bytes:
        if _is_over(timeout):
            raise failures.late(timeout)
        GATE.enter()
        try:
            answer: bytes = self._method(method)(_sendable(message), timeout=timeout, metadata=beside)
        except grpc.RpcError as error:
            raise _serving_error(error, timeout) from None  # the call's own traceback has all of gRPC's threads
        except ValueError as error:
            raise failures.closed() from error
        finally:
            GATE.leave()
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
            done(failures.late(timeout))
            return nothing
        GATE.enter()
        try:
            call = self._method(method).future(_sendable(message), timeout=timeout, metadata=beside)
        except ValueError as error:
            GATE.leave()
            raise failures.closed() from error
        except BaseException:
            GATE.leave()
            raise

        def ended(_: Any) -> None:
            GATE.leave()
            done(_outcome(call, timeout))

        call.add_done_callback(ended)
        cancel: Callable[[], object] = call.cancel
        return cancel

    def open_stream(
        self, method: str, messages: Iterator[bytes], timeout: float | None, beside: CallMetadata = ()
    ) -> StreamCall:
        GATE.enter()
        try:
            call = self._channel.stream_stream(method)(messages, timeout=timeout, metadata=beside)
        except ValueError as error:
            GATE.leave()
            raise failures.closed() from error
        except BaseException:
            GATE.leave()
            raise
        call.add_done_callback(lambda _: GATE.leave())
        return _Stream(call, timeout)

    def close(self) -> None:
        self._channel.close()

    def _method(self, method: str) -> Any:
        known = self._unary.get(method)
        if known is None:
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
        return failures.cancelled()
    return answer


def _serving_error(error: Any, timeout: float | None) -> ServingError:
    code, text = Code(error.code().value[0]), error.details() or ""
    if code is Code.DEADLINE_EXCEEDED and text == _LATE_WORDS and timeout is not None:
        return failures.late(timeout)
    return ServingError(code, text)


def _is_over(timeout: float | None) -> bool:
    """gRPC itself may or may not make a call without any time."""
    return timeout is not None and timeout <= 0

"""The settings of gRPC that a server runs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringserve.channel_arguments import parse_channel_arguments

_REUSE_PORT: Final = "grpc.so_reuseport"
_KEEPALIVE_TIMEOUT: Final = "grpc.keepalive_timeout_ms"
_PING_TIMEOUT: Final = "grpc.http2.ping_timeout_ms"

_RECEIVE: Final = "grpc.max_receive_message_length"
_MOST_RECEIVED: Final = (1 << 31) - 1
_MOST_PENDING: Final = 100_000

_DEFAULTS: Final[Mapping[str, int]] = {
    "grpc.max_send_message_length": -1,  # upstream's
    # Per connection. gRPC has no limit of its own, and each call costs memory; a client's further calls wait in the client.
    "grpc.max_concurrent_streams": 4096,
    # Otherwise gRPC counts calls that have ended and are not freed yet, and resets new ones that should wait in the client.
    "grpc.http.overload_protection": 0,
    # Calls of a server that were received and not accepted yet. Beyond gRPC's 1000 it cancels some of anybody's, by chance.
    "grpc.server.max_pending_requests": _MOST_PENDING,
    "grpc.server.max_pending_requests_hard_limit": _MOST_PENDING,
    # Clients behind load balancers ping every 10 s, with and without calls. gRPC would cut them off after three pings within
    # 5 minutes; less than 10 s, since pings don't arrive as evenly as they were sent.
    "grpc.http2.min_ping_interval_without_data_ms": 8_000,
    "grpc.keepalive_permit_without_calls": 1,
    # A peer that is gone without a word is noticed in 5 minutes, not 2 hours.
    "grpc.keepalive_time_ms": 300_000,
    _KEEPALIVE_TIMEOUT: 20_000,
    # Until a client has acknowledged its settings gRPC may keep its socket, though it was reset; by itself for 60 s.
    "grpc.http2.settings_timeout": 20_000,
}


def channel_options(arguments: str, most_bytes: int = _MOST_RECEIVED) -> list[tuple[str, int | str]]:
    """The defaults, with the --grpc_channel_arguments on top; `most_bytes`: of a message that is received, which gRPC looks
    at before it comes. Raises ServingError for what can't be parsed.
    """
    received = {_RECEIVE: min(most_bytes, _MOST_RECEIVED)}
    settings: dict[str, int | str] = {**_DEFAULTS, **received, **dict(parse_channel_arguments(arguments))}
    # gRPC 1.85 closes the connection when the ping's own time is over, 60 s, whatever the keep-alive's is.
    settings.setdefault(_PING_TIMEOUT, settings[_KEEPALIVE_TIMEOUT])
    # Whoever turns it off wants no second server on the port, which the supervisor sees to, with a socket that shares it.
    settings[_REUSE_PORT] = 1
    return list(settings.items())

"""The settings of gRPC, and what they do to connections."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from frontend.grpc.channel_options import channel_options
from ringserve.errors import ServingError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
SETTINGS_TAKEN = b"\0\0\0\4\1\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0" + b"sequence"


@contextmanager
def connection(arguments: str) -> Iterator[socket.socket]:
    """An HTTP/2 connection, with nothing between it and a gRPC server with these arguments."""
    with ThreadPoolExecutor(1) as executor:
        server = grpc.server(executor, options=channel_options(arguments))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(PREFACE + SETTINGS)
                yield client
        finally:
            server.stop(None).wait()


def frames(client: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each frame, until the server closes the connection."""
    with client.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            yield head[3], stream.read(int.from_bytes(head[:3], "big"))


def goodbye(client: socket.socket) -> bytes:
    """The reason that the server gives for closing the connection."""
    return next(payload[8:] for kind, payload in frames(client) if kind == 7)


@pytest.mark.parametrize(("arguments", "limit"), [("", 4096), ("grpc.max_concurrent_streams=7", 7)])
def test_calls_at_a_time_are_limited(arguments: str, limit: int) -> None:
    with connection(arguments) as client:
        kind, payload = next(frames(client))
        assert kind == 4
        told: Mapping[int, int] = dict(struct.iter_unpack(">HI", payload))
        assert told[3] == limit


def test_clients_that_ping_often_are_cut_off() -> None:
    with connection("") as client:
        client.sendall(SETTINGS_TAKEN + 4 * PING)
        assert goodbye(client) == b"too_many_pings"


def test_clients_may_ping_as_often_as_is_said_without_a_call() -> None:
    with connection("grpc.http2.min_ping_interval_without_data_ms=20") as client:
        client.sendall(SETTINGS_TAKEN)
        answers = frames(client)
        for _ in range(10):
            time.sleep(0.03)  # the interval is what is tested: nothing could be waited for
            client.sendall(PING)
            assert next(payload for kind, payload in answers if kind in (6, 7)) == b"sequence"


def test_a_peer_that_is_gone_is_noticed_although_it_has_no_call() -> None:
    with connection("grpc.keepalive_time_ms=50,grpc.keepalive_timeout_ms=100") as client:
        client.sendall(SETTINGS_TAKEN)
        assert goodbye(client) == b"ping_timeout"


def test_a_client_that_does_not_take_the_settings_is_cut_off() -> None:
    assert dict(channel_options(""))["grpc.http2.settings_timeout"] == 20_000
    with connection("grpc.http2.settings_timeout=100") as client:
        assert goodbye(client) == b"settings_timeout"


@pytest.mark.parametrize(("most", "limit"), [(1000, 1000), (1 << 40, (1 << 31) - 1)])
def test_messages_may_be_as_large_as_requests(most: int, limit: int) -> None:
    options = dict(channel_options("", most))
    assert options["grpc.max_receive_message_length"] == limit
    assert options["grpc.max_send_message_length"] == -1


def test_what_the_flag_says_counts() -> None:
    options = channel_options("grpc.max_receive_message_length=5,grpc.keepalive_time_ms=1,x.y=z")
    found = dict(options)
    assert len(found) == len(options)
    assert (found["grpc.max_receive_message_length"], found["grpc.keepalive_time_ms"], found["x.y"]) == (5, 1, "z")


def test_the_port_stays_shared_with_the_supervisors_reservation() -> None:
    assert dict(channel_options("grpc.so_reuseport=0"))["grpc.so_reuseport"] == 1


def test_what_cannot_be_parsed() -> None:
    with pytest.raises(ServingError, match="not key=value"):
        channel_options("grpc.so_reuseport")

"""Clients that break the rules of HTTP/2, gRPC or protobuf, or die in the middle: nobody else notices."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest

from end_to_end import process_facts
from end_to_end.conftest import DATA, write_config
from end_to_end.grpc_load import GrpcLoad, channel_to
from end_to_end.grpc_questions import CLASSIFY, PREDICT, REGRESS, example_message, halves, predict_message
from end_to_end.grpc_server_facts import check, connections, front_end, in_flight
from end_to_end.hostile_calls import ANSWER, CALL, HOSTILE, OPEN, REQUEST, WATCH, numbered
from end_to_end.http2_frames import PREFACE, data, headers, settings
from end_to_end.running_server import RunningServer
from end_to_end.test_grpc_faults import begun
from end_to_end.waiting import wait_until
from ringserve.model_spec_writer import model_spec_field

LIMIT = 30.0  # seconds
#: Seconds. gRPC may keep the socket of a client that is gone until this one has not acknowledged its settings for this time.
SETTINGS_SECONDS = 10
CLOSED_WITHIN = SETTINGS_SECONDS + 20.0
MB = 1 << 20
MOST_BYTES = 4 * MB
SOON = 5.0  # seconds: a client whose processor has much else to do may stand still for more than one
STREAM = "/ringserve.StreamingPrediction/Predict"
REFLECTIONS = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))
UNARY = (
    *(
        f"/tensorflow.serving.PredictionService/{name}"
        for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")
    ),
    *(f"/tensorflow.serving.ModelService/{name}" for name in ("GetModelStatus", "HandleReloadConfigRequest")),
    *(f"/grpc.health.v1.Health/{name}" for name in ("Check", "List")),
)


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    served = {name: models / name for name in ("half_plus_two", "text", "identity", "slow")}
    config = write_config(
        tmp_path_factory.mktemp("faults") / "models.config", served | {"default": DATA / "saved_model_half_plus_two_cpu"}
    )
    arguments = f"--grpc_channel_arguments=grpc.http2.settings_timeout={SETTINGS_SECONDS * 1000}"
    with RunningServer(config, f"--max_request_bytes={MOST_BYTES}", arguments, grpc=True) as running:
        with channel_to(running.grpc_port) as channel:
            check(channel)
            for method in UNARY[:-1]:  # what is loaded with a first call is there from now on
                with suppress(grpc.RpcError):
                    channel.unary_unary(method)(b"\x0a\x00", timeout=LIMIT)
        yield running


@pytest.fixture
def unharmed(server: RunningServer) -> Iterator[GrpcLoad]:
    """While a test lasts others are answered, and rightly; when it ends all is as it was before."""
    processes, before, logged = server.processes(), connections(server), len(server.log)
    with GrpcLoad(server.grpc_port, 1, 2, halves()) as load:
        yield load
        load.wait_for_answers(20)
        outcome = load.stop()
    assert (outcome.wrong, outcome.failed) == ([], Counter()), outcome.texts
    assert outcome.slowest < 5
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 10, "the lanes empty")
    wait_until(lambda: connections(server) <= before, CLOSED_WITHIN, lambda: f"{before} sockets, not {connections(server)}")
    wait_until(lambda: not in_flight(server), 10, "no request in flight")
    assert server.processes() == processes
    assert "Traceback" not in server.log[logged:]
    assert "ERROR" not in server.log[logged:]


@contextmanager
def memory_grows_by_less_than(size: int, server: RunningServer) -> Iterator[None]:
    before = process_facts.resident_bytes(front_end(server))
    yield
    assert process_facts.resident_bytes(front_end(server)) < before + size


def test_clients_killed_in_the_middle_of_much(server: RunningServer, unharmed: GrpcLoad) -> None:
    slow = predict_message("slow", x=np.ones(1, "f4"))
    with ExitStack() as stack:
        for request, count in ((REQUEST, 2000), (slow, 20), (REQUEST, 2000)):
            client = stack.enter_context(begun(server, request, count))
            client.kill()
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) < 5, LIMIT, "the lanes all but empty")


# Clients that break HTTP/2's rules, or keep them as wastefully as they can


def connected(server: RunningServer) -> socket.socket:
    connection = socket.create_connection(("localhost", server.grpc_port))
    connection.settimeout(LIMIT)
    return connection


def sent(connection: socket.socket, pieces: bytes, most_seconds: float = 3) -> None:
    """As much of it as the server takes in time, which it need not."""
    connection.settimeout(most_seconds)
    with suppress(OSError):
        connection.sendall(pieces)


def received(connection: socket.socket, enough: bytes | None = None) -> bytes:
    """Until the connection ends, or `enough` has come."""
    connection.settimeout(LIMIT)
    everything = b""
    with suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            everything += piece
            if enough is not None and enough in everything:
                break
    return everything


#: How much memory is gRPC's own for these, in all: 16 MiB of headers for each connection, 150 bytes for each header, and
#: 12 KB for each call, of which a connection may have 4096.
GROWTH: dict[str, int] = {"headers that never end": 150 * MB, "many headers": 400 * MB, "streams without messages": 300 * MB}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_clients(server: RunningServer, unharmed: GrpcLoad, name: str) -> None:
    """Several at a time; some go politely, some with a reset, and one stays until it is sent away, or the test ends."""
    assert unharmed.outcome.answered
    with memory_grows_by_less_than(GROWTH.get(name, 80 * MB), server), ExitStack() as stack:
        for number in range(4):
            connection = stack.enter_context(connected(server))
            sent(connection, HOSTILE[name])
            if number % 2:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            if number == 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
        unharmed.wait_for_answers(50)
        with channel_to(server.grpc_port) as channel:
            check(channel)


def test_a_valid_call_by_hand(server: RunningServer, unharmed: GrpcLoad) -> None:
    """What the hostile clients are made of is right where it is to be."""
    with connected(server) as connection:
        connection.sendall(OPEN + headers(1, CALL) + data(1, REQUEST))
        assert ANSWER.tobytes() in received(connection, ANSWER.tobytes())
    assert unharmed.outcome.answered


def test_a_call_byte_by_byte(server: RunningServer, unharmed: GrpcLoad) -> None:
    everything = OPEN + headers(1, CALL) + data(1, REQUEST)
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server)) for _ in range(20)]
        for connection in connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(everything)):
            for connection in connections:
                connection.sendall(everything[at : at + 1])
        for connection in connections:
            assert ANSWER.tobytes() in received(connection, ANSWER.tobytes())
    assert unharmed.outcome.answered


def test_a_connection_cut_at_every_byte_of_a_call(server: RunningServer, unharmed: GrpcLoad) -> None:
    everything = OPEN + headers(1, CALL) + data(1, REQUEST)
    for end in range(len(everything)):
        with connected(server) as connection:
            connection.sendall(everything[:end])
            if end % 2:  # with a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert unharmed.outcome.answered


def test_many_idle_connections(server: RunningServer, unharmed: GrpcLoad) -> None:
    with memory_grows_by_less_than(100 * MB, server), ExitStack() as stack:
        connections = [stack.enter_context(connected(server)) for _ in range(500)]
        for connection in connections[::2]:
            connection.sendall(OPEN + headers(1, CALL))
        for connection in connections[1::2]:
            connection.sendall(OPEN + headers(1, CALL) + data(1, REQUEST))
            assert ANSWER.tobytes() in received(connection, ANSWER.tobytes())
        with channel_to(server.grpc_port) as channel:
            check(channel)
    assert unharmed.outcome.answered


def test_a_client_that_asks_on_and_never_reads(server: RunningServer, unharmed: GrpcLoad) -> None:
    """Nor gives any room for answers: what waits for it is bounded."""
    numbers = np.ones(2000, "f4")
    request = predict_message("half_plus_two", x=numbers)
    call = b"".join(headers(n, CALL) + data(n, request) for n in numbered(20_000))
    with memory_grows_by_less_than(150 * MB, server), connected(server) as connection:
        sent(connection, PREFACE + settings((4, 0)) + call, 5)
        unharmed.wait_for_answers(50)


# Messages that are none


@pytest.mark.parametrize("method", UNARY)
def test_bytes_that_are_no_message(server: RunningServer, method: str) -> None:
    with channel_to(server.grpc_port) as channel:
        for request in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b\x0b\x0b", b"\x0a", b"\x00", b"\x80" * 20):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(method)(request, timeout=5)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (request, error.value)
            assert error.value.details()
        check(channel)


@pytest.mark.parametrize("method", [WATCH, STREAM, *REFLECTIONS])
def test_bytes_that_are_no_message_on_a_stream(server: RunningServer, method: str) -> None:
    with channel_to(server.grpc_port) as channel:
        for request in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b\x0b\x0b", b"\x80" * 20):
            call = channel.stream_stream(method)(iter((request,)), timeout=5)
            with pytest.raises(grpc.RpcError):
                next(call)
            assert call.code() is grpc.StatusCode.INVALID_ARGUMENT, (request, call.details())
        check(channel)


@pytest.mark.parametrize(
    "method", ["/", "", "/a", "/a/b", "/tensorflow.serving.PredictionService/predict", "//", "/\u00e9/b"]
)
def test_methods_that_there_are_not(server: RunningServer, method: str) -> None:
    with channel_to(server.grpc_port) as channel:
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(method)(REQUEST, timeout=5)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        check(channel)


def mutated(chance: random.Random, message: bytes) -> bytes:
    """One to four faults in it."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(message) + 1)
        before, rest = message[:at], message[at:]
        fault = chance.randrange(7)
        if fault == 0:  # another byte
            message = before + bytes((chance.randrange(256),)) + rest[1:]
        elif fault == 1 and rest:  # another bit
            message = before + bytes((rest[0] ^ 1 << chance.randrange(8),)) + rest[1:]
        elif fault == 2:  # less
            message = before + rest[chance.randint(1, 6) :]
        elif fault == 3:  # no end
            message = before
        elif fault == 4:  # more
            message = before + chance.randbytes(chance.randint(1, 6)) + rest
        elif fault == 5:  # something twice
            message = before + message[chance.randrange(len(message) + 1) :] + rest
        else:  # a large number
            message = before + b"\xff" * chance.randint(1, 9) + b"\x01" + rest[1:]
    return message


def seeds() -> list[tuple[str, bytes]]:
    """Valid messages, with their methods."""
    numbers = np.arange(6, dtype="f4")
    rows = numbers.reshape(3, 2)
    metadata = model_spec_field("half_plus_two") + b"\x12\x0dsignature_def"
    return [
        (PREDICT, predict_message("half_plus_two", x=numbers)),
        (PREDICT, predict_message("identity", signature="int64", x=rows.astype("i8"))),
        (PREDICT, predict_message("identity", signature="string", x=[b"abc", b""])),
        (PREDICT, predict_message("text", x=[b"abc", b"", b"defgh" * 10])),
        (CLASSIFY, example_message("default", "classify_x_to_y", numbers)),
        (REGRESS, example_message("default", "regress_x_to_y", numbers)),
        ("/tensorflow.serving.PredictionService/GetModelMetadata", metadata),
        ("/tensorflow.serving.ModelService/GetModelStatus", model_spec_field("half_plus_two", 2)),
        ("/grpc.health.v1.Health/Check", b"\x0a\x0dhalf_plus_two"),
    ]


NEVER = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED", "ABORTED", "DATA_LOSS"}


def test_spoilt_messages(server: RunningServer, unharmed: GrpcLoad) -> None:
    """Each call has a status soon, and the server never fails on one."""
    chance = random.Random(7)
    messages = seeds()
    statuses: Counter[str] = Counter()
    with memory_grows_by_less_than(60 * MB, server), channel_to(server.grpc_port) as channel:
        for number in range(2000):
            method, message = messages[number % len(messages)]
            spoilt = mutated(chance, message)
            try:
                channel.unary_unary(method)(spoilt, timeout=SOON)
                status = "OK"
            except grpc.RpcError as error:
                status = error.code().name
                assert status not in NEVER, (method, spoilt, error.details())
            statuses[status] += 1
            if number % 100 == 0:
                check(channel)
        check(channel)
    assert statuses["INVALID_ARGUMENT"] > 250, statuses
    assert unharmed.outcome.answered


def test_spoilt_messages_on_streams(server: RunningServer, unharmed: GrpcLoad) -> None:
    """Each stream ends with a status."""
    chance = random.Random(8)
    request = b"\x0a" + bytes((len(REQUEST),)) + REQUEST
    streamed = (b"\x0a" + bytes((len(request),)) + request) * 3
    asked = b"\x22\x28tensorflow.serving.PredictionService.Pre"
    methods = [(STREAM, streamed), (REFLECTIONS[0], asked), (REFLECTIONS[1], asked)]
    with memory_grows_by_less_than(60 * MB, server), channel_to(server.grpc_port) as channel:
        for number in range(600):
            method, message = methods[number % len(methods)]
            call = channel.stream_stream(method)(iter((mutated(chance, message), mutated(chance, message))), timeout=SOON)
            with suppress(grpc.RpcError):
                for _ in call:
                    pass
            assert call.code().name not in NEVER, (method, call.details())
        check(channel)
    assert unharmed.outcome.answered

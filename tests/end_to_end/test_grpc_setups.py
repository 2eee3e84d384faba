"""The gRPC server as it can be set up: sockets, TLS, channel arguments, several front ends, and its end."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import grpc
import numpy as np
import pytest

from end_to_end import process_facts
from end_to_end.conftest import DATA
from end_to_end.grpc_load import GrpcLoad, channel_to
from end_to_end.grpc_questions import PREDICT, halves, output, predict_message
from end_to_end.running_server import RunningServer, free_port, run_to_its_end
from end_to_end.scraped_metrics import clean, total
from end_to_end.waiting import wait_until
from ringserve.client import Client
from ringserve.grpc_target import unix_target

LIMIT = 30.0  # seconds
TLS = DATA / "tls"
REQUEST = predict_message("half_plus_two", x=np.array([2.0, 4.0], "f4"))
ANSWER = [4.0, 5.0]
WATCH = "/grpc.health.v1.Health/Watch"
MB = 1 << 20


class Serve(Protocol):
    def __call__(self, *flags: str, model: str = "half_plus_two") -> RunningServer: ...


@pytest.fixture
def serve(models: Path) -> Iterator[Serve]:
    """Starts servers with a gRPC front end, which end when the test does."""
    with ExitStack() as stack:

        def start(*flags: str, model: str = "half_plus_two") -> RunningServer:
            named = f"--model_name={model}", f"--model_base_path={models}/{model}"
            return stack.enter_context(RunningServer(*named, *flags, grpc=True))

        yield start


def refused_start(models: Path, *flags: str) -> str:
    """What a server says that does not start, and ends with 255 before it has loaded anything."""
    named = "--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two"
    code, log = run_to_its_end(*named, "--grpc_frontends=1", *flags)
    assert code == 255, log
    assert "loaded servable version" not in log
    assert "Traceback" not in log
    return log


def predicted(channel: Any, timeout: float = LIMIT) -> list[float]:
    answer: list[float] = output(channel.unary_unary(PREDICT)(REQUEST, timeout=timeout, wait_for_ready=True)).tolist()
    return answer


def answered(target: int | str) -> list[float]:
    """What a server makes of 2 and 4, on a connection of its own."""
    with channel_to(target) as channel:
        return predicted(channel)


def failure(channel: Any, timeout: float = LIMIT) -> tuple[str, str]:
    """How a call fails."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(PREDICT)(REQUEST, timeout=timeout)
    return error.value.code().name, error.value.details()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True


def unused_socket(path: Path) -> None:
    """The file of a server that was killed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def test_a_unix_socket_and_no_port(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "a b%41?c#d.sock"
    unused_socket(path)
    server = serve("--port=0", f"--grpc_socket_path={path}", "--grpc_frontends=2")
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert answered(unix_target(str(path))) == ANSWER
    with Client(f"grpc+unix://{quote(str(path))}") as client:
        assert client.is_ready()
    assert not accepts(server.grpc_port)
    assert server.stop() == 0
    assert not path.exists(), "a socket is left"


def test_a_unix_socket_beside_the_port(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    server = serve(f"--grpc_socket_path={path}")
    assert answered(f"unix:{path}") == answered(server.grpc_port) == ANSWER
    os.kill(server.process("frontend grpc 0"), signal.SIGKILL)
    server.wait_for_log("frontend grpc 0 is back", LIMIT)
    assert answered(f"unix:{path}") == answered(server.grpc_port) == ANSWER


def test_a_killed_servers_socket_is_taken_over(serve: Serve, tmp_path: Path) -> None:
    flags = "--port=0", f"--grpc_socket_path={tmp_path}/server.sock"
    first = serve(*flags)
    os.killpg(first.pid, signal.SIGKILL)
    wait_until(lambda: not first.processes(), LIMIT, "its end")
    assert (tmp_path / "server.sock").exists()
    serve(*flags)
    assert answered(f"unix:{tmp_path}/server.sock") == ANSWER


def test_a_socket_in_use_is_refused(serve: Serve, models: Path, tmp_path: Path) -> None:
    flags = "--port=0", f"--grpc_socket_path={tmp_path}/server.sock"
    serve(*flags)
    log = refused_start(models, *flags)
    assert f"Can't listen on {tmp_path}/server.sock: Address already in use" in log
    assert answered(f"unix:{tmp_path}/server.sock") == ANSWER


def test_what_is_no_socket_is_left_alone(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("words")
    assert "It is there and is not a socket" in refused_start(models, "--port=0", f"--grpc_socket_path={path}")
    assert path.read_text() == "words"
    missing = tmp_path / "missing" / "server.sock"
    assert "No such folder" in refused_start(models, "--port=0", f"--grpc_socket_path={missing}")


def test_a_port_that_is_taken(serve: Serve, models: Path) -> None:
    server = serve()
    log = refused_start(models, f"--port={server.grpc_port}")
    assert f"Can't listen on port {server.grpc_port}: Address already in use" in log
    assert answered(server.grpc_port) == ANSWER
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as stranger:
            stranger.bind((address, 0))
            stranger.listen()
            log = refused_start(models, f"--port={stranger.getsockname()[1]}")
            assert "Address already in use" in log


def test_of_two_that_start_together_one_has_the_port(models: Path) -> None:
    port = free_port()
    named = f"--model_name=half_plus_two --model_base_path={models}/half_plus_two --port={port} --grpc_frontends=2".split()
    servers = [RunningServer(*named), RunningServer(*named)]
    try:
        for server in servers:
            server.begin()
        wait_until(lambda: [s for s in servers if "Can't listen on port" in s.log], LIMIT, "one to be refused")
        (refused,) = [server for server in servers if "Can't listen on port" in server.log]
        assert refused.wait() == 255
        (serving,) = [server for server in servers if server is not refused]
        serving.wait_until_it_serves()
        assert answered(port) == ANSWER
        assert serving.stop() == 0
    finally:
        for server in servers:
            server.end()


def quoted(path: Path) -> str:
    return path.read_text().replace("\n", "\\n")


def ssl_config(path: Path, verify: bool = False) -> str:
    """The flag that names the file with the server's certificate."""
    text = f'server_key: "{quoted(TLS / "server.key")}"\nserver_cert: "{quoted(TLS / "server.crt")}"\n'
    if verify:
        text += f'custom_ca: "{quoted(TLS / "client.crt")}"\nclient_verify: true\n'
    path.write_text(text)
    return f"--ssl_config_file={path}"


def secure_channel(target: int | str, client: str = "", roots: str = "server") -> Any:
    """`client`: whose certificate it shows."""
    key, certificate = ((TLS / f"{client}.{end}").read_bytes() if client else None for end in ("key", "crt"))
    credentials = grpc.ssl_channel_credentials((TLS / f"{roots}.crt").read_bytes(), key, certificate)
    address = f"localhost:{target}" if isinstance(target, int) else target
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    return grpc.secure_channel(address, credentials, options)


def test_tls(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    server = serve(ssl_config(tmp_path / "ssl.config"), f"--grpc_socket_path={path}", "--grpc_frontends=2")
    with (
        secure_channel(server.grpc_port) as channel,
        GrpcLoad(server.grpc_port, 4, 2, halves(), channel=secure_channel) as load,
    ):
        assert predicted(channel) == ANSWER
        with secure_channel(f"unix:{path}") as local:
            assert predicted(local) == ANSWER
        with channel_to(server.grpc_port) as plain, channel_to(f"unix:{path}") as plain_local:
            assert failure(plain)[0] == failure(plain_local)[0] == "UNAVAILABLE"
        with secure_channel(server.grpc_port, roots="client") as suspicious:
            assert failure(suspicious)[0] == "UNAVAILABLE"
        for _ in range(20):
            with socket.create_connection(("localhost", server.grpc_port)) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        load.wait_for_answers(200)
        outcome = load.stop()
        assert (outcome.wrong, outcome.failed) == ([], Counter()), outcome.texts
        assert predicted(channel) == ANSWER
    with secure_channel(server.grpc_port) as channel:  # as if the file were not needed any more
        (tmp_path / "ssl.config").unlink()
        os.kill(server.process("frontend grpc 0"), signal.SIGKILL)
        os.kill(server.process("frontend grpc 1"), signal.SIGKILL)
        server.wait_for_log("frontend grpc 0 is back", LIMIT)
        server.wait_for_log("frontend grpc 1 is back", LIMIT)
        assert predicted(channel) == ANSWER
    assert "PRIVATE KEY" not in server.log


def test_clients_must_show_a_certificate(serve: Serve, tmp_path: Path) -> None:
    server = serve(ssl_config(tmp_path / "ssl.config", verify=True))
    for _ in range(3):
        with secure_channel(server.grpc_port) as channel:
            assert failure(channel)[0] == "UNAVAILABLE"
        with secure_channel(server.grpc_port, client="rsa") as channel:
            assert failure(channel)[0] == "UNAVAILABLE"
        with secure_channel(server.grpc_port, client="client") as channel:
            assert predicted(channel) == ANSWER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('server_key: ""', "server_key is empty"),
        ('server_key: "a" server_cert: "b"', "server_cert is not a certificate in PEM"),
        ("server_kay: 1", "Error parsing text-format tensorflow.serving.SSLConfig"),
        (None, "No such file or directory"),
    ],
)
def test_bad_tls_settings_are_refused_at_the_start(models: Path, tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "ssl.config"
    if text is not None:
        path.write_text(text)
    assert message in refused_start(models, f"--ssl_config_file={path}")


def test_upstreams_channel_arguments(serve: Serve) -> None:
    """Connections end after half a second each, of which clients notice nothing."""
    arguments = "grpc.max_connection_age_ms=500,grpc.lb_policy_name=grpclb,grpc.max_connection_age_grace_ms=10000"
    server = serve(f"--grpc_channel_arguments={arguments}")
    with GrpcLoad(server.grpc_port, 4, 2, halves()) as load:
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + 2, LIMIT, "connections to end, three times")
        outcome = load.stop()
    assert (outcome.wrong, outcome.failed) == ([], Counter()), outcome.texts


def test_a_channel_argument_is_heard(serve: Serve) -> None:
    server = serve("--grpc_channel_arguments= grpc.max_receive_message_length = 1000 ,grpc.max_send_message_length=2000")
    big, bigger = (predict_message("half_plus_two", x=np.zeros(count, "f4")) for count in (240, 600))
    with channel_to(server.grpc_port) as channel:
        assert predicted(channel) == ANSWER
        assert len(output(channel.unary_unary(PREDICT)(big[:], timeout=LIMIT))) == 240
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(PREDICT)(bigger, timeout=LIMIT)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert predicted(channel) == ANSWER


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a=1,nonsense", "'nonsense' is not key=value"),
        ("=1", "'=1' is not key=value"),
        ("grpc.max_connection_age_ms=99999999999", "grpc.max_connection_age_ms must fit into 32 bits"),
        ("grpc.authorization_policy_provider=1", "grpc.authorization_policy_provider can't be set by a flag"),
    ],
)
def test_bad_channel_arguments_are_refused_at_the_start(models: Path, arguments: str, message: str) -> None:
    log = refused_start(models, f"--grpc_channel_arguments={arguments}")
    assert f"server_options.grpc_channel_arguments: {message}." in log


def test_both_front_ends_are_used(serve: Serve) -> None:
    server = serve("--grpc_frontends=2")
    with GrpcLoad(server.grpc_port, 40, 1, halves()) as load:
        load.wait_for_answers(1000)
        outcome = load.stop()
    assert (outcome.wrong, outcome.failed) == ([], Counter()), outcome.texts
    by_front_end: Counter[str] = Counter()
    for (front_end, _), completed in server.completed().items():
        by_front_end[front_end] += completed
    assert set(+by_front_end) == {"frontend grpc 0", "frontend grpc 1"}, "the kernel gives connections to both"
    assert by_front_end.total() == outcome.answered

    def counted() -> float:
        return total(clean(server), "ringserve_requests_total", model="half_plus_two", api="predict", code="OK")

    wait_until(lambda: counted() >= outcome.answered, LIMIT, "every call counted")
    assert counted() == outcome.answered
    os.kill(server.process("frontend grpc 1"), signal.SIGKILL)
    server.wait_for_log("frontend grpc 1 is back", LIMIT)
    assert counted() == outcome.answered, "a dead front end's counts stay"


def test_large_messages(serve: Serve) -> None:
    """Beyond gRPC's own limit of 4 MiB, both ways: 60 MB each, several at a time."""
    server = serve("--max_request_bytes=100000000", model="echo_big")
    images = np.frombuffer(os.urandom(5 * 3 * MB), "u1").astype("f4").reshape(5, 1024, 1024, 3)
    request = predict_message("echo_big", image=images)
    assert len(request) > 60 * MB
    with channel_to(server.grpc_port) as channel, ThreadPoolExecutor(2) as pool:
        call = channel.unary_unary(PREDICT)
        for future in [pool.submit(call, request, timeout=LIMIT) for _ in range(4)]:
            assert output(future.result()).tobytes() == (images * 2).tobytes()


def test_a_request_larger_than_it_may_be(serve: Serve) -> None:
    server = serve("--max_request_bytes=1000000")
    fits, large, huge = (predict_message("half_plus_two", x=np.zeros(count, "f4")) for count in (8000, 260_000, 20_000_000))
    with channel_to(server.grpc_port) as channel:
        call = channel.unary_unary(PREDICT)
        for _ in range(3):
            for request in (large, huge):
                with pytest.raises(grpc.RpcError) as error:
                    call(request, timeout=LIMIT)
                assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert error.value.details()
            assert len(output(call(fits, timeout=LIMIT))) == 8000
    assert server.completed()["frontend grpc 0", "worker cpu:0"] == 3


@contextmanager
def connectivity(channel: Any) -> Iterator[list[grpc.ChannelConnectivity]]:
    """The states that a channel has had."""
    states: list[grpc.ChannelConnectivity] = []
    channel.subscribe(states.append, try_to_connect=True)
    yield states
    channel.unsubscribe(states.append)


def pinging(every_ms: int) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.keepalive_time_ms", every_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_timeout_ms", 5000),
    )


def test_clients_that_ping_often_are_kept(serve: Serve) -> None:
    """Where that is allowed, without calls and with a call that says nothing; where it is not, they are cut off."""
    server = serve("--grpc_channel_arguments=grpc.http2.min_ping_interval_without_data_ms=150")
    with channel_to(server.grpc_port, *pinging(200)) as idle, channel_to(server.grpc_port, *pinging(200)) as watching:
        watch = watching.unary_stream(WATCH)(b"")
        assert next(watch) == b"\x08\x01"
        assert predicted(idle) == ANSWER
        with connectivity(idle) as states:
            pause(3)
            assert set(states) <= {grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE}, states
        assert watch.is_active()
        assert predicted(idle) == predicted(watching) == ANSWER
        watch.cancel()


def pause(seconds: float) -> None:
    """That long nothing may happen."""
    threading.Event().wait(seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_answers_what_has_begun(serve: Serve, number: signal.Signals) -> None:
    """Unary calls and those on a stream; streams end in UNAVAILABLE. The signal goes to all processes."""
    server = serve("--grpc_frontends=2")
    worker = server.process("worker cpu:0")
    count = 30
    with ExitStack() as stack:
        channels = [stack.enter_context(channel_to(server.grpc_port)) for _ in range(10)]
        watches = [channel.unary_stream(WATCH)(b"") for channel in channels]
        assert {next(watch) for watch in watches} == {b"\x08\x01"}
        client = stack.enter_context(Client(f"grpc://localhost:{server.grpc_port}"))
        assert client.predict("half_plus_two", np.array([2.0], "f4"))["y"].tolist() == [4.0]
        os.kill(worker, signal.SIGSTOP)
        calls = [channel.unary_unary(PREDICT).future(REQUEST, timeout=LIMIT) for channel in channels * (count // 10)]
        stream = stack.enter_context(client.stream(timeout=LIMIT))
        streamed = [stream.submit("half_plus_two", np.array([float(number)], "f4")) for number in range(count)]
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 2 * count, LIMIT, "all requests in the lanes")
        os.killpg(server.pid, number)
        server.wait_for_log(f"{number.name}: ending", 5)
        wait_until(lambda: not accepts(server.grpc_port), 5, "connections refused")
        os.kill(worker, signal.SIGCONT)
        assert [output(call.result()).tolist() for call in calls] == [ANSWER] * count
        assert [future.result()["y"].tolist() for future in streamed] == [[number / 2 + 3] for number in range(count)]
        for watch in watches:
            with pytest.raises(grpc.RpcError):
                for status in watch:
                    assert status == b"\x08\x02", "NOT_SERVING before its end"
            assert watch.code() is grpc.StatusCode.UNAVAILABLE, watch.details()
    assert server.wait() == 0


def test_told_to_stop_it_waits_for_no_idle_stream(serve: Serve) -> None:
    """A client that keeps its streams open, says nothing and reads nothing."""
    server = serve()
    with channel_to(server.grpc_port) as channel:
        forever = threading.Event()

        def nothing() -> Iterator[bytes]:
            forever.wait()
            yield b""

        methods = (
            "/ringserve.StreamingPrediction/Predict",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        )
        streams = [channel.stream_stream(method)(nothing()) for method in methods for _ in range(5)]
        watch = channel.unary_stream(WATCH)(b"")
        assert predicted(channel) == ANSWER
        next(watch)
        try:
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 10
            for stream in streams:
                assert stream.code() is grpc.StatusCode.UNAVAILABLE, stream.details()
        finally:
            forever.set()


@pytest.mark.parametrize("turn", range(2))
def test_told_to_stop_under_load(serve: Serve, turn: int) -> None:
    """It answers what has begun. What arrives between the stop and a client's hearing of it, gRPC cancels itself."""
    server = serve("--grpc_frontends=2")
    channels, calls = 20, 5
    with GrpcLoad(server.grpc_port, channels, calls, halves()) as load:
        load.wait_for_answers(500 + 50 * turn)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
        failed = +load.outcome.failed
        load.abandon()
    assert load.outcome.wrong == []
    assert set(failed) <= {"CANCELLED", "UNAVAILABLE"}, load.outcome.texts
    assert failed.total() <= channels * calls, "a caller fails once at most, and then waits for a connection"
    assert "killed" not in server.log


def test_without_front_ends_there_is_no_grpc(serve: Serve) -> None:
    server = serve("--grpc_frontends=0")
    assert server.get("/v1/models/half_plus_two").status == 200
    assert not accepts(server.grpc_port)
    assert not [title for title in server.processes() if "grpc" in title]
    assert "Running gRPC" not in server.log

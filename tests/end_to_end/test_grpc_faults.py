"""The gRPC server when processes die, its own and its clients'."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

from end_to_end import process_facts
from end_to_end.grpc_load import GrpcLoad, channel_to
from end_to_end.grpc_questions import PREDICT, differs, halves, predict_message
from end_to_end.grpc_server_facts import check, connections, front_end, in_flight
from end_to_end.hostile_calls import REQUEST
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until

LIMIT = 30.0  # seconds
BACK = 10.0  # until a process that died is replaced, on a machine that is busy


def kill(server: RunningServer, role: str) -> int:
    pid = server.process(role)
    os.kill(pid, signal.SIGKILL)
    return pid


def flags_for(models: Path, name: str = "half_plus_two") -> tuple[str, str]:
    return f"--model_name={name}", f"--model_base_path={models}/{name}"


def test_a_killed_worker_is_replaced_and_every_call_answered(models: Path) -> None:
    with RunningServer(*flags_for(models), grpc=True) as server, GrpcLoad(server.grpc_port, 10, 5, halves()) as load:
        killed = kill(server, "worker cpu:0")
        load.wait_for_answers(200)
        assert kill(server, "worker cpu:0") != killed
        load.wait_for_answers(200)
        server.wait_for_log("(?s)worker cpu:0 is back.*worker cpu:0 is back", LIMIT)
        outcome = load.stop()
        assert (outcome.wrong, outcome.failed) == ([], Counter()), outcome.texts
        assert outcome.slowest < BACK


def test_a_call_that_kills_its_worker_ends_as_over_http(models: Path) -> None:
    with RunningServer(*flags_for(models, "kills_worker"), grpc=True) as server, channel_to(server.grpc_port) as channel:
        lethal = predict_message("kills_worker", x=np.array([666.0], "f4"))
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(PREDICT)(lethal, timeout=LIMIT)
        assert error.value.code() is grpc.StatusCode.INTERNAL
        assert error.value.details() == "The worker died twice while it ran this request"
        harmless = predict_message("kills_worker", x=np.array([1.0], "f4"))
        answer = channel.unary_unary(PREDICT)(harmless, timeout=LIMIT)
        assert not differs(answer, y=np.array([1.0], "f4"))


def lanes(server: RunningServer) -> set[int]:
    """By their inodes: a lane that grows while processes are looked at has another size in the next one."""
    return {lane.inode for lane in server.lanes()}


def test_a_killed_front_end_is_replaced_and_clients_connect_again(models: Path) -> None:
    with RunningServer(*flags_for(models), grpc=True) as server, GrpcLoad(server.grpc_port, 10, 5, halves()) as load:
        before = lanes(server)
        for _ in range(2):
            killed = kill(server, "frontend grpc 0")
            wait_until(lambda killed=killed: front_end(server) != killed, LIMIT, "a new one")  # type: ignore[misc]
            load.wait_for_answers(500)
        outcome = load.stop()
        assert outcome.wrong == []
        assert set(outcome.failed) <= {"UNAVAILABLE"}, outcome.texts
        assert outcome.failed.total() <= 4 * 50, "what was on its way, and a call or two that tried to connect"
        assert outcome.slowest < BACK
        wait_until(lambda: len(lanes(server)) == len(before), LIMIT, lambda: f"{before} lanes, not {lanes(server)}")


def test_of_two_front_ends_the_other_one_goes_on(models: Path) -> None:
    flags = *flags_for(models), "--grpc_frontends=2"
    with RunningServer(*flags) as server, GrpcLoad(server.grpc_port, 20, 2, halves()) as load:
        kill(server, "frontend grpc 1")
        server.wait_for_log("frontend grpc 1 is back", LIMIT)
        load.wait_for_answers(500)
        outcome = load.stop()
        assert outcome.wrong == []
        assert set(outcome.failed) <= {"UNAVAILABLE"}, outcome.texts
        assert outcome.slowest < BACK


def test_worker_and_front_end_killed_together(models: Path) -> None:
    with RunningServer(*flags_for(models), grpc=True) as server, GrpcLoad(server.grpc_port, 10, 5, halves()) as load:
        worker, front = server.process("worker cpu:0"), front_end(server)
        os.kill(worker, signal.SIGKILL)
        os.kill(front, signal.SIGKILL)
        load.wait_for_answers(500)
        outcome = load.stop()
        assert outcome.wrong == []
        assert set(outcome.failed) <= {"UNAVAILABLE"}, outcome.texts
        assert server.process("worker cpu:0") != worker
        assert front_end(server) != front
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 10, "the lanes empty")


def test_without_the_supervisor_nothing_stays(models: Path) -> None:
    with RunningServer(*flags_for(models), "--grpc_frontends=2") as server:
        with GrpcLoad(server.grpc_port, 4, 2, halves()) as load:
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: not server.processes(), 5, "every process gone")
            assert server.wait(5) == -signal.SIGKILL  # all its threads have ended, too
            load.abandon()
        assert load.outcome.wrong == []
        assert set(load.outcome.failed) <= {"UNAVAILABLE", "CANCELLED"}, load.outcome.texts


CLIENT = """
import sys, threading
import grpc
port, method, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
channel = grpc.insecure_channel(f"localhost:{port}")
request = sys.stdin.buffer.read()
calls = [channel.unary_unary(method).future(request, wait_for_ready=True) for _ in range(count)]
def forever():
    yield b""
    threading.Event().wait()
streams = [channel.stream_stream("/ringserve.StreamingPrediction/Predict")(forever()) for _ in range(20)]
watches = [channel.unary_stream("/grpc.health.v1.Health/Watch")(b"") for _ in range(20)]
for watch in watches:
    next(watch)
print("begun", flush=True)
threading.Event().wait()
"""


def begun(server: RunningServer, request: bytes, count: int) -> subprocess.Popen[bytes]:
    """A client with so many calls that have not ended, and some streams."""
    command = [sys.executable, "-c", CLIENT, str(server.grpc_port), PREDICT, str(count)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdin is not None
    assert client.stdout is not None
    with client.stdin as pipe:
        pipe.write(request)
    assert client.stdout.readline() == b"begun\n"
    return client


def test_killed_clients_free_their_places(models: Path) -> None:
    """Two fill the lane of a worker that stands still, and die: what they asked for is not run."""
    with RunningServer(*flags_for(models), grpc=True) as server, channel_to(server.grpc_port) as channel:
        check(channel)
        before = connections(server)
        worker = server.process("worker cpu:0")
        half = predict_message("half_plus_two", x=np.ones(4096, "f4"))  # a lane holds 8192 rows of this size
        os.kill(worker, signal.SIGSTOP)
        clients = [begun(server, half, 1) for _ in range(2)]
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 2, LIMIT, "both in the lane")
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(PREDICT)(REQUEST, timeout=LIMIT)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        for client in clients:
            client.kill()
            client.wait()
            assert client.stdout is not None
            client.stdout.close()
        wait_until(lambda: connections(server) <= before, LIMIT, "their connections gone")
        os.kill(worker, signal.SIGCONT)
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, LIMIT, "the lane empty")
        check(channel)
        wait_until(lambda: not in_flight(server), LIMIT, "no request in flight")

"""Children of a fork: a client over gRPC is as good as new there, and its parent does not notice."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from answering_server import PREDICT, answering_server, half_plus_two

from ringserve.client.grpc.forks import ForkGate
from ringserve.client.per_process import PerProcess
from ringserve.errors import ServingError

# A process of its own: the server of the test has threads of gRPC too, which are none of the client's business.
FORKING = """
import os, sys, threading
import numpy as np
import ringserve

client = ringserve.Client(sys.argv[1], timeout=20)
X = {"x": np.float32([1])}

def works():
    return client.predict("half", X)["y"].tolist() == [2.5] and client.submit("half", X).result(20)["y"].tolist() == [2.5]

assert works()
ended = threading.Event()
wrong = []

def ask():
    while not ended.is_set():
        if not works():
            wrong.append(1)

threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(5):
    child = os.fork()
    if not child:
        code = 1
        try:
            grandchild = os.fork()
            if not grandchild:
                os._exit(0 if works() else 3)
            _, status = os.waitpid(grandchild, 0)
            code = 0 if works() and status == 0 else 4
            client.close()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert works()
ended.set()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
assert not wrong
client.close()
child = os.fork()
if not child:
    try:
        client.predict("half", X)
    except ringserve.ServingError as error:
        os._exit(0 if "closed" in error.message else 2)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
"""

BUSY = """
import os, sys
import ringserve

client = ringserve.Client(sys.argv[1], timeout=20)
running = client.submit("slow", {})
child = os.fork()
if not child:
    code = 1
    try:
        ringserve.Client(sys.argv[1], timeout=20).predict("half", {})
    except ringserve.ServingError as error:
        code = 0 if error.code is ringserve.Code.FAILED_PRECONDITION and "when it was forked" in error.message else 2
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
running.cancel()
client.close()
"""


def run(program: str, port: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, f"grpc://127.0.0.1:{port}"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_parent_child_and_grandchild_use_a_client() -> None:
    with answering_server() as (server, port):
        server.answers[PREDICT] = half_plus_two
        run(FORKING, port)


def test_a_child_of_a_parent_that_was_busy_is_told_so() -> None:
    """gRPC would hang there, or crash."""
    with answering_server() as (server, port):
        ended = threading.Event()
        server.answers[PREDICT] = lambda _, call: call.add_callback(ended.set) and b"" * ended.wait(20)
        run(BUSY, port)


def test_a_fork_waits_for_calls_and_calls_for_the_fork() -> None:
    gate = ForkGate()
    gate.enter()
    entered = threading.Event()
    left: list[bool] = []

    def leave() -> None:
        left.append(True)
        gate.leave()

    def enter() -> None:
        gate.enter()
        entered.set()

    leaving = threading.Timer(0.05, leave)
    leaving.start()
    gate.before_fork()
    assert left
    entering = threading.Thread(target=enter)
    entering.start()
    assert not entered.wait(0.05)
    gate.after_fork_in_parent()
    assert entered.wait(20)
    entering.join(20)


@pytest.mark.parametrize("is_busy", [True, False])
def test_what_a_child_inherits(is_busy: bool) -> None:
    gate = ForkGate()
    gate.enter()
    if not is_busy:
        gate.leave()
    gate.before_fork()
    gate.after_fork_in_child()
    for _ in range(2):  # and its own child
        if is_busy:
            with pytest.raises(ServingError, match="when it was forked"):
                gate.enter()
        else:
            gate.enter()
            gate.leave()
        gate.before_fork()
        gate.after_fork_in_child()


def test_of_two_that_are_made_at_once_one_is_dropped() -> None:
    both = threading.Barrier(2)
    dropped: list[object] = []
    found: list[object] = []

    def make() -> object:
        both.wait(20)
        return object()

    things = PerProcess(make, dropped.append)
    assert things.made() is None
    threads = [threading.Thread(target=lambda: found.append(things.get())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found[0] is found[1] is things.made() is things.get()
    assert len(dropped) == 1
    assert dropped[0] is not found[0]

"""Processes that die or stop in the middle of the work: what clients notice of it, and what is left."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end import process_facts
from end_to_end.conftest import Serve
from end_to_end.http_answer import Answer
from end_to_end.load import Load, Question, halves
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until

BACK = 2.0  # seconds until a process that died is replaced
GONE = 3.0


def flags_for(models: Path, name: str) -> tuple[str, str]:
    return f"--model_name={name}", f"--model_base_path={models}/{name}"


def kill(server: RunningServer, role: str) -> int:
    pid = server.process(role)
    os.kill(pid, signal.SIGKILL)
    return pid


def together(*asking: Callable[[], Answer]) -> list[Answer]:
    """All at once, each on a connection of its own."""
    with concurrent.futures.ThreadPoolExecutor(len(asking)) as pool:
        return [future.result() for future in [pool.submit(ask) for ask in asking]]


def test_a_killed_worker_is_replaced_and_every_request_answered(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"))
    with Load(server.port, 50, halves("half_plus_two", 3.0)) as load:
        for _ in range(2):
            killed = kill(server, "worker cpu:0")
            # All fifty wait by now or soon: an answer comes from the new worker only.
            load.wait_for_answers(200)
            assert server.process("worker cpu:0") != killed
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert outcome.slowest < BACK
    assert server.log.count("worker cpu:0 is back") == 2


def test_of_two_workers_the_other_one_goes_on(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"), "--devices=cpu:2")
    with Load(server.port, 20, halves("half_plus_two", 3.0)) as load:
        kill(server, "worker cpu:1")
        server.wait_for_log("worker cpu:1 is back", 20)
        before = server.completed()
        load.wait_for_answers(400)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    more = server.completed() - before
    assert {worker for _, worker in more} == {"worker cpu:0", "worker cpu:1"}, "the new one has work again"


def same_back(chance: random.Random) -> Question:
    numbers = [float(chance.randrange(600)) for _ in range(chance.randint(1, 4))]
    return Question("/v1/models/kills_worker:predict", {"instances": numbers}, {"predictions": numbers})


def test_a_request_that_kills_its_worker_is_answered_and_harms_no_other(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "kills_worker"))

    def ask(number: float) -> Callable[[], Answer]:
        return lambda: server.predict("kills_worker", {"instances": [number, number + 0.5]})

    with Load(server.port, 30, same_back) as load:
        poisoned, *others = together(ask(666.0), *map(ask, range(20)))
        outcome = load.stop()
    assert poisoned.status == 500
    assert poisoned.error == "The worker died twice while it ran this request"
    assert [answer.json for answer in others] == [{"predictions": [n, n + 0.5]} for n in range(20)]
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert server.log.count("worker cpu:0 is back") == 2


def test_a_killed_front_end_is_replaced_and_the_port_stays_open(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"))
    before = server.lanes()
    with Load(server.port, 20, halves("half_plus_two", 3.0)) as load:
        killed = kill(server, "frontend rest 0")
        began = time.monotonic()
        answer = server.predict("half_plus_two", {"instances": [2.0]})  # refused connections would raise
        taken = time.monotonic() - began
        assert (answer.status, answer.json) == (200, {"predictions": [4.0]})
        assert taken < BACK
        assert server.process("frontend rest 0") != killed
        load.wait_for_answers(200)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped >= 20, "its connections are lost with it"
    wait_until(lambda: len(server.lanes()) == len(before), 5, "the lanes of the dead process dropped")


def test_of_two_front_ends_the_other_one_goes_on(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"), "--rest_frontends=2")
    with Load(server.port, 20, halves("half_plus_two", 3.0)) as load:
        kill(server, "frontend rest 1")
        server.wait_for_log("frontend rest 1 is back", 20)
        load.wait_for_answers(200)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.slowest < BACK


def test_without_the_supervisor_nothing_stays(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"), "--rest_frontends=2", "--devices=cpu:2")
    children = [pid for title, pid in server.processes().items() if "supervisor" not in title]
    assert len(children) == 4
    with Load(server.port, 20, halves("half_plus_two", 3.0)):
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server.processes(), GONE, "every process gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_answers_what_has_begun(models: Path, serve: Serve, number: signal.Signals) -> None:
    """A terminal's Ctrl-C reaches every process at once, so the signal goes to all of them."""
    server = serve(*flags_for(models, "slow"))
    count = 5

    def ask(value: float) -> Callable[[], Answer]:
        return lambda: server.predict("slow", {"instances": [value]})

    def stop() -> int:
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == count, 10, "all requests in the lane")
        os.killpg(server.pid, number)
        return server.wait()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        code = pool.submit(stop)
        answers = together(*map(ask, range(count)))
        assert code.result() == 0
    assert [answer.json for answer in answers] == [{"predictions": [float(value)]} for value in range(count)]
    assert f"{number.name}: ending" in server.log


def test_told_to_stop_under_load_no_answer_is_wrong_or_torn(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"), "--rest_frontends=2")
    with Load(server.port, 100, halves("half_plus_two", 3.0)) as load:
        load.wait_for_answers(500)
        assert server.stop() == 0
        outcome = load.stop()
    assert outcome.wrong == []
    assert "killed" not in server.log


def test_told_to_stop_it_takes_no_new_connections(models: Path, serve: Serve) -> None:
    """They are refused at once, for another server's turn, and not left waiting for nobody."""
    server = serve(*flags_for(models, "slow"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        begun = pool.submit(server.predict, "slow", {"instances": [1.0] * 3})
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 1, 10, "the request in the lane")
        os.kill(server.process("worker cpu:0"), signal.SIGSTOP)  # the request takes as long as it needs to
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("SIGTERM: ending", 5)
        wait_until(lambda: refused(server), 2, "connections refused")
        os.kill(server.process("worker cpu:0"), signal.SIGCONT)
        assert begun.result().json == {"predictions": [1.0] * 3}
    assert server.wait() == 0


def refused(server: RunningServer) -> bool:
    try:
        return server.get("/v1/models/slow").status != 200
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False


def test_a_worker_that_stands_still(models: Path, serve: Serve) -> None:
    """Its requests time out, then its lane is full; once it goes on everything is as before."""
    server = serve(*flags_for(models, "half_plus_two"), "--rest_api_timeout_in_ms=300")
    worker = server.process("worker cpu:0")
    os.kill(worker, signal.SIGSTOP)
    half = {"instances": [1.0] * 4096}  # a lane holds 8192 rows of this size
    began = time.monotonic()
    for answer in together(*[lambda: server.predict("half_plus_two", half)] * 2):
        assert (answer.status, answer.error) == (504, "Timed out waiting for notification")
    assert 0.3 <= time.monotonic() - began < 2
    began = time.monotonic()
    answer = server.predict("half_plus_two", {"instances": [1.0]})
    assert (answer.status, answer.error) == (503, "The batch scheduling queue to which this task was submitted is full")
    assert time.monotonic() - began < 0.25, "at once"
    assert server.get("/v1/models/half_plus_two").status == 200
    os.kill(worker, signal.SIGCONT)
    wait_until(lambda: server.predict("half_plus_two", {"instances": [2.0]}).status == 200, 5, "an answer")
    assert server.predict("half_plus_two", half).json == {"predictions": [3.5] * 4096}


def test_a_server_that_stands_still_is_killed_when_told_twice(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"))
    os.kill(server.process("frontend rest 0"), signal.SIGSTOP)
    server.send_signal(signal.SIGTERM)
    server.wait_for_log("SIGTERM: ending", 5)
    server.send_signal(signal.SIGTERM)
    assert server.wait(GONE) == 0

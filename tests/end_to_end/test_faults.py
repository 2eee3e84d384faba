"""Processes that die or stop in the middle of the work: what clients notice of it, and what is left."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from end_to_end import process_facts
from end_to_end.conftest import Serve, write_config
from end_to_end.http_answer import Answer
from end_to_end.load import Load, halves
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until

BACK = 10.0  # seconds until a process that died is replaced, on a machine that is busy
GONE = 3.0


def flags_for(models: Path, name: str) -> tuple[str, str]:
    return f"--model_name={name}", f"--model_base_path={models}/{name}"


def kill(server: RunningServer, role: str) -> int:
    pid = server.process(role)
    os.kill(pid, signal.SIGKILL)
    return pid


def together(*asking: Callable[[], Answer]) -> list[Answer]:
    """All at once, each on a connection of its own."""
    with ThreadPoolExecutor(len(asking)) as pool:
        return [future.result() for future in [pool.submit(ask) for ask in asking]]


def test_a_killed_worker_is_replaced_and_every_request_answered(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"))
    with Load(server.port, 50, halves("half_plus_two", 3.0)) as load:
        killed = kill(server, "worker cpu:0")
        # All fifty wait by now or soon: an answer comes from the new worker only.
        load.wait_for_answers(200)
        assert load.outcome.slowest < BACK
        assert kill(server, "worker cpu:0") != killed
        load.wait_for_answers(200)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    server.wait_for_log("(?s)worker cpu:0 is back.*worker cpu:0 is back", 5)


def test_of_two_workers_the_other_one_goes_on(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"), "--devices=cpu:2")
    with Load(server.port, 20, halves("half_plus_two", 3.0)) as load:
        kill(server, "worker cpu:1")
        server.wait_for_log("worker cpu:1 is back", 20)
        before = server.completed()
        load.wait_for_answers(400)
        # Not within so many answers: a request goes to the worker that is expected to be done first.
        workers = {"worker cpu:0", "worker cpu:1"}
        wait_until(
            lambda: {worker for _, worker in server.completed() - before} == workers, BACK, "the new one to have work again"
        )
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0


def test_a_request_that_kills_its_worker_is_answered_and_harms_no_neighbour(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "kills_worker"))
    worker = server.process("worker cpu:0")

    def ask(number: float) -> Future[Answer]:
        return pool.submit(server.predict, "kills_worker", {"instances": [number, number + 0.5]})

    def submitted(count: int) -> None:
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == count, 10, f"{count} requests in the lane")

    with ThreadPoolExecutor(21) as pool:
        os.kill(worker, signal.SIGSTOP)
        poisoned = ask(666.0)  # which is lethal at the front of a batch
        submitted(1)
        others = [ask(number) for number in range(20)]
        submitted(21)
        os.kill(worker, signal.SIGCONT)
        assert [other.result().json for other in others] == [{"predictions": [n, n + 0.5]} for n in range(20)]
        answer = poisoned.result()
    assert (answer.status, answer.error) == (500, "The worker died twice while it ran this request")
    server.wait_for_log("(?s)worker cpu:0 is back.*worker cpu:0 is back", 5)
    assert server.predict("kills_worker", {"instances": [1.0]}).json == {"predictions": [1.0]}


def test_a_version_that_cannot_be_loaded_again_harms_no_other(models: Path, tmp_path: Path, serve: Serve) -> None:
    """Its file system is away when the worker dies, say. Back again, it is served again."""
    base = tmp_path / "lost"
    shutil.copytree(models / "half_plus_two", base)
    server = serve(write_config(tmp_path / "models.config", {"lost": base, "kept": models / "half_plus_two"}))
    base.rename(tmp_path / "away")
    with Load(server.port, 20, halves("kept", 3.0)) as load:
        kill(server, "worker cpu:0")
        load.wait_for_answers(200)
        answer = server.predict("lost", {"instances": [2.0]})
        assert answer.status == 503
        assert answer.error.startswith("The version could not be loaded again after a crash: ")
        (tmp_path / "away").rename(base)
        wait_until(lambda: server.predict("lost", {"instances": [2.0]}).status == 200, 10, "the version back")
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert server.predict("lost", {"instances": [2.0]}).json == {"predictions": [4.0]}


def test_a_lost_version_can_be_replaced(models: Path, tmp_path: Path, serve: Serve) -> None:
    base = tmp_path / "half_plus_two"
    shutil.copytree(models / "half_plus_two" / "1", base / "1")
    server = serve("--model_name=half_plus_two", f"--model_base_path={base}")
    base.rename(tmp_path / "away")
    kill(server, "worker cpu:0")
    server.wait_for_log("worker cpu:0 is back", 20)
    assert server.predict("half_plus_two", {"instances": [2.0]}).status == 503
    shutil.copytree(models / "half_plus_two" / "2", tmp_path / "new" / "2")
    (tmp_path / "new").rename(base)
    wait_until(lambda: server.states("half_plus_two") == {2: "AVAILABLE", 1: "END"}, 10, "version 2 in its place")
    assert server.predict("half_plus_two", {"instances": [2.0]}).json == {"predictions": [4.0]}


def test_a_killed_front_end_is_replaced_and_the_port_stays_open(models: Path, serve: Serve) -> None:
    server = serve(*flags_for(models, "half_plus_two"))
    before = server.lanes()
    with Load(server.port, 20, halves("half_plus_two", 3.0)) as load:
        load.wait_for_answers(200)  # on all of its connections, by then
        killed = kill(server, "frontend rest 0")
        began = time.monotonic()
        answer = server.predict("half_plus_two", {"instances": [2.0]})  # refused connections would raise
        taken = time.monotonic() - began
        assert (answer.status, answer.json) == (200, {"predictions": [4.0]})
        assert taken < BACK
        assert server.process("frontend rest 0") != killed
        load.wait_for_answers(400)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped >= 15, "its connections are lost with it"
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
        assert server.wait(5) == -signal.SIGKILL  # all its threads have ended, too


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_answers_what_has_begun(models: Path, serve: Serve, number: signal.Signals) -> None:
    """A terminal's Ctrl-C reaches every process at once, so the signal goes to all of them."""
    server = serve(*flags_for(models, "half_plus_two"))
    worker = server.process("worker cpu:0")
    count = 30
    with ThreadPoolExecutor(count) as pool:
        os.kill(worker, signal.SIGSTOP)
        asked = [pool.submit(server.predict, "half_plus_two", {"instances": [value]}) for value in range(count)]
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == count, 10, "all requests in the lane")
        os.killpg(server.pid, number)
        server.wait_for_log(f"{number.name}: ending", 5)
        os.kill(worker, signal.SIGCONT)
        assert [each.result().json for each in asked] == [{"predictions": [value / 2 + 3]} for value in range(count)]
    assert server.wait() == 0


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
    with ThreadPoolExecutor(1) as pool:
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
    answer = server.predict("half_plus_two", {"instances": [1.0]})  # at once: it would be 504 as soon as its time is over
    assert (answer.status, answer.error) == (503, "The batch scheduling queue to which this task was submitted is full")
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
    assert "starting a new one" not in server.log

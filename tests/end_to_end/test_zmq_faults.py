"""The ZeroMQ server when processes die or stop, its own and its clients'."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import zmq

from end_to_end import process_facts
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from end_to_end.zmq_client import ZmqClient, differs, predicting
from end_to_end.zmq_facts import address, check, connections, front_end, in_flight
from end_to_end.zmq_load import ZmqLoad
from end_to_end.zmq_questions import halves, one_row

LIMIT = 30.0  # seconds
BACK = 10.0  # until a process that died is replaced, on a machine that is busy
X = np.array([1.0, 2.0], "f4")


def flags_for(models: Path, name: str = "half_plus_two") -> tuple[str, str]:
    return f"--model_name={name}", f"--model_base_path={models}/{name}"


def kill(server: RunningServer, role: str) -> int:
    pid = server.process(role)
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_killed_worker_loses_no_request_and_a_killed_front_end_no_client(models: Path, tmp_path: Path) -> None:
    ipc = f"ipc://{tmp_path}/s"
    with RunningServer(*flags_for(models), f"--zmq_endpoint={ipc}", zmq=True) as server:
        before = len(server.lanes())
        asking = halves(), halves(most_rows=30), halves(each=True, most_rows=20)
        with ZmqLoad([address(server), ipc], 4, 50, *asking, patience=LIMIT) as load:
            for _ in range(2):
                killed = kill(server, "worker cpu:0")
                load.wait_for_answers(300)
                wait_until(lambda killed=killed: server.process("worker cpu:0") != killed, LIMIT, "a new worker")  # type: ignore[misc]
            load.wait_for_answers(300)
            outcome = load.stop()
        assert (outcome.wrong, outcome.failed.total(), outcome.lost) == ([], 0, 0), outcome
        assert outcome.slowest < BACK
        with ZmqLoad([address(server), ipc], 4, 50, *asking, patience=2.0) as load:
            for _ in range(2):
                killed = kill(server, "frontend zmq 0")
                wait_until(lambda killed=killed: front_end(server) != killed, LIMIT, "a new front end")  # type: ignore[misc]
                load.wait_for_answers(4 * 50 + 300)  # every socket has connected again
            assert load.outcome.lost <= 2 * 4 * 50, "what was on its way"
            kill(server, "worker cpu:0")
            kill(server, "frontend zmq 0")
            load.wait_for_answers(4 * 50 + 300)
            outcome = load.stop()
        assert (outcome.wrong, outcome.failed.total()) == ([], 0), outcome
        check(server)
        wait_until(lambda: len(server.lanes()) <= before + 4, 5, "the lanes of the dead processes dropped")
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, 10, "the lanes empty")


def test_what_has_begun_is_answered_before_the_end(models: Path) -> None:
    """SIGTERM: those that were taken get their answers, those that come later an error that says why."""
    with (
        RunningServer(*flags_for(models, "slow"), zmq=True) as server,
        ZmqClient(address(server)) as client,
        ZmqClient(address(server), zmq.REQ) as patient,
        ZmqClient(address(server)) as other,
    ):
        client.ask({"id": 0, **predicting("slow", {"x": X})})
        for number in (1, 2, 3):  # each takes 0.3 s
            client.send({"id": number, **predicting("slow", {"x": X + number})})
        patient.send({"id": 4, **predicting("slow", {"x": X + 4})})
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) >= 4, LIMIT, "all in the lane")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: "error" in other.ask({"call": "models"}), LIMIT, "the end to begin")
        client.send({"id": "late", **predicting("slow", {"x": X})})
        with ZmqClient(address(server)) as new:  # connections are accepted still
            assert new.ask({"call": "models"})["error"] == "The server is stopping"
        found = {answer["id"]: answer for answer in client.gather(4) + patient.gather(1)}
        for number in (1, 2, 3, 4):
            assert not differs(found[number], y=X + number)
        assert (found["late"]["code"], found["late"]["error"]) == (14, "The server is stopping")
        assert server.wait(10) == 0


def test_many_answers_at_the_end(models: Path) -> None:
    """All of them go out, also to a client that begins to read when the server has stopped already."""
    with RunningServer(*flags_for(models), zmq=True) as server, ZmqClient(address(server), SNDHWM=0, RCVHWM=0) as client:
        count = 3000
        client.ask({"id": "first", **predicting("half_plus_two", {"x": X})})
        for number in range(count):
            client.send({"id": number, **predicting("half_plus_two", {"x": X + number})})
        wait_until(lambda: client.socket.poll(0), LIMIT, "an answer")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        answered = 0
        while client.socket.poll(200):
            for answer in client.gather(1):
                answered += 1
                if "error" not in answer:
                    assert not differs(answer, y=(X + answer["id"]) / 2 + 3)
                else:
                    assert answer["error"] == "The server is stopping"
        assert answered > count * 0.1, "how many had come when it stopped is up to ZeroMQ and the processors"
        assert "have no answer" not in server.log


def test_a_client_that_does_not_read_until_much_later(models: Path) -> None:
    """What ZeroMQ does not take at once comes in the end: no answer is lost, also when nothing else happens."""
    with RunningServer(*flags_for(models), zmq=True) as server:
        with ZmqClient(address(server), SNDHWM=0, RCVHWM=10, RCVBUF=4096) as client:
            first, count = 9_500, 12_900  # ZeroMQ holds 10 000, and the system some
            numbers = np.arange(1000, dtype="f4").reshape(1, 1000)
            for _ in range(20):
                client.ask({"id": "first", **predicting("half_plus_two", {"x": numbers})})
            before = process_facts.answered_in_lanes(server.pid)
            for number in range(count):
                if number % 500 == 0 and number <= first:  # no faster than the lane has room
                    sent = before + number
                    wait_until(lambda: process_facts.answered_in_lanes(server.pid) >= sent, LIMIT, "room")  # noqa: B023
                if number == first:
                    os.kill(server.process("worker cpu:0"), signal.SIGSTOP)
                client.send({"id": number, **predicting("half_plus_two", {"x": numbers + number})})
            wait_until(
                lambda: process_facts.requests_in_lanes(server.pid) >= count - first,
                LIMIT,
                lambda: f"{process_facts.requests_in_lanes(server.pid)} of the last ones in the lane",
            )
            os.kill(server.process("worker cpu:0"), signal.SIGCONT)
            wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, LIMIT, "all answered")
            time.sleep(0.1)  # as long as a client likes
            found = {answer["id"]: answer for answer in client.gather(count)}
            assert len(found) == count
            for number in range(0, count, 97):
                assert not differs(found[number], y=(numbers + number) / 2 + 3)
        check(server)


def test_clients_that_vanish_in_the_middle(models: Path) -> None:
    """With requests on their way, and before they have read their answers."""
    with RunningServer(*flags_for(models), zmq=True) as server:
        check(server)
        before = connections(server)
        worker = server.process("worker cpu:0")
        with ZmqLoad([address(server)], 2, 20, halves(), halves(most_rows=100)) as load:
            os.kill(worker, signal.SIGSTOP)
            for _ in range(10):
                client = ZmqClient(address(server))
                for number in range(50):
                    client.send({"id": number, **predicting("half_plus_two", {"x": X})})
                client.send([{"id": number, **predicting("half_plus_two", {"x": X})} for number in range(50)])
                if client.socket.poll(20):
                    client.receive()
                client.close()
            raw = [
                raw_connection(server, part)
                for part in (b"", b"\xff", GREETING, GREETING + READY[:20], GREETING + READY + HALF)
            ]
            for connection in raw[::2]:
                connection.close()
            os.kill(worker, signal.SIGCONT)
            load.wait_for_answers(500)
            outcome = load.stop()
        assert (outcome.wrong, outcome.failed.total(), outcome.lost) == ([], 0, 0), outcome
        for connection in raw:
            connection.close()
        wait_until(lambda: connections(server) <= before, LIMIT, "their connections gone")
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, LIMIT, "the lanes empty")
        wait_until(lambda: not in_flight(server), LIMIT, "no request in flight")
        check(server)


GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
_COMMAND = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
READY = b"\x04" + bytes((len(_COMMAND),)) + _COMMAND
HALF = b"\x02" + (1 << 20).to_bytes(8, "big") + b"x" * 1000  # a message that says a mebibyte, and has a thousand bytes


def raw_connection(server: RunningServer, data: bytes) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.zmq_port))
    made.sendall(data)
    return made


def test_two_front_ends_one_of_which_dies(models: Path) -> None:
    with RunningServer(*flags_for(models, "half_plus_two_2d"), "--zmq_frontends=2", zmq=True) as server:
        with ZmqLoad([address(server)], 6, 20, one_row, patience=2.0) as load:
            kill(server, "frontend zmq 1")
            server.wait_for_log("frontend zmq 1 is back", LIMIT)
            load.wait_for_answers(1000)
            outcome = load.stop()
        assert (outcome.wrong, outcome.failed.total()) == ([], 0), outcome
        assert outcome.lost <= 6 * 20
        assert threading.active_count() < 50

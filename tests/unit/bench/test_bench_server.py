"""Servers under test, from their start to their end."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import psutil
import pytest

from bench.half_plus_two import predict
from bench.load import Target
from bench.server import Server, free_port


def echo(target: Target) -> list[str]:
    return [sys.executable, "-m", "bench.echo_server", "--port", str(target.port)]


def test_the_request_is_http() -> None:
    assert Target(80, "/p", '"ü"', None).request == (
        b"POST /p HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"
        + '"ü"'.encode()
    )


def test_a_server_is_awaited_asked_and_ended() -> None:
    target = predict(free_port())
    with Server(echo(target), target) as server:
        assert server.until_answered() > 0
        assert server.check(3) == b'{"predictions":[2.5,3.0,4.5]}'
        assert psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(server.pid)


def test_a_server_that_ends_is_told_with_its_last_words() -> None:
    command = [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"]
    with Server(command, predict(free_port())) as server, pytest.raises(RuntimeError, match=r"ended with 3.*no such model"):
        server.until_answered()


def test_the_log_is_read_while_it_is_written() -> None:
    command = [sys.executable, "-c", "for n in range(20000): print('line', n, flush=not n % 100)"]
    with Server(command, predict(free_port())) as server:
        give_up = time.monotonic() + 20
        while not server.log.endswith("line 19999\n"):
            assert time.monotonic() < give_up
        assert server.log.splitlines() == [f"line {number}" for number in range(20000)]


def test_a_server_that_takes_too_long_is_told() -> None:
    with (
        Server(["sleep", "60"], predict(free_port()), start_seconds=0.1) as server,
        pytest.raises(RuntimeError, match="sleep 60 gave no answer; it runs"),
    ):
        server.until_answered()


def test_children_that_stay_behind_are_killed_with_the_group() -> None:
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    with Server([sys.executable, "-c", parent], predict(free_port()), own_group=True) as server:
        give_up = time.monotonic() + 20
        while not server.log.endswith("\n"):
            assert time.monotonic() < give_up
        pid = int(server.log)
        assert psutil.pid_exists(pid)
    give_up = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < give_up


def test_a_wrong_answer_is_told() -> None:
    target = predict(free_port())
    with (
        Server(echo(target), replace(target, answer={"predictions": [1.0]})) as server,
        pytest.raises(RuntimeError, match=r"answered 200 .*predictions.*it runs"),
    ):
        server.until_answered()


def test_a_server_that_stops_listening_is_told() -> None:
    target = predict(free_port())
    with Server(echo(target), target) as server:
        server.until_answered()
        psutil.Process(server.pid).kill()
        with pytest.raises(RuntimeError, match=r"bench\.echo_server"):
            for _ in range(1000):  # until the kernel has taken it down
                server.check(1)

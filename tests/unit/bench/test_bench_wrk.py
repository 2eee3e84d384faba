"""wrk's output read, and wrk itself where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from bench.half_plus_two import predict
from bench.server import Server, free_port
from bench.wrk import Wrk, parse_wrk, wrk_load, wrk_script
from bench.wrk_phases import WrkPhases

OUTPUT = """\
Running 2s test @ http://127.0.0.1:8704/v1/models/half_plus_two:predict
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.83ms  512.10us   9.31ms   91.04%
    Req/Sec    17.60k     1.21k   19.50k    70.00%
  35041 requests in 2.00s, 6.95MB read
  Non-2xx or 3xx responses: 7
Requests/sec:  17508.53
Transfer/sec:      3.47MB
bench requests=35041 duration_us=2001361 p50_us=1790 p99_us=3415 longest_us=9310 \
connect=1 read=2 write=3 status=7 timeout=4 wrong=5
"""


def test_the_scripts_line_is_read() -> None:
    load = parse_wrk(OUTPUT)
    assert load.requests == 35041 - 7 - 5
    assert load.errors == 1 + 2 + 3 + 7 + 4 + 5
    assert (load.seconds, load.p50, load.p99, load.longest) == (2.001361, 1.79, 3.415, 9.31)
    assert load.rate == pytest.approx(35029 / 2.001361)


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused", OUTPUT.replace("bench ", "")])
def test_output_without_it_is_an_error(output: str) -> None:
    with pytest.raises(RuntimeError, match="wrk printed no result"):
        parse_wrk(output)


def test_the_body_is_quoted_for_lua() -> None:
    assert 'wrk.body = "{\\"instances\\":[1.0]}"\n' in wrk_script('{"instances":[1.0]}')


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_understands_the_script() -> None:
    target = predict(free_port())
    with Server([sys.executable, "-m", "bench.echo_server", "--port", str(target.port)], target) as server:
        server.until_answered()
        load = wrk_load(target, connections=2, seconds=0.1)  # which it makes a second
    assert load.errors == 0
    assert load.requests > 0
    assert 0 < load.p50 <= load.p99
    assert 1 <= load.seconds < 10


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_looks_at_answers_when_told_what_is_right() -> None:
    target = predict(free_port())
    with Server([sys.executable, "-m", "bench.echo_server", "--port", str(target.port)], target) as server:
        server.until_answered()
        right = server.check(1)
        for body, wrong in ((right, False), (right + b" ", True)):
            with Wrk(target, 2, 1, body) as run:
                load = run.end()
            assert (load.errors > 0) is wrong
            assert (load.requests == 0) is wrong


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_phases_of_wrk_end_when_the_next_begins() -> None:
    target = predict(free_port())
    with Server([sys.executable, "-m", "bench.echo_server", "--port", str(target.port)], target) as server:
        server.until_answered()
        with WrkPhases(target, 2, server.check(1)) as load:
            for name, busy in (("one", False), ("one", True), ("two", False)):
                load.phase(name, busy)
                server.check(200)
            loads = load.end()
    assert list(loads.whole) == ["one", "two"]
    assert not loads.busy
    assert all(each.requests > 0 and not each.errors and each.seconds < 20 for each in loads.whole.values())


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises((RuntimeError, subprocess.TimeoutExpired)):
        wrk_load(predict(free_port()), connections=1, seconds=1)

"""The load generator with phases: its rate, what it charges a server that stalls, and what it does when one fails."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.http_generator import Tally
from bench.load import Target
from bench.phased_generator import PhasedGenerator
from bench.phased_load import PhasedLoad

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"
WRONG = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[2]"
REFUSED = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n[]"

#: The answer to the n-th request, b"" to close the connection instead.
Script = Callable[[int], bytes]


@contextmanager
def served(script: Script) -> Iterator[Target]:
    """A server that answers any request by the script, one thread a connection."""
    seen = iter(range(1_000_000))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection: socket.socket) -> None:
            with connection:
                while connection.recv(4096):
                    body = script(next(seen))
                    if not body:
                        return
                    connection.sendall(body)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield Target(listener.getsockname()[1], "/", "x", [1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def run(target: Target, connections: int, rate: float, phases: Callable[[Callable[[str], None]], None]) -> dict[str, Tally]:
    """What was counted; `phases` runs beside the generator and is given what begins one."""
    read, write = os.pipe()

    def tell() -> None:
        def begin(name: str) -> None:
            os.write(write, name.encode() + b"\n")

        phases(begin)
        os.close(write)

    teller = threading.Thread(target=tell)
    generator = PhasedGenerator(target, connections, rate)
    teller.start()
    try:
        return generator.run_phases(read)
    finally:
        teller.join()
        generator.close()
        os.close(read)


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def test_requests_come_at_the_rate_and_are_counted_by_phase() -> None:
    count = 0

    def script(number: int) -> bytes:
        nonlocal count
        count = number + 1
        return RIGHT

    def phases(begin: Callable[[str], None]) -> None:
        begin("one")
        until(lambda: count >= 50)
        begin("two")
        until(lambda: count >= 80)
        begin("one")
        until(lambda: count >= 100)

    with served(script) as target:
        began = time.monotonic()
        tallies = run(target, 3, 500, phases)
        seconds = time.monotonic() - began
    assert set(tallies) == {"one", "two"}
    assert sum(tally.requests for tally in tallies.values()) == count >= 100
    assert sum(tally.latencies.total for tally in tallies.values()) == count
    assert tallies["one"].requests >= 50
    assert tallies["two"].requests >= 10
    assert tallies["one"].errors == tallies["two"].errors == 0
    assert tallies["one"].seconds + tallies["two"].seconds == pytest.approx(seconds, abs=0.1)
    assert count <= seconds * 500 + 1  # it never sends before a request is due


def test_without_a_rate_every_answer_is_followed_by_a_request() -> None:
    count = 0

    def script(number: int) -> bytes:
        nonlocal count
        count = number + 1
        return RIGHT

    def phases(begin: Callable[[str], None]) -> None:
        begin("one")
        until(lambda: count >= 200)

    with served(script) as target:
        tallies = run(target, 2, 0, phases)
    assert tallies["one"].requests == count >= 200
    assert not tallies["one"].errors


def test_a_stall_is_charged_to_all_requests_that_were_due_meanwhile() -> None:
    stalled = threading.Event()

    def script(number: int) -> bytes:
        if number == 0:
            time.sleep(0.3)
            stalled.set()
        return RIGHT

    def phases(begin: Callable[[str], None]) -> None:
        begin("one")
        assert stalled.wait(20)

    with served(script) as target:
        tally = run(target, 1, 100, phases)["one"]
    assert tally.requests >= 20  # the one that stalled, and those due in the 0.3 s, though no connection was free
    assert tally.latencies.percentile(100) >= 0.3e9
    assert tally.latencies.percentile(50) >= 0.1e9


@pytest.mark.parametrize("answer", [WRONG, REFUSED, b""])
def test_failures_are_counted_and_it_goes_on(answer: bytes) -> None:
    count = 0

    def script(number: int) -> bytes:
        nonlocal count
        count = number + 1
        return answer if number in (10, 20) else RIGHT

    def phases(begin: Callable[[str], None]) -> None:
        begin("one")
        until(lambda: count >= 40)

    with served(script) as target:
        tally = run(target, 2, 1000, phases)["one"]
    assert tally.errors == 2
    assert tally.requests == count - 2


def test_what_is_never_answered_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.phased_generator.PATIENCE", 0.05)
    asked, done = threading.Event(), threading.Event()

    def script(_: int) -> bytes:
        asked.set()
        done.wait(20)
        return b""

    def phases(begin: Callable[[str], None]) -> None:
        begin("one")
        assert asked.wait(20)

    with served(script) as target:
        try:
            tally = run(target, 1, 10, phases)["one"]
        finally:
            done.set()
    assert tally.errors >= 1
    assert not tally.requests


def test_nothing_is_sent_without_a_phase() -> None:
    asked: list[int] = []
    with served(lambda number: asked.append(number) or RIGHT) as target:  # type: ignore[func-returns-value]
        assert run(target, 2, 1000, lambda _: None) == {}
    assert not asked


def test_the_program_is_told_its_phases() -> None:
    count = 0

    def script(number: int) -> bytes:
        nonlocal count
        count = number + 1
        return RIGHT

    with served(script) as target, PhasedLoad(target, 2, 200) as load:
        load.phase("one")
        until(lambda: count >= 10)
        load.phase("one", busy=True)
        load.phase("one", busy=True)
        until(lambda: count >= 30)
        load.phase("two")
        until(lambda: count >= 40)
        loads = load.end()
    assert set(loads.whole) == {"one", "two"}
    assert set(loads.busy) == {"one"}
    assert loads.whole["one"].requests + loads.whole["two"].requests == count
    assert 0 < loads.busy["one"].requests < loads.whole["one"].requests
    assert 0 < loads.whole["one"].p50 <= loads.whole["one"].p99 <= loads.whole["one"].longest
    assert loads.whole["one"].seconds > loads.busy["one"].seconds > 0


def test_a_server_that_is_not_there_is_told() -> None:
    with served(lambda _: RIGHT) as target:
        pass
    with pytest.raises(RuntimeError, match="the load generator ended"), PhasedLoad(target, 1, 10):
        pass

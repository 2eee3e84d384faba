"""Who waits for what: threads that share a lane, calls that are started, lanes that are full, time that is over."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane_server import LIMIT, LaneServer, until
from shm_calls import Started, each, half, predict, served

from ringserve.client.operations import Models
from ringserve.client.shm import lane_works
from ringserve.client.shm.lane import ShmLane
from ringserve.client.shm.transport import ShmTransport
from ringserve.errors import Code, ServingError

Stage = tuple[LaneServer, ShmTransport]
FULL = "The batch scheduling queue to which this task was submitted is full"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with served(tmp_path) as both:
        yield both


def the_lane(transport: ShmTransport) -> ShmLane:
    """The only one."""
    (lane,) = transport._session()._lanes.values()
    return lane


def check(transport: ShmTransport, value: float) -> None:
    assert transport.call(predict([[value]]), LIMIT)["y"].tolist() == half([[value]])


def test_many_threads_on_one_lane(stage: Stage) -> None:
    """Each gets its own answer, whoever listens."""
    server, transport = stage

    def work(seed: int) -> None:
        for turn in range(200):
            check(transport, seed * 1000 + turn)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, seed) for seed in range(8)]:
            done.result(LIMIT)
    assert len(server.lanes) == 1
    assert server.lanes[0].requests == 1600
    assert the_lane(transport).idle


def test_threads_and_started_calls_together(stage: Stage) -> None:
    """And calls that are cancelled, and that come too late, now and then."""
    _, transport = stage

    def call(seed: int) -> None:
        for turn in range(100):
            check(transport, seed * 1000 + turn)

    def start(seed: int) -> None:
        chance = random.Random(seed)
        started = Started(transport)
        for turn in range(200):
            values = np.arange(turn, turn + 1 + chance.randrange(300)).reshape(-1, 1)
            number = started.start(each(values), chance.choice([None, LIMIT, 0.0001]))
            if turn % 7 == 0:
                started.cancel[number]()
            outcome = started.outcome(number)
            if isinstance(outcome, ServingError):
                assert outcome.code in (Code.CANCELLED, Code.DEADLINE_EXCEEDED)
            else:
                assert outcome["y"].tolist() == half(values)

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(call, 1), pool.submit(start, 2), pool.submit(call, 3), pool.submit(start, 4)]:
            done.result(LIMIT * 3)
    until(lambda: the_lane(transport).idle)


def test_started_calls_come_in_any_number(stage: Stage) -> None:
    _, transport = stage
    started = Started(transport)
    numbers = [started.start(predict([[value]])) for value in range(3000)]
    for value, number in enumerate(numbers):
        assert started.outcome(number)["y"].tolist() == half([[value]])


def test_calls_that_wait_for_their_lane(stage: Stage) -> None:
    """Their arrays are the caller's again."""
    server, transport = stage
    server.opens.clear()
    started = Started(transport)
    operations = [predict([[value]]) for value in range(5)] + [each(np.arange(3).reshape(-1, 1))]
    for operation in operations:
        started.start(operation)
    for operation in operations:
        operation.inputs["x"][2][...] = -1  # type: ignore[call-overload]
    cancelled, late = started.start(predict([[1]])), started.start(predict([[1]]), 0.05)
    started.cancel[cancelled]()
    assert started.error(cancelled).code is Code.CANCELLED
    assert str(started.error(late)) == "DEADLINE_EXCEEDED: No answer within 0.05 s"
    with pytest.raises(ServingError, match=r"DEADLINE_EXCEEDED: No answer within 0.01 s"):
        transport.call(predict([[1]]), 0.01)
    assert len(server.kinds("open")) == 1, "for all of them"
    server.open_those_that_wait()
    for value in range(5):
        assert started.outcome(value)["y"].tolist() == half([[value]])
    assert started.outcome(5)["y"].tolist() == half(np.arange(3).reshape(-1, 1))
    assert len(server.lanes) == 1


def test_more_calls_than_may_wait_for_their_lane(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    server, transport = stage
    monkeypatch.setattr("ringserve.client.shm.session._MOST_DELAYED", 3)
    server.opens.clear()
    started = Started(transport)
    numbers = [started.start(predict([[1]])) for _ in range(5)]
    assert [started.error(number).message for number in numbers[3:]] == [FULL, FULL]
    server.open_those_that_wait()
    for number in numbers[:3]:
        assert started.outcome(number)["y"].tolist() == [[2.5]]


def fill(server: LaneServer, transport: ShmTransport, started: Started) -> list[int]:
    """The lane, which is held."""
    check(transport, 1)
    server.running.clear()
    return [started.start(each(np.arange(1000).reshape(-1, 1))) for _ in range(9)]


def test_a_full_lane_makes_calls_wait(stage: Stage) -> None:
    """Their arrays are copied only where nobody waits for them."""
    server, transport = stage
    started = Started(transport)
    numbers = fill(server, transport, started)
    assert the_lane(transport)._works._waiting
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(check, transport, 7)
        values = np.zeros((10, 1), "<f4")
        last = started.start(each(values))
        values[:] = 100
        until(lambda: len(the_lane(transport)._works._waiting) >= 3)
        server.running.set()
        waits.result(LIMIT)
    for number in numbers:
        assert started.outcome(number)["y"].tolist() == half(np.arange(1000).reshape(-1, 1))
    assert started.outcome(last)["y"].tolist() == half(np.zeros((10, 1)))
    assert the_lane(transport)._works._waiting_bytes == 0


def test_a_full_lane_refuses_more_than_may_wait(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    server, transport = stage
    monkeypatch.setattr(lane_works, "_MOST_WAITING", 8)
    started = Started(transport)
    numbers = fill(server, transport, started)
    more = [started.start(predict([[1]])) for _ in range(9)]
    refused = [number for number in more if started.outcomes[number]]
    assert refused, "at once"
    assert {started.error(number).message for number in refused} == {FULL}
    server.running.set()
    for number in set(numbers + more) - set(refused):
        assert not isinstance(started.outcome(number), ServingError)


def test_a_full_lane_refuses_too_many_bytes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    server, transport = stage
    monkeypatch.setattr(lane_works, "_MOST_WAITING_BYTES", 10_000)
    started = Started(transport)
    numbers = fill(server, transport, started)
    assert [number for number in numbers if started.outcomes[number]], "4 kB each"
    server.running.set()
    until(lambda: all(started.outcomes.values()))
    assert the_lane(transport)._works._waiting_bytes == 0


def test_time_that_is_over(stage: Stage) -> None:
    """The worker is told that nobody waits, and the lane goes on."""
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    for timeout in (0, -1, 0.02):
        with pytest.raises(ServingError, match="DEADLINE_EXCEEDED: No answer within") as caught:
            transport.call(predict([[1]]), timeout)
        assert f"{timeout} s" in caught.value.message
    with pytest.raises(ServingError, match=r"No answer within 0\.02 s"):
        transport.call(each(np.zeros((100, 1))), 0.02)
    started = Started(transport)
    assert started.error(started.start(predict([[1]]), 0)).code is Code.DEADLINE_EXCEEDED
    assert started.error(started.start(predict([[1]]), 0.02)).message == "No answer within 0.02 s"
    server.running.set()
    check(transport, 2)
    assert server.lanes[0].abandoned == 102
    assert the_lane(transport).idle


def test_deadlines_are_the_worker_s_too(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    before = time.monotonic_ns()
    started = Started(transport)
    started.start(predict([[1]]), 1000.0)
    started.start(predict([[1]]), None)
    consumer = server.lanes[0].consumer
    until(lambda: consumer.waiting == 2)
    deadlines = [consumer.describe(number)[4] for number in (1, 2)]
    assert 999_000_000_000 < deadlines[0] - before < 1_001_000_000_000
    assert deadlines[1] == 0


def test_all_the_time_in_the_world(stage: Stage) -> None:
    _, transport = stage
    started = Started(transport)
    for timeout in (1e9, None):
        assert transport.call(predict([[1]]), timeout)["y"].tolist() == [[2.5]]
        assert started.outcome(started.start(each([[1]]), timeout))["y"].tolist() == [[2.5]]
        assert transport.call(Models(), timeout) == ["half"]


def test_a_question_that_nobody_answers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _, transport = stage
    transport.call(Models(), LIMIT)
    monkeypatch.setattr("lane_server.Connection._ask", lambda self, message: None)
    with pytest.raises(ServingError, match=r"No answer within 0\.02 s"):
        transport.call(Models(), 0.02)
    started = Started(transport)
    assert started.error(started.start(Models(), 0.02)).code is Code.DEADLINE_EXCEEDED
    number = started.start(Models())
    started.cancel[number]()
    assert started.error(number).code is Code.CANCELLED


def test_cancelling(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    started = Started(transport)
    numbers = [started.start(predict([[value]])) for value in range(3)]
    for _ in range(2):
        started.cancel[numbers[1]]()
    assert str(started.error(numbers[1])) == "CANCELLED: The call was cancelled"
    server.running.set()
    assert started.outcome(numbers[0])["y"].tolist() == half([[0]])
    assert started.outcome(numbers[2])["y"].tolist() == half([[2]])
    started.cancel[numbers[2]]()
    until(lambda: server.lanes[0].abandoned == 1)
    assert all(len(told) == 1 for told in started.outcomes.values())


def test_whoever_is_told_may_fail(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The others are told all the same."""
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    transport.start(predict([[1]]), LIMIT, lambda outcome: 1 / 0)  # type: ignore[arg-type]
    started = Started(transport)
    number = started.start(predict([[4]]))
    server.running.set()
    assert started.outcome(number)["y"].tolist() == half([[4]])
    assert "ZeroDivisionError" in caplog.text


def test_whoever_is_told_may_call(stage: Stage) -> None:
    """Start another one, that is."""
    _, transport = stage
    told: list[Any] = []

    def chain(left: int) -> Callable[[Any], None]:
        return lambda outcome: told.append(
            transport.start(predict([[left]]), LIMIT, chain(left - 1) if left else told.append)
        )

    transport.start(predict([[1]]), LIMIT, chain(50))
    until(lambda: len(told) == 52)


def test_a_signal_s_exception_leaves_the_lane_in_order(stage: Stage) -> None:
    """The one that listens leaves; another one goes on."""
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    lane = the_lane(transport)

    class Interrupt(BaseException):
        pass

    interrupted = threading.Event()
    hear = lane._hear

    def interrupting(listener: Any) -> None:
        if threading.current_thread().name == "victim":
            interrupted.set()
            raise Interrupt
        hear(listener)

    def victim() -> None:
        with pytest.raises(Interrupt):
            transport.call(predict([[1]]), LIMIT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShmLane, "_hear", lambda self, listener: interrupting(listener))
        thread = threading.Thread(target=victim, name="victim")
        thread.start()
        until(lambda: lane._leader is not None)
        with ThreadPoolExecutor(2) as pool:
            others = [pool.submit(check, transport, value) for value in (5, 6)]
            until(lambda: len(lane._followers) == 2)
            server.running.set()
            server.lanes[0].bell.ring()
            for other in others:
                other.result(LIMIT)
        thread.join(LIMIT)
    assert interrupted.is_set()
    check(transport, 2)


def test_memory_out_of_use_goes_back(stage: Stage) -> None:
    _, transport = stage
    check(transport, 1)
    lane = the_lane(transport)
    words = lane._producer.lane.words
    from shm.layout import FRONTEND_HEARTBEAT  # noqa: PLC0415

    until(lambda: words[FRONTEND_HEARTBEAT] != 0)
    until(lambda: not transport._session()._watch._beating)

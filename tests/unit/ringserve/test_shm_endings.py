"""What ends: lanes that are given up, workers, servers, clients; and children of a fork."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane_server import LIMIT, LaneServer, WorkerLane, lane_server, until
from shm_calls import HALF, Started, each, half, predict, served

from ringserve.channel import Message
from ringserve.client import per_process
from ringserve.client.operations import Models
from ringserve.client.shm.transport import ShmTransport
from ringserve.errors import Code, ServingError
from shm.packed import PackedTensor

Stage = tuple[LaneServer, ShmTransport]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with served(tmp_path) as both:
        yield both


def check(transport: ShmTransport, value: float, version: int = 1) -> None:
    answer = transport.call(predict([[value]]), LIMIT)
    assert answer["y"].tolist() == half([[value]])
    assert answer.version == version


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def retire(server: LaneServer, number: int) -> None:
    server.version += 1
    server.tell({"type": "retire", "lane": number})


def test_a_lane_that_is_given_up(stage: Stage) -> None:
    """The next request opens another one, and the server is told that this one is empty."""
    server, transport = stage
    check(transport, 1)
    retire(server, 1)
    until(lambda: server.kinds("close") == [{"type": "close", "lane": 1}])
    until(server.lanes[0].ended.is_set)
    check(transport, 1, version=2)
    assert len(server.lanes) == 2


def test_a_lane_that_is_given_up_answers_what_it_has(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    started = Started(transport)
    numbers = [started.start(predict([[value]])) for value in range(3)]
    with pytest.raises(ServingError, match="No answer within"):
        transport.call(predict([[1]]), 0.01)  # nobody waits for this one any more
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(transport.call, predict([[8]]), LIMIT)
        until(lambda: server.lanes[0].consumer.waiting == 5)
        retire(server, 1)
        until(lambda: transport._session().route(HALF, "", None).usable_base is None)
        after = started.start(predict([[9]]))
        until(lambda: len(server.lanes) == 2)
        assert server.kinds("close") == []
        server.running.set()
        assert waits.result(LIMIT)["y"].tolist() == half([[8]])
    for number in numbers:
        assert started.outcome(number).version == 1
    assert started.outcome(after).version == 2
    until(lambda: server.kinds("close") == [{"type": "close", "lane": 1}])


def test_a_lane_that_nobody_waits_for_is_closed_when_it_is_empty(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    with pytest.raises(ServingError, match="No answer within"):
        transport.call(each(np.zeros((50, 1))), 0.01)
    retire(server, 1)
    until(lambda: transport._session().route(HALF, "", None).usable_base is None)
    server.running.set()
    until(lambda: server.kinds("close") == [{"type": "close", "lane": 1}])


def test_another_version_s_lanes_for_other_forms(stage: Stage) -> None:
    server, transport = stage
    values = np.arange(6).reshape(-1, 3)
    assert transport.call(each(values), LIMIT).version == 1
    retire(server, 1)  # the base lane's retirement comes first
    until(lambda: len(server.kinds("close")) == 1)
    assert transport.call(each(values), LIMIT).version == 2
    until(lambda: [message["lane"] for message in server.kinds("close")] == [1, 2])
    assert transport.call(each(values), LIMIT)["y"].tolist() == half(values)


def test_the_worker_ends(stage: Stage) -> None:
    """What is in the lane fails; the next request opens another one."""
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    started = Started(transport)
    numbers = [started.start(predict([[1]])), started.start(each(np.zeros((9000, 1))))]
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(transport.call, predict([[8]]), LIMIT) for _ in range(3)]
        (lane,) = transport._session()._lanes.values()
        until(lambda: len(lane._works._waiting) == 4)
        server.lanes[0].end()
        for number in numbers:
            assert str(started.error(number)) == "UNAVAILABLE: The worker ended"
        for wait in waits:
            with pytest.raises(ServingError, match="UNAVAILABLE: The worker ended"):
                wait.result(LIMIT)
    server.running.set()
    check(transport, 2)
    assert len(server.lanes) == 2


def test_an_idle_lane_s_worker_ends(stage: Stage) -> None:
    """Nobody need find out by a request that fails."""
    server, transport = stage
    check(transport, 1)
    server.lanes[0].end()
    until(lambda: transport._session().route(HALF, "", None).usable_base is None)
    check(transport, 2)


def test_what_was_answered_before_the_worker_ended(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    server.mute = True
    started = Started(transport)
    number = started.start(predict([[5]]))
    until(lambda: server.lanes[0].requests == 2)
    server.lanes[0].end()
    assert started.outcome(number)["y"].tolist() == half([[5]])


def test_the_server_ends(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    server.opens.clear()
    started = Started(transport)
    numbers = [started.start(predict([[1]])), started.start(predict([[1]], key="another lane"))]
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(transport.call, predict([[8]], key=key), LIMIT) for key in (None, "a third")]
        until(lambda: server.lanes[0].consumer.waiting == 2 and len(server.unopened) == 2)
        server.drop_connections()
        for number in numbers:
            assert "can't be reached: it went away" in started.error(number).message
        for wait in waits:
            with pytest.raises(ServingError, match=r"UNAVAILABLE: The server at shm:///.*local\.sock can't be reached"):
                wait.result(LIMIT)
    server.running.set()
    server.opens.set()
    check(transport, 2)
    assert len(server.connections) == 2


def test_a_question_to_a_server_that_is_there_again(stage: Stage) -> None:
    """It may be asked twice."""
    server, transport = stage
    assert transport.call(Models(), LIMIT) == ["half"]
    server.drop_connections()
    assert transport.call(Models(), LIMIT) == ["half"]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "error", "code": 8, "error": "There are too many"}, "RESOURCE_EXHAUSTED: There are too many"),
        ({"type": "error", "code": 99}, "UNKNOWN"),
        (["no map"], "one is no map"),
        (5, "one is no map"),
    ],
)
def test_a_server_that_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: Any, text: str) -> None:
    monkeypatch.setattr("lane_server.Connection._on_message", lambda self, _: self.channel.send(message))
    with served(tmp_path) as (_, transport), pytest.raises(ServingError, match=text):
        transport.call(predict([[1]]), LIMIT)


LANES: list[tuple[Message, str]] = [
    ({"columns": [[[1, "<f4", [1]]]]}, "the columns is no array of 2"),
    ({"columns": [[[1, "<f4", [1]]], [[9, "<i8", [1]]]]}, "a column of <i8 for a tensor of float"),
    ({"columns": [[[1, "<f4", [1]]], []]}, "not a column for each tensor"),
    ({"columns": [[[1, "<f8", [1]]], [[1, "<f4", [1]]]]}, "a column of <f8 for a tensor of float"),
    ({"columns": [[[1, "<f4", [-1]]], [[1, "<f4", [1]]]]}, "a column of rows of the shape"),
    ({"columns": [[[1, "<f4", [1 << 60]]], [[1, "<f4", [1]]]]}, "a column of rows of the shape"),
    ({"columns": [[[1, "<f4", [1 << 40]]], [[1, "<f4", [1]]]]}, "a lane of a size that no lane has"),
    ({"columns": [[[1, "<f4", [2]]], [[1, "<f4", [1]]]]}, "shared segment"),
    ({"ring_bytes": 0}, "a lane of a size that no lane has"),
    ({"ring_bytes": -1}, "a lane of a size that no lane has"),
    ({"ring_bytes": 1 << 50}, "a lane of a size that no lane has"),
    ({"ring_bytes": 1 << 19}, "shared segment has"),
    ({"ring_bytes": None}, "no whole number"),
    ({"specs": None}, "is no map"),
    ({"specs": {}}, "is no map"),
    ({"version": "one"}, "no whole number"),
    ({"signature": None}, "no text"),
    ({"type": "told"}, "it is no lane"),
    ({"lane": None}, "no whole number"),
]


@pytest.mark.parametrize(("fields", "text"), LANES)
def test_lanes_that_are_none(stage: Stage, fields: Message, text: str) -> None:
    server, transport = stage
    transport.call(Models(), LIMIT)
    make = server.make_lane

    def damaged(message: Message) -> tuple[Message, list[int]]:
        terms, fds = make(message)
        return {**terms, **fields}, fds

    server.make_lane = damaged  # type: ignore[method-assign]
    before = open_files()
    with pytest.raises(ServingError, match=text) as caught:
        transport.call(predict([[1]]), LIMIT)
    assert caught.value.code is Code.INTERNAL
    until(server.lanes[0].ended.is_set)  # its other end is closed
    until(lambda: open_files() <= before + 1)  # the server's own mapping
    until(lambda: len(server.kinds("close")) == ("lane" not in fields))
    server.make_lane = make  # type: ignore[method-assign]
    check(transport, 2)


def test_a_damaged_answer(stage: Stage) -> None:
    _, transport = stage

    def damage(lane: WorkerLane, tensors: Any) -> Any:
        return [PackedTensor(1, (1000,), b"short")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerLane, "_packed", damage)
        with pytest.raises(ServingError, match="INTERNAL: Output 'y': The worker's answer is damaged"):
            transport.call(predict(1), LIMIT)
        patch.setattr(WorkerLane, "_packed", lambda lane, tensors: tensors * 2)
        with pytest.raises(ServingError, match=r"INTERNAL: Expected 1 output tensor\(s\).  Got: 2"):
            transport.call(predict(1), LIMIT)
    check(transport, 1)


def test_closing(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    server.running.clear()
    server.opens.clear()
    started = Started(transport)
    numbers = [started.start(predict([[1]])), started.start(predict([[1]], key="another lane")), started.start(each([[1]]))]
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(transport.call, predict([[8]], key=key), None) for key in (None, None, "a third")]
        until(lambda: server.lanes[0].consumer.waiting == 4 and len(server.unopened) == 2)
        for _ in range(2):
            transport.close()
        for number in numbers:
            assert str(started.error(number)) == "CANCELLED: The client is closed"
        for wait in waits:
            with pytest.raises(ServingError, match="CANCELLED: The client is closed"):
                wait.result(LIMIT)
    for call in (lambda: transport.call(predict([[1]]), 1), lambda: transport.call(Models(), 1)):
        with pytest.raises(ServingError, match="FAILED_PRECONDITION: The client is closed"):
            call()
    with pytest.raises(ServingError, match="FAILED_PRECONDITION: The client is closed"):
        started.start(predict([[1]]))
    with pytest.raises(ServingError, match="FAILED_PRECONDITION: The client is closed"):
        transport.slot(HALF, "", 1, 1)
    until(server.lanes[0].ended.is_set)


def test_closing_one_that_was_never_used(tmp_path: Path) -> None:
    transport = ShmTransport(f"shm://{tmp_path}/none.sock")
    transport.close()
    with pytest.raises(ServingError, match="FAILED_PRECONDITION"):
        transport.call(Models(), 1)


def watches() -> int:
    return sum(thread.name == "ringserve-shm" for thread in threading.enumerate())


@pytest.mark.parametrize("closes", [True, False])
def test_nothing_is_left(tmp_path: Path, closes: bool) -> None:
    """Neither of clients that are closed nor of those that are forgotten."""
    with lane_server(tmp_path) as server:
        before = open_files()
        for count in range(1, 4):
            transport = ShmTransport("shm://" + server.path)
            check(transport, 1)
            transport.call(each(np.zeros((5, 4))), LIMIT)
            slot = transport.slot(HALF, "", 2, LIMIT)
            slot.run()
            if closes:
                transport.close()
            del transport, slot
            gc.collect()
            assert len(server.connections) == count
            server.connections[-1].thread.join(LIMIT)
            until(lambda: all(lane.ended.is_set() for lane in server.lanes))
        until(lambda: watches() == 0)
        server.lanes.clear()
        gc.collect()
        until(lambda: open_files() <= before)


def in_child(work: Any) -> int:
    """Its exit status."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_of_a_fork(stage: Stage) -> None:
    """It has a connection and lanes of its own; the parent's are as they were."""
    server, transport = stage
    check(transport, 1)
    slot = transport.slot(HALF, "", 1, LIMIT)
    slot.run()

    def child() -> None:
        check(transport, 3)
        slot.run(LIMIT)
        assert slot.outputs["y"].tolist() == [[2.0]]
        slot.close()
        transport.close()

    requests = [lane.requests for lane in server.lanes]
    cursors = [lane.consumer.submitted for lane in server.lanes]
    assert in_child(child) == 0
    assert [lane.requests for lane in server.lanes[:2]] == requests
    assert [lane.consumer.submitted for lane in server.lanes[:2]] == cursors
    assert [connection.pid != os.getpid() for connection in server.connections] == [False, True]
    assert len(server.lanes) == 3
    check(transport, 2)
    slot.run()
    assert len(server.lanes) == 3


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_does_not_hide_the_parent_s_end(stage: Stage) -> None:
    server, transport = stage
    check(transport, 1)
    transport.call(Models(), LIMIT)  # then the server, which is in this process, has closed what it sent
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        transport.close()
        until(server.lanes[0].ended.is_set)
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_other_threads_are_busy(stage: Stage) -> None:
    """Whatever lock they hold."""
    _, transport = stage
    stopped = threading.Event()

    def busy() -> None:
        value = 0
        while not stopped.is_set():
            value += 1
            check(transport, value)

    with ThreadPoolExecutor(2) as pool:
        threads = [pool.submit(busy) for _ in range(2)]
        for _ in range(5):
            assert in_child(lambda: check(transport, 1)) == 0
        stopped.set()
        for thread in threads:
            thread.result(LIMIT)


def test_a_closed_client_is_closed_in_a_child_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path) as (_, transport):
        transport.call(predict([[1]]), LIMIT)
        transport.close()
        monkeypatch.setattr(per_process._generation, "number", per_process._generation.number + 1)
        with pytest.raises(ServingError, match="FAILED_PRECONDITION: The client is closed"):
            transport.call(predict([[1]]), LIMIT)


def test_a_client_is_dropped_while_its_watch_is_locked(tmp_path: Path) -> None:
    """As the garbage collector may do, in the watch's own thread."""
    with served(tmp_path) as (_, transport):
        transport.call(predict([[1]]), LIMIT)
        watch = transport._session()._watch

        def drop() -> None:
            with watch._lock:
                transport.close()

        thread = threading.Thread(target=drop, daemon=True)
        thread.start()
        thread.join(LIMIT)
        assert not thread.is_alive()

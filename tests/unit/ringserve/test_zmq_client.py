"""The client's ZeroMQ transport, against a server of a few lines."""

from __future__ import annotations

import errno
import gc
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from plain_router import SOURCE, PlainRouter, Request, Several, echo, routed

from ringserve.client.operations import (
    Classify,
    MetadataOf,
    Models,
    Operation,
    Predict,
    PredictEach,
    Ready,
    Regress,
    Status,
)
from ringserve.client.tensors import Array, tensor_of
from ringserve.client.zmq import connection as zmq_connection
from ringserve.client.zmq import pool as zmq_pool
from ringserve.client.zmq.transport import ZmqTransport
from ringserve.errors import Code, ServingError

LONG = 20.0  # seconds, for what takes none
SOON = 5.0  # seconds that are far less than a timeout
THREAD = "ringserve-zmq"


def predict(values: Any, **named: Any) -> Predict:
    return Predict(("half", None, None), "", {"x": tensor_of(np.asarray(values))}, **named)


def started(transport: ZmqTransport, operation: Operation[Any], timeout: float | None = LONG) -> Future[Any]:
    future: Future[Any] = Future()
    transport.start(operation, timeout, future.set_result)
    return future


def by_call(transport: ZmqTransport, operation: Operation[Any], timeout: float | None = LONG) -> Any:
    """The answer or the error."""
    try:
        return transport.call(operation, timeout)
    except ServingError as error:
        return error


def by_start(transport: ZmqTransport, operation: Operation[Any], timeout: float | None = LONG) -> Any:
    return started(transport, operation, timeout).result(LONG)


Way = Callable[..., Any]
WAYS = pytest.mark.parametrize("way", [by_call, by_start])


def becomes(condition: Callable[[], bool]) -> bool:
    ends = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.002)
    return True


def threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


@pytest.fixture
def router() -> Iterator[PlainRouter]:
    with routed() as router:
        yield router


@pytest.fixture
def transport(router: PlainRouter) -> Iterator[ZmqTransport]:
    transport = ZmqTransport(f"zmq://127.0.0.1:{router.port}")
    yield transport
    transport.close()


@WAYS
@pytest.mark.parametrize("count", [0, 1, 1000, 20_000, 200_000, 1_000_000])
def test_arrays_of_any_size_go_there_and_back(transport: ZmqTransport, count: int, way: Way) -> None:
    array = np.arange(count, dtype=np.float32)
    answer = way(transport, predict(array))
    np.testing.assert_array_equal(answer["x"], array)
    assert answer["x"].flags.writeable and not np.shares_memory(answer["x"], array)
    assert answer.source == ("half", 3, "serving_default")


@WAYS
def test_strings_go_there_and_back(transport: ZmqTransport, way: Way) -> None:
    answer = way(transport, predict(np.array([b"\xff\0", b"", b"x" * 100_000], object)))
    assert answer["x"].tolist() == [b"\xff\0", b"", b"x" * 100_000]


@WAYS
def test_unix_sockets(tmp_path: Path, way: Way) -> None:
    with routed(f"ipc://{tmp_path}/socket"):
        transport = ZmqTransport(f"zmq+ipc://{tmp_path}/socket")
        assert way(transport, predict([1.0]))["x"].tolist() == [1]
        transport.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@WAYS
def test_ipv6(way: Way) -> None:
    with routed("tcp://[::1]:*") as router:
        transport = ZmqTransport(f"zmq://[::1]:{router.port}")
        assert way(transport, predict([1.0]))["x"].tolist() == [1]
        transport.close()


def test_names_are_looked_up(router: PlainRouter) -> None:
    transport = ZmqTransport(f"zmq://localhost:{router.port}")
    assert transport.call(predict([1.0]), LONG)["x"].tolist() == [1]
    transport.close()


@WAYS
def test_rows_that_are_requests_of_their_own(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    def reply(request: Request, frames: Sequence[bytes]) -> Any:
        assert request["each"] is True
        outputs = [["y", "float", [2], np.array([1, 0], "<f4").tobytes()]]
        return {"v": 1, "id": request["id"], **SOURCE, "outputs": outputs, "errors": [[1, 3, "bad"]]}

    router.reply = reply
    answer = way(transport, PredictEach(("half", None, None), "", {"x": tensor_of(np.zeros((2, 3), np.float32))}))
    assert answer["y"].tolist() == [1, 0] and answer.errors[1].code is Code.INVALID_ARGUMENT
    assert len(router.received) == 1


@WAYS
@pytest.mark.parametrize(
    ("operation", "call", "answer", "expected"),
    [
        (Classify(("half", 3, None), "", (b"e",)), "classify", {**SOURCE, "rows": [[["a", 0.5]]]}, [[("a", 0.5)]]),
        (Regress(("half", 3, None), "", (b"e",)), "regress", {**SOURCE, "values": [0.5]}, [0.5]),
        (Status("half"), "status", {"model": "half", "versions": [{"version": 3, "state": 30}]}, [(3, 30, 0, "")]),
        (MetadataOf(("half", None, None)), "metadata", {"model": "half", "version": 3, "signatures": {}}, ("half", 3, {})),
        (Models(), "models", {"models": ["half"]}, ["half"]),
        (Ready("half"), "health", {"ready": True}, True),
    ],
)
def test_all_that_can_be_asked(
    router: PlainRouter, transport: ZmqTransport, operation: Any, call: str, answer: Any, expected: Any, way: Way
) -> None:
    router.reply = lambda request, frames: {"v": 1, "id": request["id"], **answer}
    assert way(transport, operation) == expected
    assert router.received[0]["call"] == call


@WAYS
def test_what_has_no_message(transport: ZmqTransport, way: Way) -> None:
    class Odd(Operation[None]):
        pass

    assert way(transport, Odd()).code is Code.UNIMPLEMENTED


@WAYS
def test_the_servers_errors(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    router.reply = lambda request, frames: {"v": 1, "id": request["id"], "code": 5, "status": "NOT_FOUND", "error": "none"}
    error = way(transport, predict([1.0]))
    assert (error.code, error.message) == (Code.NOT_FOUND, "none")


def test_arrays_may_change_as_soon_as_a_call_is_started(router: PlainRouter, transport: ZmqTransport) -> None:
    router.is_reading = False
    for count in (10, 40_000, 400_000):
        array = np.ones(count, np.float32)
        future = started(transport, predict(array))
        array[:] = 2
        router.is_reading = True
        assert future.result(LONG)["x"].sum() == count


def test_requests_that_wait_share_a_message(router: PlainRouter, transport: ZmqTransport) -> None:
    may_go, inside, futures = threading.Event(), threading.Event(), []

    def hold_up(outcome: Any) -> None:
        inside.set()
        assert may_go.wait(LONG)

    transport.start(predict([0.0]), LONG, hold_up)
    assert inside.wait(LONG)
    futures = [started(transport, predict([float(number)])) for number in range(500)]
    may_go.set()
    assert [future.result(LONG)["x"].item() for future in futures] == list(range(500))
    assert [len(message) for message in router.received[1:]] == [500]


def test_what_shares_a_message_has_bounds(router: PlainRouter, transport: ZmqTransport) -> None:
    may_go, inside = threading.Event(), threading.Event()

    def hold_up(outcome: Any) -> None:
        inside.set()
        assert may_go.wait(LONG)

    transport.start(predict([0.0]), LONG, hold_up)
    assert inside.wait(LONG)
    sizes = [10] * 1500 + [10_000] * 20 + [50_000, 1, 2]
    futures = [started(transport, predict(np.full(size, float(size), np.float32))) for size in sizes]
    may_go.set()
    assert [future.result(LONG)["x"].size for future in futures] == sizes
    counts = [len(message) if isinstance(message, list) else 1 for message in router.received[1:]]
    assert sum(counts) == len(sizes) and max(counts) == 1024
    assert counts[-2:] == [1, 2]  # the one with a frame is alone


def test_threads_get_their_own_answers(router: PlainRouter, transport: ZmqTransport) -> None:
    def ask(thread: int) -> None:
        for number in range(20):
            found = by_call(transport, predict([thread * 1000.0 + number]))["x"].item()
            assert found == thread * 1000 + number

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(ask, range(40)))
    assert 1 <= router.connections <= 16 + 1


@WAYS
def test_time_is_over(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    router.reply = lambda request, frames: None
    for timeout in (0.005, 0.03, 0.3):
        began = time.monotonic()
        error = way(transport, predict([1.0]), timeout)
        assert (error.code, error.message) == (Code.DEADLINE_EXCEEDED, f"No answer within {timeout:g} s")
        assert timeout <= time.monotonic() - began < timeout + SOON


@WAYS
def test_no_time_at_all(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    assert way(transport, predict([1.0]), 0.0).code is Code.DEADLINE_EXCEEDED
    assert not router.received


@WAYS
def test_late_answers_are_nobody_elses(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    kept: list[Any] = []

    def reply(request: Request, frames: Sequence[bytes]) -> Any:
        kept.append(echo(request, frames))
        return None if len(kept) == 1 else Several(kept)

    router.reply = reply
    assert way(transport, predict([1.0]), 0.05).code is Code.DEADLINE_EXCEEDED
    assert way(transport, predict([2.0]))["x"].tolist() == [2]


@WAYS
def test_a_server_that_does_not_read(way: Way) -> None:
    def setup(socket: zmq.Socket[bytes]) -> None:
        socket.rcvhwm = 1

    with routed(setup=setup, is_reading=False) as router:
        transport = ZmqTransport(f"zmq://127.0.0.1:{router.port}")
        large = predict(np.zeros(1_000_000, np.float32))
        for _ in range(12):  # more than all the buffers on the way hold
            assert way(transport, large, 0.1).code is Code.DEADLINE_EXCEEDED
        router.is_reading = True
        assert way(transport, predict([3.0]))["x"].tolist() == [3]
        transport.close()


@WAYS
def test_a_server_that_goes_away(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    asked = threading.Event()

    def reply(request: Request, frames: Sequence[bytes]) -> None:
        asked.set()

    router.reply = reply
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(way, transport, predict([1.0]), None)
        assert asked.wait(LONG)
        router.stop()
        began = time.monotonic()
        error = waiting.result(LONG)
        assert time.monotonic() - began < SOON
    assert error.code is Code.UNAVAILABLE and f"127.0.0.1:{router.port}" in error.message
    assert "Connection refused" in way(transport, predict([1.0]), None).message
    with routed(router.endpoint):
        answer = way(transport, predict([1.0]))
        assert not isinstance(answer, ServingError), answer
        assert answer["x"].tolist() == [1]


@WAYS
def test_a_server_that_is_back(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    assert way(transport, predict([1.0]))["x"].tolist() == [1]
    for _ in range(3):
        router.stop()
        router = PlainRouter(router.endpoint)
        router.start()
        answer = way(transport, predict([1.0]))
        if isinstance(answer, ServingError):  # the end of the connection was seen too late
            assert answer.code is Code.UNAVAILABLE and "was lost" in answer.message
            answer = way(transport, predict([1.0]))
        assert answer["x"].tolist() == [1]
    router.stop()


def cut(port: int) -> None:
    """Breaks this process's connections to a port of its own."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if stat.S_ISSOCK(os.stat(int(name)).st_mode):  # no other's copy would be closed again
                with socket.socket(fileno=os.dup(int(name))) as found:
                    if found.family == socket.AF_INET and found.getpeername()[1] == port:
                        found.shutdown(socket.SHUT_RDWR)


def test_questions_are_asked_again(router: PlainRouter, transport: ZmqTransport) -> None:
    def reply(request: Request, frames: Sequence[bytes]) -> Any:
        if len(router.received) in (2, 4, 5):
            return cut(router.port)
        return {"v": 1, "id": request["id"], "ready": True}

    router.reply = reply
    assert transport.call(Ready(), LONG)
    assert transport.call(Ready(), LONG)
    assert len(router.received) == 3
    assert by_call(transport, Ready()).code is Code.UNAVAILABLE  # once more, and not for ever
    assert len(router.received) == 5


@WAYS
def test_predictions_are_not_made_again(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    router.reply = lambda request, frames: cut(router.port)
    error = way(transport, predict([1.0]), None)
    assert error.code is Code.UNAVAILABLE and "was lost" in error.message
    assert len(router.received) == 1
    router.reply = echo
    assert way(transport, predict([1.0]))["x"].tolist() == [1]


@WAYS
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("zmq://127.0.0.1:1", "Connection refused"),
        ("zmq+ipc:///no/such/socket", "No such file or directory"),
        ("zmq://no-such-host.invalid", "Can't connect"),
    ],
)
def test_no_server(url: str, reason: str, way: Way) -> None:
    transport = ZmqTransport(url)
    for _ in range(3):
        error = way(transport, predict([1.0]), None)
        assert error.code is Code.UNAVAILABLE and url in error.message and reason in error.message
    transport.close()


@WAYS
def test_one_call_is_one_attempt(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    made: list[zmq_connection.Connection] = []

    def connect(*arguments: Any) -> zmq_connection.Connection:
        made.append(zmq_connection.Connection(*arguments))
        return made[-1]

    monkeypatch.setattr(zmq_pool, "Connection", connect)
    transport = ZmqTransport("zmq://127.0.0.1:1")
    for _ in range(5):
        assert way(transport, predict([1.0])).code is Code.UNAVAILABLE
    transport.close()
    assert len(made) == 5


@WAYS
def test_a_port_that_says_nothing(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"zmq://127.0.0.1:{silent.getsockname()[1]}"
        transport = ZmqTransport(url)
        assert way(transport, predict([1.0]), 0.05).code is Code.DEADLINE_EXCEEDED
        monkeypatch.setattr(zmq_connection, "CONNECT_SECONDS", 0.1)
        transport.close()
        transport = ZmqTransport(url)
        error = way(transport, predict([1.0]), None)
        assert error.code is Code.UNAVAILABLE and url in error.message
        transport.close()


@WAYS
def test_a_port_of_another_protocol(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    monkeypatch.setattr(zmq_connection, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:

        def serve() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 100)
                connection.settimeout(LONG)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        transport = ZmqTransport(f"zmq://127.0.0.1:{other.getsockname()[1]}")
        error = way(transport, predict([1.0]))
        assert error.code is Code.UNAVAILABLE and "is it a server's ZeroMQ port?" in error.message
        transport.close()
        thread.join(LONG)


@WAYS
@pytest.mark.parametrize(
    "garbage", [b"", b"\xc1garbage", b"\x01", b"\x91\x01", msgpack.packb({"error": "what?", "code": 3})]
)
def test_garbage_fails_the_calls(router: PlainRouter, transport: ZmqTransport, garbage: bytes, way: Way) -> None:
    router.reply = lambda request, frames: garbage
    error = way(transport, predict([1.0]), None)
    assert error.code in (Code.INTERNAL, Code.INVALID_ARGUMENT)
    router.reply = echo
    assert way(transport, predict([1.0]))["x"].tolist() == [1]


@WAYS
@pytest.mark.parametrize("identifier", [7, b"12345678", "text", [1], {"a": 1}, True])
def test_answers_to_nobody_are_dropped(router: PlainRouter, transport: ZmqTransport, identifier: Any, way: Way) -> None:
    router.reply = lambda request, frames: Several([{"id": identifier, "error": "other", "code": 3}, echo(request, frames)])
    assert way(transport, predict([1.0]))["x"].tolist() == [1]


@WAYS
def test_a_damaged_answer_is_one_calls(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    router.reply = lambda request, frames: {"v": 1, "id": request["id"], **SOURCE, "outputs": [["x", "float", [9], b"1"]]}
    error = way(transport, predict([1.0]))
    assert error.code is Code.INTERNAL and "Output 'x'" in error.message
    assert router.connections == 1


@WAYS
def test_answers_may_come_together(router: PlainRouter, transport: ZmqTransport, way: Way) -> None:
    def reply(request: Request, frames: Sequence[bytes]) -> Any:
        answer = msgpack.unpackb(echo(request, frames)[0])
        return [answer | {"id": b"other"}, answer]

    router.reply = lambda request, frames: [msgpack.packb(reply(request, frames))]
    assert way(transport, predict([1.0]))["x"].tolist() == [1]


def test_cancelling(router: PlainRouter, transport: ZmqTransport) -> None:
    kept: list[Any] = []

    def reply(request: Request, frames: Sequence[bytes]) -> Any:
        kept.append(echo(request, frames))
        return None if len(kept) == 1 else Several(kept)

    router.reply = reply
    outcomes: list[Any] = []
    cancel = transport.start(predict([1.0]), LONG, outcomes.append)
    assert becomes(lambda: len(kept) == 1)
    cancel()
    cancel()
    assert [outcome.code for outcome in outcomes] == [Code.CANCELLED]
    assert by_start(transport, predict([2.0]))["x"].tolist() == [2]
    assert len(outcomes) == 1


def test_failing_callbacks_harm_nobody(
    router: PlainRouter, transport: ZmqTransport, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(outcome: Any) -> None:
        raise ValueError("mine")

    transport.start(predict([1.0]), LONG, fail)
    assert by_start(transport, predict([2.0]))["x"].tolist() == [2]
    assert "a callback has failed" in caplog.text


def test_callbacks_may_start_calls(transport: ZmqTransport) -> None:
    future: Future[Any] = Future()

    def start_another(outcome: Any) -> None:
        transport.start(predict([2.0]), LONG, future.set_result)

    transport.start(predict([1.0]), LONG, start_another)
    assert future.result(LONG)["x"].tolist() == [2]


def test_closing(router: PlainRouter, transport: ZmqTransport) -> None:
    assert by_call(transport, predict([1.0]))["x"].tolist() == [1]
    router.reply = lambda request, frames: None
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(by_call, transport, predict([1.0]), None)
        future = started(transport, predict([1.0]), None)
        came = becomes(lambda: len(router.received) == 3)
        transport.close()
        assert came, (router.received, router.connections, called, future)
        assert future.result(0).code is Code.CANCELLED
        assert called.result(LONG).code is Code.CANCELLED
    transport.close()
    for way in (by_call, by_start):
        with pytest.raises(ServingError, match="The client is closed") as caught:
            raise way(transport, predict([1.0]))
        assert caught.value.code is Code.FAILED_PRECONDITION
    assert becomes(lambda: not threads())


def test_closing_while_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = ZmqTransport(f"zmq://127.0.0.1:{silent.getsockname()[1]}")
        future = started(transport, predict([1.0]), None)
        transport.close()
        assert future.result(0).code is Code.CANCELLED


def test_closing_in_a_callback(router: PlainRouter, transport: ZmqTransport) -> None:
    over = threading.Event()

    def close(outcome: Any) -> None:
        transport.close()
        over.set()

    transport.start(predict([1.0]), LONG, close)
    assert over.wait(LONG)
    assert becomes(lambda: not threads())


def test_closing_what_was_never_used() -> None:
    transport = ZmqTransport("zmq://127.0.0.1:1")
    transport.close()
    with pytest.raises(ServingError, match="closed"):
        transport.call(predict([1.0]), LONG)


def test_nobody_needs_to_close(router: PlainRouter) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for uses_thread in (False, True, True):
        transport = ZmqTransport(f"zmq://127.0.0.1:{router.port}")
        by_call(transport, predict([1.0]))
        if uses_thread:
            by_start(transport, predict([1.0]))
        del transport
        gc.collect()
    assert becomes(lambda: not threads())
    assert becomes(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)


def test_nothing_is_left_after_closing(router: PlainRouter) -> None:
    def use() -> None:
        transport = ZmqTransport(f"zmq://127.0.0.1:{router.port}")
        by_call(transport, predict(np.zeros(1_000_000, np.float32)))
        by_start(transport, predict([1.0]))
        transport.close()

    use()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        use()
    assert becomes(lambda: len(os.listdir("/proc/self/fd")) <= before)


def in_child(work: Callable[[], bool]) -> int:
    """The child's exit status: 0 where it worked."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    ends = time.monotonic() + LONG
    while time.monotonic() < ends:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_children_have_connections_of_their_own(router: PlainRouter, transport: ZmqTransport, size: int) -> None:
    array: Array = np.ones(size, np.float32)

    def works() -> bool:
        operation = predict(array)
        return all(way(transport, operation)["x"].sum() == size for way in (by_call, by_start, by_call))

    def works_and_closes() -> bool:
        fine = works()
        transport.close()
        return fine

    assert works()
    waiting_reply, router.reply = router.reply, lambda request, frames: None
    waiting = started(transport, predict([5.0]))
    assert becomes(lambda: len(router.received) == 4)
    router.reply = waiting_reply
    assert in_child(works) == 0
    assert in_child(works_and_closes) == 0
    assert in_child(lambda: True) == 0
    assert works()
    assert not waiting.done() and router.connections == 2 + 2 * 2


def test_a_connection_is_not_used_again_after_an_interrupt(
    router: PlainRouter, transport: ZmqTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a message may have been sent on it, or taken."""
    assert transport.call(predict([1.0]), LONG)["x"].tolist() == [1]

    def interrupted(self: Any, parts: Any) -> Any:
        self.socket.send(b"half", zmq.SNDMORE)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zmq_connection.Connection, "send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transport.call(predict([1.0]), LONG)
    assert transport.call(predict([2.0]), SOON)["x"].tolist() == [2]
    assert becomes(lambda: router.connections == 2)


def test_many_that_are_answered_together(router: PlainRouter, transport: ZmqTransport) -> None:
    asked = 40

    def reply(request: Request, frames: Sequence[bytes]) -> Any:
        held.append(request)
        return [msgpack.packb([echo_map(one) for one in held])] if len(held) == asked else None

    def echo_map(request: Request) -> Any:
        return {"v": 1, "id": request["id"], **SOURCE, "outputs": request["inputs"]}

    held: list[Request] = []
    router.reply = reply
    futures = [started(transport, predict([float(number)])) for number in range(asked)]
    assert [future.result(LONG)["x"].tolist() for future in futures] == [[number] for number in range(asked)]


@pytest.mark.parametrize("lacking", ["socket", "get_monitor_socket"])
def test_no_more_files(transport: ZmqTransport, monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    def refused(*_: Any) -> Any:
        raise zmq.ZMQError(errno.EMFILE)

    with monkeypatch.context() as patch:
        patch.setattr(zmq.Context if lacking == "socket" else zmq.Socket, lacking, refused)
        with pytest.raises(ServingError, match=r"UNAVAILABLE: .*Too many open files"):
            transport.call(predict([1.0]), LONG)
    assert transport.call(predict([1.0]), LONG)["x"].tolist() == [1]
    closing = threading.Thread(target=transport.close, daemon=True)
    closing.start()
    closing.join(LONG)
    assert not closing.is_alive()

"""Streams of the light client, against a server that reads and writes their messages as protobuf makes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import grpc
import pytest
from answering_server import METADATA, PREDICT, AnsweringServer, answering_server, half_plus_two, metadata_of, singles

from ringserve.client import Client, Prediction
from ringserve.client.grpc import prediction_reader
from ringserve.client.grpc.request_queue import Request, RequestQueue
from ringserve.client.tensors import array_of
from ringserve.errors import Code, ServingError
from ringserve.streaming_messages import PREDICT_STREAM, message_class

Pair = tuple[AnsweringServer, Client]


def answered(message: bytes) -> bytes:
    """A StreamedRequests' results, all in one message."""
    results = message_class("StreamedResults")()
    for streamed in message_class("StreamedRequests").FromString(message).requests:
        result = results.results.add()
        try:
            result.response.CopyFrom(half_plus_two(streamed.request.SerializeToString(), None))
        except ServingError as error:
            result.code, result.message = int(error.code), error.message
    return bytes(results.SerializeToString())


def echo(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
    return map(answered, messages)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with answering_server() as (server, port), Client(f"grpc://127.0.0.1:{port}", timeout=20) as client:
        server.streams[PREDICT_STREAM] = echo
        yield server, client


def x_of(*numbers: float) -> dict[str, Any]:
    return {"x": singles(numbers)}


def failure(future: Future[Prediction]) -> ServingError:
    error = future.exception(20)
    assert isinstance(error, ServingError)
    return error


def until(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_many_requests(pair: Pair) -> None:
    with pair[1].stream(most_outstanding=32) as stream:
        futures = [stream.submit("half", x_of(number)) for number in range(500)]
        found = [future.result(20)["y"].tolist() for future in futures]
    assert found == [[number / 2 + 2] for number in range(500)]
    assert futures[0].result().version == 7


def test_plain_numbers_ask_for_signatures_as_elsewhere(pair: Pair) -> None:
    pair[0].answers[METADATA] = metadata_of(x=1)
    with pair[1].stream() as stream:
        assert stream.predict("half", [1, 2])["y"].tolist() == [2.5, 3.0]


def test_a_bad_request_fails_alone(pair: Pair) -> None:
    with pair[1].stream() as stream:
        first, bad, last = (stream.submit("half", x_of(1), signature=signature) for signature in ("", "boom", ""))
        assert failure(bad).code is Code.FAILED_PRECONDITION
        assert failure(bad).message == "no such signature"
        assert first.result(20)["y"] == last.result(20)["y"] == [2.5]


def test_several_threads(pair: Pair) -> None:
    wrong: list[float] = []
    with pair[1].stream(most_outstanding=16) as stream:

        def ask(first: int) -> None:
            futures = {number: stream.submit("half", x_of(number)) for number in range(first, first + 200)}
            wrong.extend(n for n, future in futures.items() if future.result(20)["y"].tolist() != [n / 2 + 2])

        threads = [threading.Thread(target=ask, args=(1000 * which,)) for which in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert wrong == []


def test_leaving_waits_for_all_results(pair: Pair) -> None:
    with pair[1].stream() as stream:
        futures = [stream.submit("half", x_of(number)) for number in range(200)]
    assert all(future.done() for future in futures)
    with pytest.raises(ServingError):
        stream.submit("half", x_of(1))
    stream.close()


def test_leaving_by_an_error_does_not_wait(pair: Pair) -> None:
    release = threading.Event()

    def silent(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        next(messages)
        release.wait(20)
        return iter(())

    pair[0].streams[PREDICT_STREAM] = silent
    with pytest.raises(KeyError), pair[1].stream() as stream:
        future = stream.submit("half", x_of(1))
        raise KeyError
    assert failure(future).code is Code.CANCELLED
    release.set()


def test_the_server_ends_the_stream_early(pair: Pair) -> None:
    def one_only(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        next(messages)
        return iter(())

    pair[0].streams[PREDICT_STREAM] = one_only
    with pair[1].stream() as stream:
        futures = [stream.submit("half", x_of(1))]
        assert failure(futures[0]).code is Code.UNAVAILABLE
        with pytest.raises(ServingError) as caught:
            stream.submit("half", x_of(1))
        assert caught.value.code is Code.UNAVAILABLE


def test_a_server_that_goes_away() -> None:
    got = threading.Event()

    def silent(messages: Iterator[bytes], call: Any) -> Iterator[bytes]:
        next(messages)
        gone = threading.Event()
        call.add_callback(gone.set)
        got.set()
        gone.wait(20)
        return iter(())

    with answering_server() as (server, port):
        server.streams[PREDICT_STREAM] = silent
        client = Client(f"grpc://127.0.0.1:{port}")
        stream = client.stream()
        futures = [stream.submit("half", x_of(1)) for _ in range(5)]
        assert got.wait(20)
    assert {failure(future).code for future in futures} <= {Code.UNAVAILABLE, Code.CANCELLED}
    stream.close()
    client.close()


def test_nobody_there_and_no_such_service(pair: Pair) -> None:
    del pair[0].streams[PREDICT_STREAM]
    with pair[1].stream() as stream:
        until(lambda: _refused(stream) is Code.UNIMPLEMENTED)
    with answering_server() as (_, port):
        pass
    with Client(f"grpc://127.0.0.1:{port}") as client, client.stream() as stream:
        until(lambda: _refused(stream) is Code.UNAVAILABLE)


def _refused(stream: Any) -> Code | None:
    """Whether submitting or the result tells it is a matter of time."""
    try:
        return failure(stream.submit("half", x_of(1))).code
    except ServingError as error:
        return error.code


@pytest.mark.parametrize("many", [True, False])
def test_results_that_can_not_be(pair: Pair, many: bool) -> None:
    """More than there were requests; or bytes that are none."""

    def wrong(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for message in messages:
            yield 2 * answered(message) if many else b"\x0a\xff"

    pair[0].streams[PREDICT_STREAM] = wrong
    with pair[1].stream() as stream:
        assert failure(stream.submit("half", x_of(1))).code is Code.INTERNAL


@pytest.mark.parametrize("unforeseen", [True, False])
def test_an_output_that_can_not_be_read_fails_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch, unforeseen: bool) -> None:
    """Because numpy has no such array; or because of what nobody thought of."""

    def odd(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for message in messages:
            results = message_class("StreamedResults").FromString(answered(message))
            for result in results.results:
                if result.response.model_spec.name == "odd":
                    y = result.response.outputs["y"]
                    y.Clear()
                    y.dtype = 1
                    for size in (0, 1 << 40, 1 << 40):
                        y.tensor_shape.dim.add(size=size)
            yield bytes(results.SerializeToString())

    def fails(dtype: Any, shape: Any, values: Any) -> Any:
        if 0 in shape:
            raise KeyError("odd")
        return array_of(dtype, shape, values)

    pair[0].streams[PREDICT_STREAM] = odd
    if unforeseen:
        monkeypatch.setattr(prediction_reader, "array_of", fails)
    with pair[1].stream() as stream:
        first, bad, last = (stream.submit(model, x_of(1)) for model in ("half", "odd", "half"))
        error = bad.exception(20)
        assert isinstance(error, ServingError)
        assert error.code is (Code.INTERNAL if unforeseen else Code.UNIMPLEMENTED)
        assert first.result(20)["y"] == last.result(20)["y"] == [2.5]


def test_the_server_is_told_what_is_left_of_the_time(pair: Pair) -> None:
    seen: list[int] = []

    def noted(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for message in messages:
            parsed = message_class("StreamedRequests").FromString(message)
            seen.extend(streamed.timeout_in_ms for streamed in parsed.requests)
            yield answered(message)

    pair[0].streams[PREDICT_STREAM] = noted
    with pair[1].stream() as stream:
        stream.predict("half", x_of(1), timeout=5)
        stream.predict("half", x_of(1), timeout=float("inf"))
    assert 0 < seen[0] <= 5000
    assert seen[1] == 0


def test_a_server_that_does_not_answer_in_time(pair: Pair) -> None:
    release = threading.Event()

    def slow(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        first = next(messages)
        release.wait(20)
        yield answered(first)
        yield from map(answered, messages)

    pair[0].streams[PREDICT_STREAM] = slow
    with pair[1].stream(most_outstanding=2) as stream:
        late = stream.submit("half", x_of(1), timeout=0.05)
        assert failure(late).code is Code.DEADLINE_EXCEEDED
        assert failure(late).message == "No answer within 0.05 s"
        stream.submit("half", x_of(2))
        with pytest.raises(ServingError, match="2 requests before this one") as caught:
            stream.submit("half", x_of(3), timeout=0.05)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        release.set()
        assert stream.predict("half", x_of(4))["y"].tolist() == [4.0], "the late result is nobody else's"


def test_callbacks_may_submit_though_the_stream_is_full(pair: Pair) -> None:
    with pair[1].stream(most_outstanding=1) as stream:
        left = 50
        ended = threading.Event()

        def again(future: Future[Prediction]) -> None:
            nonlocal left
            left -= 1
            if not left:
                ended.set()
            else:
                for _ in range(1 + (left == 10)):
                    stream.submit("half", x_of(left)).add_done_callback(again if _ == 0 else lambda _: None)

        stream.submit("half", x_of(0)).add_done_callback(again)
        assert ended.wait(20)


def test_a_callback_may_close_the_stream(pair: Pair) -> None:
    stream = pair[1].stream()
    closed = threading.Event()

    def close(_: Future[Prediction]) -> None:
        stream.close()
        closed.set()

    first, second = stream.submit("half", x_of(1)), stream.submit("half", x_of(2))
    first.add_done_callback(close)
    assert second.result(20)["y"].tolist() == [3.0]
    assert closed.wait(20)
    stream.close()


# Requests of a row each, which a stream carries too.


def test_rows_go_on_a_stream(pair: Pair) -> None:
    found = pair[1].predict_each("half", x_of(*range(2000)), key="k")
    assert found["y"].tolist() == [number / 2 + 2 for number in range(2000)]
    assert (found.version, found.errors) == (7, {})


def test_rows_for_a_server_without_streams(pair: Pair) -> None:
    """Asked for once, and not for few rows."""
    server, client = pair
    refused = 0

    def none(_: Iterator[bytes], call: Any) -> Iterator[bytes]:
        nonlocal refused
        refused += 1
        call.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        return iter(())

    server.streams[PREDICT_STREAM] = none
    server.answers[PREDICT] = half_plus_two
    for count in (3, 300, 300):
        found = client.predict_each("half", x_of(*range(count)))
        assert found["y"].tolist() == [number / 2 + 2 for number in range(count)]
    assert refused == 1


def test_rows_that_fail_with_the_code_of_no_service(pair: Pair) -> None:
    """They are not asked again, of which this server would know nothing."""

    def refusing(messages: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for message in messages:
            results = message_class("StreamedResults").FromString(answered(message))
            for result in results.results:
                result.Clear()
                result.code, result.message = int(Code.UNIMPLEMENTED), "no such operation"
            yield bytes(results.SerializeToString())

    pair[0].streams[PREDICT_STREAM] = refusing
    with pytest.raises(ServingError, match="no such operation"):
        pair[1].predict_each("half", x_of(*range(100)))
    pair[0].streams[PREDICT_STREAM] = echo
    assert pair[1].predict_each("half", x_of(*range(100))).version == 7


def test_rows_of_a_call_that_is_cancelled(pair: Pair) -> None:
    got, gone = threading.Event(), threading.Event()

    def silent(messages: Iterator[bytes], call: Any) -> Iterator[bytes]:
        call.add_callback(gone.set)
        next(messages)
        got.set()
        gone.wait(20)
        return iter(())

    pair[0].streams[PREDICT_STREAM] = silent
    future = pair[1].submit_each("half", x_of(*range(100)))
    assert got.wait(20)
    assert future.cancel()
    assert gone.wait(20)


# What waits together goes out together: the queue alone.


def requests(message: bytes) -> list[bytes]:
    parsed = message_class("StreamedRequests").FromString(message)
    return [streamed.request.SerializeToString() for streamed in parsed.requests]


def written(name: bytes) -> bytes:
    return b"\x0a" + bytes([len(name) + 2]) + b"\x0a" + bytes([len(name)]) + name


def test_requests_that_wait_share_a_message() -> None:
    queue = RequestQueue(100)
    for name in (b"a", b"b", b"c"):
        queue.add(Request(written(name), None))
    assert requests(next(queue)) == [written(b"a"), written(b"b"), written(b"c")]
    queue.add(Request(written(b"d"), None))
    assert requests(next(queue)) == [written(b"d")]
    assert queue.answered(3) != []
    queue.close()
    assert list(queue) == []


def test_large_requests_go_in_several_messages() -> None:
    queue = RequestQueue(100)
    for _ in range(3):
        queue.add(Request(bytes(600_000), None))
    queue.add(Request(bytes(3_000_000), None))
    queue.close()
    assert [len(message) > 600_000 for message in queue] == [True] * 4


def test_cancelled_requests_are_not_sent() -> None:
    queue = RequestQueue(100)
    made = [Request(written(name), None) for name in (b"a", b"b", b"c")]
    for request in made:
        queue.add(request)
    assert made[1].future.cancel()
    queue.close()
    assert [requests(message) for message in queue] == [[written(b"a"), written(b"c")]]
    assert not made[0].future.cancel(), "it is on its way"
    with pytest.raises(CancelledError):
        made[1].future.result()
    assert queue.answered(2) == [made[0], made[2]]


def test_a_queue_that_failed() -> None:
    queue = RequestQueue(1)
    request = Request(written(b"a"), None)
    queue.add(request)
    waiting = threading.Thread(target=_add_and_be_refused, args=(queue,))
    waiting.start()
    queue.fail(ServingError(Code.UNAVAILABLE, "gone"))
    waiting.join(20)
    assert not waiting.is_alive()
    assert failure(request.future).message == "gone"
    assert list(queue) == []
    queue.wait_until_answered()
    queue.watch()


def _add_and_be_refused(queue: RequestQueue) -> None:
    with pytest.raises(ServingError, match="gone"):
        queue.add(Request(b"", 20))

"""Predict over a stream: order, errors that stay alone, limits, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from front_end_stage import Stage, stage, until
from hypothesis import given, settings
from hypothesis import strategies as st
from made_signatures import signature, spec
from played_stream import PredictRequest, conversation, message, request
from worker_side import WorkerSide, on_loop

from frontend.bodies.body_options import BodyOptions
from frontend.catalog import ModelSpec, Version
from frontend.grpc import predict_stream, streamed_call
from frontend.grpc.predict_body import PredictBody
from frontend.heavy_work import in_thread
from frontend.open_lane import TIMED_OUT, OpenLane
from frontend.request_body import Answer
from ringserve.errors import Code, ServingError
from ringserve.handle import ServableHandle
from ringserve.signature import DEFAULT_SIGNATURE
from ringserve.tensor_proto_writer import varint
from shm.counter_families import REQUESTS

FULL = "The batch scheduling queue to which this task was submitted is full"


async def answered(on: Stage, worker: WorkerSide, count: int = 1) -> None:
    """So many requests come into the lane, and are answered."""
    await until(lambda: worker.consumer.waiting >= count)
    on.answer(worker, count)


def lane_of(on: Stage) -> OpenLane:
    (version,) = on.front_end.catalog.loaded(None)
    (lane,) = version.endpoint(DEFAULT_SIGNATURE).lanes
    return lane


async def freed(on: Stage, worker: WorkerSide) -> None:
    """No slot is taken any more, once the worker has gone over what it was told to drop."""
    if worker.consumer.waiting:
        on.answer(worker, worker.consumer.waiting)
    await until(lambda: lane_of(on).idle)


@on_loop
async def test_results_come_in_order() -> None:
    """Whatever order they end in: the second fails at once, the third is answered last of its message."""
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        stream.send(request(1), request(2, model="none"), request(3, 4))
        stream.send(request(5))
        await until(lambda: worker.consumer.waiting == 3)
        assert not stream.written
        on.answer(worker, 2)
        assert await stream.answered(3) == [[2], (Code.NOT_FOUND, NONE), [6, 8]]
        on.answer(worker)
        assert await stream.answered(4) == [[2], (Code.NOT_FOUND, NONE), [6, 8], [10]]
        stream.half_close()
        await handler
        await freed(on, worker)


NONE = "Servable not found for request: Latest(none)"


@on_loop
async def test_results_at_hand_share_a_message() -> None:
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.takes.clear()
        for number in range(20):
            stream.send(request(number))
        await answered(on, worker)
        await until(lambda: stream.writing)
        await answered(on, worker, 19)
        await until(lambda: lane_of(on).idle)
        stream.takes.set()
        assert await stream.answered(20) == [[2 * number] for number in range(20)]
        assert len(stream.written) == 2
        (first,) = stream.results()[:1]
        assert (first.code, first.message) == (0, "")
        named = first.response.model_spec
        assert (named.name, named.version.value, named.signature_name) == ("m", 1, DEFAULT_SIGNATURE)


@on_loop
async def test_messages_of_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_stream, "_MESSAGE_BYTES", 100)
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.send(*(request(number) for number in range(20)))
        await answered(on, worker, 20)
        assert await stream.answered(20) == [[2 * number] for number in range(20)]
        assert all(len(message) < 250 for message in stream.written)


@on_loop
async def test_a_half_close_waits_for_all_results() -> None:
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        stream.send(request(1), request(2))
        stream.half_close()
        await answered(on, worker)
        assert await stream.answered(1) == [[2]]
        assert not handler.done()
        await answered(on, worker)
        await handler
        assert stream.values() == [[2], [4]]


@on_loop
async def test_a_stream_of_nothing() -> None:
    async with stage() as on:
        async with conversation(on) as (stream, handler):
            stream.half_close()
            await handler
        async with conversation(on) as (stream, handler):
            stream.send()
            stream.half_close()
            await handler
            assert not stream.written


@on_loop
async def test_errors_are_alone() -> None:
    async with stage() as on, conversation(on, options=BodyOptions(most_bytes=1000)) as (stream, handler):
        _, worker = await on.open()
        unnamed, untyped = request(1), request(1)
        unnamed.request.ClearField("model_spec")
        untyped.request.inputs["x"].dtype = 9
        other = request(1)
        other.request.model_spec.signature_name = "other"
        stream.send(request(1), unnamed, untyped, other, request(1, model="x" * 2000), request(2))
        stream.send_bytes(b"\x0a\x03\x0a\x01\xff")  # of these bytes only the request's own are wrong
        stream.send_bytes(b"\x0a\x02\x0a\x05")
        stream.send(request(3))
        await answered(on, worker, 3)
        values = await stream.answered(9)
        assert [value for value in values if isinstance(value, list)] == [[2], [4], [6]]
        errors = [value for value in values if isinstance(value, tuple)]
        assert errors[0] == (Code.INVALID_ARGUMENT, "Missing ModelSpec")
        assert [code for code, _ in errors] == [
            Code.INVALID_ARGUMENT,
            Code.INVALID_ARGUMENT,
            Code.FAILED_PRECONDITION,
            Code.NOT_FOUND,
            Code.INVALID_ARGUMENT,
            Code.INVALID_ARGUMENT,
        ]
        long = errors[3][1]
        assert long == "Servable not found for request: Latest(" + "x" * (1024 - 39) + "...TRUNCATED"
        assert not handler.done()
        await freed(on, worker)


@on_loop
async def test_errors_of_the_worker() -> None:
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.send(request(1), request(2))
        await until(lambda: worker.consumer.waiting == 2)
        worker.fail(Code.INVALID_ARGUMENT, b"no such row")
        on.answer(worker)
        assert await stream.answered(2) == [(Code.INVALID_ARGUMENT, "no such row"), [4]]
        await freed(on, worker)


@on_loop
async def test_what_nobody_foresaw(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> int:
        raise RuntimeError("a secret")

    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        monkeypatch.setattr(streamed_call, "result_head", fail)
        stream.send(request(1))
        await answered(on, worker)
        ((code, text),) = await stream.answered(1)
        assert code is Code.INTERNAL and "secret" not in str(text)
        assert "never should" in caplog.text
        await freed(on, worker)


@on_loop
@pytest.mark.parametrize(
    "broken", [b"\x0a", b"\x0a\x05abc", b"\xff" * 11, b"\x00\x00", b"\x0b", b"\x13\x14", b"\x0c", b"\x08\x80", b"\x0d\x00"]
)
async def test_a_message_that_is_none_ends_the_stream(broken: bytes) -> None:
    """After the results of what came before, in the same message too."""
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        stream.send_bytes(message(request(1)) + broken)
        stream.send(request(2))
        await answered(on, worker)
        with pytest.raises(ServingError) as caught:
            await handler
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert "ringserve.StreamedRequests" in caught.value.message
        assert stream.values() == [[2]]
        assert stream.reads == 1
        await freed(on, worker)


@on_loop
async def test_unknown_fields_are_passed_over() -> None:
    unknown = b"\x10\x05\x19abcdefgh\x22\x02ab\x2dabcd\x82\x01\x01a"
    inner = request(1).SerializeToString()
    one = b"\x18\x05" + inner + b"\x33\x10\x01\x34\x22\x01a"
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.send_bytes(unknown + b"\x0a" + bytes((len(one),)) + one + unknown)
        await answered(on, worker)
        assert await stream.answered(1) == [[2]]


@on_loop
async def test_a_request_in_pieces() -> None:
    """Protobuf merges them."""
    whole = request(1, 2).request
    spec_only, inputs_only = PredictRequest(model_spec=whole.model_spec), PredictRequest(inputs=whole.inputs)
    pieces = b"".join(
        b"\x0a%c%b" % (len(piece), piece) for piece in map(PredictRequest.SerializeToString, (spec_only, inputs_only))
    )
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.send_bytes(b"\x0a%c%b" % (len(pieces), pieces))
        await answered(on, worker)
        assert await stream.answered(1) == [[2, 4]]


@on_loop
async def test_requests_before_their_lane_is_open() -> None:
    async with stage() as on, conversation(on) as (stream, _):
        await on.serve()
        stream.send(request(1), request(2), request(3, timeout_in_ms=60_000))
        await until(lambda: "want_lane" in on.types())
        worker = on.lane()
        await answered(on, worker, 3)
        assert await stream.answered(3) == [[2], [4], [6]]
        await freed(on, worker)


@on_loop
async def test_a_lane_that_does_not_open_in_time() -> None:
    async with stage() as on, conversation(on) as (stream, _):
        await on.serve()
        stream.send(request(1, timeout_in_ms=5))
        assert await stream.answered(1) == [(Code.DEADLINE_EXCEEDED, TIMED_OUT)]


@on_loop
async def test_a_request_has_a_deadline_of_its_own() -> None:
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.send(request(1, timeout_in_ms=50), request(2), request(3, timeout_in_ms=100_000))
        assert await stream.answered(1) == [(Code.DEADLINE_EXCEEDED, TIMED_OUT)]
        assert worker.abandoned(0) and not worker.abandoned(1)
        on.answer(worker, 3)
        assert await stream.answered(3) == [(Code.DEADLINE_EXCEEDED, TIMED_OUT), [4], [6]]
        await freed(on, worker)


@on_loop
async def test_the_streams_deadline_is_that_of_its_requests() -> None:
    async with stage() as on:
        _, worker = await on.open()
        async with conversation(on, timeout=100_000_000) as (stream, _):
            stream.send(request(1), request(2, timeout_in_ms=100_000))
            assert await stream.answered(2) == [(Code.DEADLINE_EXCEEDED, TIMED_OUT)] * 2
            assert worker.abandoned(0) and worker.abandoned(1)
        await freed(on, worker)


@on_loop
async def test_a_client_that_goes_frees_everything() -> None:
    """Requests in the lane, of which the worker is told; one whose answer is there and can't be written yet; and those that
    wait for another lane to open.
    """
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        await on.serve(2, signature(spec("x"), outputs=(spec("y"),), name="other"))
        stream.takes.clear()
        waits = request(4)
        waits.request.model_spec.signature_name = "other"
        for made in map(request, (1, 2, 3)):
            made.request.model_spec.version.value = 1
            stream.send(made)
        stream.send(waits)
        await until(lambda: worker.consumer.waiting == 3 and on.types().count("want_lane"))
        on.answer(worker)
        await until(lambda: lane_of_one(on).collected == 1)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler
        assert worker.abandoned(1) and worker.abandoned(2)
        on.answer(worker, 2)
        await until(lambda: lane_of_one(on).idle)
        on.say("retire", servable=["m", 2], call="gone")  # answered when nobody holds the version any more
        on.say("retire", servable=["m", 1], call="gone too")
        await until(
            lambda: {"type": "answer", "call": "gone"} in on.told and {"type": "answer", "call": "gone too"} in on.told
        )
        assert len(asyncio.all_tasks()) == 2  # this test's and its time limit's


def lane_of_one(on: Stage) -> OpenLane:
    return next(v for v in on.front_end.catalog.loaded(None) if v.id.version == 1).endpoint(DEFAULT_SIGNATURE).lanes[0]


@on_loop
async def test_a_transport_that_fails_ends_the_stream() -> None:
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()

        async def write(_: bytes) -> None:
            raise ServingError(Code.UNAVAILABLE, "broken")

        stream.write = write  # type: ignore[method-assign, assignment]
        stream.send(request(1), request(2))
        await answered(on, worker)
        with pytest.raises(ServingError, match="broken"):
            await handler
        await freed(on, worker)


@on_loop
async def test_reading_stops_at_many_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_stream, "_MOST_UNANSWERED", 4)
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        stream.send(*(request(number) for number in range(6)))
        for number in range(6, 10):
            stream.send(request(number))
        stream.half_close()
        for done in range(10):
            await until(lambda: worker.consumer.waiting == min(4, 10 - done))  # noqa: B023
            for _ in range(20):
                await asyncio.sleep(0)
            assert worker.consumer.waiting <= 4
            on.answer(worker)
            await stream.answered(done + 1)
        await handler
        assert stream.values() == [[2 * number] for number in range(10)]


@on_loop
async def test_reading_stops_when_results_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_stream, "_MOST_BYTES", 4000)
    monkeypatch.setattr(predict_stream, "_FIRST_EXPECTED", 100)
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.takes.clear()
        for number in range(100):
            stream.send(request(*[number] * 100))
        reads = -1
        while reads < stream.reads:  # until nothing moves any more
            reads = stream.reads
            for _ in range(50):
                if worker.consumer.waiting:
                    on.answer(worker, worker.consumer.waiting)
                await asyncio.sleep(0)
        assert 5 < reads < 15  # of 500 bytes each
        stream.takes.set()
        while len(stream.results()) < 100:
            if worker.consumer.waiting:
                on.answer(worker, worker.consumer.waiting)
            await asyncio.sleep(0)
        assert stream.values() == [[2 * number] * 100 for number in range(100)]


@on_loop
async def test_a_full_lane_makes_a_stream_wait() -> None:
    """For room that its own requests will make; one that has none there is refused."""
    async with stage() as on, conversation(on) as (first, handler), conversation(on) as (second, _):
        _, worker = await on.open()
        rows = worker.spec.rows // 4
        for number in range(6):
            first.send(request(*[number] * rows))
        first.half_close()
        await until(lambda: worker.consumer.waiting >= 3)
        for _ in range(20):
            await asyncio.sleep(0)
        at_once = worker.consumer.waiting
        assert at_once < 6
        second.send(request(*[1] * rows))
        assert await second.answered(1) == [(Code.UNAVAILABLE, FULL)]
        while not handler.done():
            if worker.consumer.waiting:
                on.answer(worker)
            await asyncio.sleep(0)
        await handler
        assert [value[0] for value in first.values()] == [2 * number for number in range(6)]
        await freed(on, worker)


@on_loop
async def test_a_stream_that_waits_for_room_may_go() -> None:
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        rows = worker.spec.rows // 4
        for number in range(6):
            stream.send(request(*[number] * rows))
        await until(lambda: worker.consumer.waiting >= 3)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler
        await freed(on, worker)


@on_loop
async def test_heavy_work_is_done_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies and answers for which the loop has no time: others overtake them, their results don't."""
    used: list[str] = []

    async def noted(function: Callable[..., Any], *arguments: Any) -> Any:
        used.append(function.__name__)
        return await in_thread(function, *arguments)

    def rows(count: int) -> Any:
        made = request(1)
        made.request.inputs["x"].tensor_shape.dim[0].size = count
        return made

    monkeypatch.setattr("frontend.grpc.streamed_call.in_thread", noted)
    monkeypatch.setattr("frontend.inference_request.in_thread", noted)
    monkeypatch.setattr("frontend.inference_request.is_heavy_answer", lambda outputs: outputs[0].shape[0] > 1)
    monkeypatch.setattr("frontend.grpc.streamed_call.is_long", lambda message: message.endswith(bytes(100)))
    monkeypatch.setattr(PredictBody, "heavy", property(lambda body: body.spec.version == 1))
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        long, heavy, answer = rows(2), rows(3), rows(4)
        long.request.model_spec.signature_name = DEFAULT_SIGNATURE
        heavy.request.model_spec.version.value = 1
        stream.send_bytes(message(padded(long)))
        await answered(on, worker)
        assert await stream.answered(1) == [[2] * 2]
        assert used == ["PredictBody", "read_inputs", "encode"]
        used.clear()
        stream.send(heavy, answer, request(5))
        await answered(on, worker, 3)
        assert await stream.answered(4) == [[2] * 2, [2] * 3, [2] * 4, [10]]
        assert sorted(used) == ["encode", "encode", "read_inputs"]
        await freed(on, worker)


@on_loop
async def test_long_requests_are_looked_through_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are odd; those of clients are found at once, of whatever length."""
    used: list[str] = []

    async def noted(function: Callable[..., Any], *arguments: Any) -> Any:
        used.append(function.__name__)
        return await in_thread(function, *arguments)

    def odd(made: Any, fields: int) -> bytes:
        data: bytes = made.SerializeToString() + b"\x18\x00" * fields
        return b"\x0a" + varint(len(data)) + data

    monkeypatch.setattr("frontend.grpc.streamed_call.in_thread", noted)
    monkeypatch.setattr("frontend.inference_request.in_thread", noted)
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        stream.send_bytes(odd(request(1), 100))
        stream.send(request(*[2] * 1000), request(*[3] * 1000, timeout_in_ms=60_000))
        await answered(on, worker, 3)
        assert await stream.answered(3) == [[2], [4] * 1000, [6] * 1000]
        assert not used
        stream.send_bytes(odd(request(1), 2000))
        stream.send_bytes(odd(request(1), 2000)[:-1] + b"\x80")
        stream.send_bytes(odd(request(1, timeout_in_ms=5), 2000))
        await until(lambda: codes(on).get("DEADLINE_EXCEEDED") == 1)
        while len(stream.results()) < 6:
            if worker.consumer.waiting:
                on.answer(worker, worker.consumer.waiting)
            await asyncio.sleep(0)
        values = stream.values()
        assert used.count("request_at") == 3
        assert values[3] == [2]
        assert values[4][0] is Code.INVALID_ARGUMENT and "ringserve.StreamedRequest" in str(values[4][1])
        assert values[5] == (Code.DEADLINE_EXCEEDED, TIMED_OUT)
        await freed(on, worker)


@on_loop
async def test_threads_read_odd_requests_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one stream: they share the processor with the loop."""
    reading: list[str] = []
    most = 0

    async def noted(function: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal most
        reading.append(function.__name__)
        most = max(most, reading.count("request_at") + reading.count("PredictBody"))
        try:
            return await in_thread(function, *arguments)
        finally:
            reading.remove(function.__name__)

    monkeypatch.setattr("frontend.grpc.streamed_call.in_thread", noted)
    monkeypatch.setattr("frontend.inference_request.in_thread", noted)
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        odd = request(1).request.SerializeToString() + b"\x50\x00" * 2000
        sent = b"\x0a" + varint(len(odd)) + odd
        stream.send_bytes((b"\x0a" + varint(len(sent)) + sent) * 10)
        sent += b"\x18\x00"
        stream.send_bytes((b"\x0a" + varint(len(sent)) + sent) * 10)
        await answered(on, worker, 20)
        assert await stream.answered(20) == [[2]] * 20
        assert most == 1
        await freed(on, worker)


@on_loop
async def test_who_goes_while_a_thread_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, may_end = threading.Event(), threading.Event()

    def look(*_: object) -> tuple[bytes, int]:
        at_work.set()
        may_end.wait(20)
        return b"", 0

    monkeypatch.setattr("frontend.grpc.streamed_call.request_at", look)
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        stream.send_bytes(b"\x0a\x80\x20" + b"\x18\x00" * 2048)
        await until(at_work.is_set)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler
        may_end.set()
        assert codes(on) == {"CANCELLED": 1}
        await freed(on, worker)


def padded(made: Any) -> Any:
    """With an unknown field behind the others."""
    made.request.MergeFromString(b"\x7a\x64" + bytes(100))
    return made


@on_loop
async def test_who_goes_while_a_thread_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that is being encoded is given back, and nothing is said of it."""
    at_work, may_end = threading.Event(), threading.Event()

    def encode(*_: object) -> Answer:
        at_work.set()
        may_end.wait(20)
        return Answer(b"")

    monkeypatch.setattr("frontend.inference_request.is_heavy_answer", lambda outputs: True)
    monkeypatch.setattr(PredictBody, "encode", encode)
    async with stage() as on, conversation(on) as (stream, handler):
        _, worker = await on.open()
        stream.send(request(1))
        await answered(on, worker)
        await until(at_work.is_set)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler
        may_end.set()
        await freed(on, worker)
        assert not stream.written


@on_loop
async def test_what_is_counted() -> None:
    """Each request by the code that it ended in; cancelled ones too."""
    async with stage() as on, conversation(on) as (stream, handler), conversation(on, timeout=30_000_000) as (late, other):
        _, worker = await on.open()
        stream.send(request(1), request(2, model="none"), request(3))
        await answered(on, worker)
        await stream.answered(2)
        handler.cancel()
        late.send(request(4), request(5))
        over = time.monotonic_ns() + 30_000_000
        await until(lambda: (worker.consumer.waiting == 3 or late.written) and time.monotonic_ns() > over)
        other.cancel()
        await asyncio.wait([handler, other])
        assert codes(on) == {"OK": 1, "NOT_FOUND": 1, "CANCELLED": 1, "DEADLINE_EXCEEDED": 2}
        await freed(on, worker)


def codes(on: Stage) -> dict[str, int]:
    """How many requests of the stream's methods ended so."""
    counts: Counter[str] = Counter()
    for family, labels, words in on.counters.read():
        if family == REQUESTS.name:
            assert labels[-3:-1] == ("predict", "GRPC")
            counts[labels[-1]] += words[0]
    return dict(counts)


@on_loop
async def test_others_have_their_turn_in_a_long_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        monkeypatch.setattr(predict_stream, "monotonic_ns", clock(predict_stream.TURN // 10))
        stream.send(*(request(number) for number in range(200)))
        seen: set[int] = set()
        while worker.consumer.waiting < 200:
            seen.add(worker.consumer.waiting)
            await asyncio.sleep(0)
        assert 15 < len(seen) < 30
        on.answer(worker, 200)
        await stream.answered(200)


@on_loop
async def test_others_have_their_turn_between_short_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a turn took of the time goes on counting where the next message is there already."""
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        monkeypatch.setattr(predict_stream, "monotonic_ns", clock(predict_stream.TURN // 10))
        for number in range(200):
            stream.send(request(number))
        seen: set[int] = set()
        while worker.consumer.waiting < 200:
            seen.add(worker.consumer.waiting)
            await asyncio.sleep(0)
        assert 15 < len(seen) < 50
        on.answer(worker, 200)
        await stream.answered(200)


@on_loop
async def test_others_have_their_turn_while_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as on, conversation(on) as (stream, _):
        _, worker = await on.open()
        monkeypatch.setattr(predict_stream, "monotonic_ns", clock(predict_stream.TURN // 10))
        stream.send_bytes(b"\x10\x00" * 1000 + message(request(1)))
        turns = 0
        while not worker.consumer.waiting:
            turns += 1
            await asyncio.sleep(0)
        assert 90 < turns < 120
        on.answer(worker)
        assert await stream.answered(1) == [[2]]


def clock(step: int) -> Callable[[], int]:
    """In ns; so many more each time that somebody looks at it."""
    return itertools.count(time.monotonic_ns() - 1000 * step, step).__next__


@on_loop
async def test_a_label_is_split_by_the_streams_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    async with stage() as on, conversation(on, metadata={"x-ringserve-key": "me"}) as (stream, _):
        await on.open()
        find = on.front_end.catalog.servable_handle

        def noted(wanted: ModelSpec) -> ServableHandle[Version]:
            asked.append(wanted)
            return find(wanted)

        monkeypatch.setattr(on.front_end.catalog, "servable_handle", noted)
        stream.send(request(1, label="prod"), request(1))
        await stream.answered(1)
        await until(lambda: len(asked) == 2)
        assert [(wanted.label, wanted.key) for wanted in asked] == [("prod", "me"), (None, None)]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_however_requests_share_messages(data: st.DataObject) -> None:
    """And however the worker answers, and the transport takes: each request gets its own result, in order."""
    kinds = data.draw(st.lists(st.sampled_from(["row", "rows", "none", "bad"]), max_size=40))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(kinds)), max_size=8)))
    steps = data.draw(st.lists(st.tuples(st.integers(1, 10), st.booleans()), min_size=1, max_size=10))

    def made(number: int, kind: str) -> object:
        one = request(number, *([number] if kind == "rows" else []), model="none" if kind == "none" else "m")
        if kind == "bad":
            one.request.ClearField("model_spec")
        return one

    def expected(number: int, kind: str) -> object:
        if kind == "none":
            return (Code.NOT_FOUND, NONE)
        if kind == "bad":
            return (Code.INVALID_ARGUMENT, "Missing ModelSpec")
        return [2 * number] * (2 if kind == "rows" else 1)

    @on_loop
    async def play() -> None:
        async with stage() as on, conversation(on) as (stream, handler):
            _, worker = await on.open()
            requests = [made(number, kind) for number, kind in enumerate(kinds)]
            for start, end in zip([0, *cuts], [*cuts, len(requests)], strict=True):
                stream.send(*requests[start:end])
            stream.half_close()
            at = 0
            while not handler.done():
                count, takes = steps[at % len(steps)]
                at += 1
                if takes or at > 50:
                    stream.takes.set()
                else:
                    stream.takes.clear()
                if worker.consumer.waiting:
                    on.answer(worker, min(count, worker.consumer.waiting))
                await asyncio.sleep(0)
            await handler
            assert stream.values() == [expected(number, kind) for number, kind in enumerate(kinds)]
            assert lane_of(on).idle

    play()

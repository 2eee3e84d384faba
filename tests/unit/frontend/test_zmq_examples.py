"""Classify and regress over ZeroMQ: what the messages may say, and the rows and values of their answers."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from example_messages import example, features
from example_requests import ONE, answer, open_lane, serve
from front_end_stage import until
from made_outputs import classify_signature, numbers, regress_signature, texts
from worker_side import on_loop
from zmq_stage import ZmqStage, pack, values, zmq_stage

from shm.packed import unpack_strings

BOTH = classify_signature("classes", "scores")
SERIALISED = ONE.SerializeToString()


def asking(call: str, *examples: Any, **fields: Any) -> bytes:
    sent = [made if isinstance(made, bytes | str | int) else made.SerializeToString() for made in examples or (ONE,)]
    return pack({"id": "me", "call": call, "model": "m", "signature": call, "examples": sent, **fields})


async def the_answer(stage: ZmqStage) -> dict[str, Any]:
    (found,) = await stage.answers(1)
    stage.sent.parts.clear()
    assert (found["v"], found["id"]) == (1, "me")
    return found


@on_loop
async def test_classify() -> None:
    async with zmq_stage() as stage:
        await serve(stage.on, BOTH)
        worker = await open_lane(stage.on, "classify", 1)
        for message in (asking("classify", ONE, ONE), asking("classify", ONE, ONE, version=1, timeout_ms=5000)):
            stage.take(message)
            (sent,) = worker.request()
            assert unpack_strings(sent.data, 2) == [SERIALISED] * 2
            answer(stage.on, worker, texts((2, 2), b"a", b"\xff", b"c", b""), numbers([[0.5, 1], [2, 3]]))
            found = await the_answer(stage)
            assert found["rows"] == [[["a", 0.5], ["\ufffd", 1.0]], [["c", 2.0], ["", 3.0]]]
            assert (found["model"], found["version"], found["signature"]) == ("m", 1, "classify")
        assert stage.counted() == {("m", "1", "classify", "classify", "ZMQ", "OK"): 2}
        assert stage.dispatcher.count.outstanding == 0 and stage.holders() == 0


@pytest.mark.parametrize(
    ("outputs", "given", "rows"),
    [
        (("classes",), [texts((1, 2), b"a", b"b")], [[["a", 0.0], ["b", 0.0]]]),
        (("scores",), [numbers([[1.0, 2.0]])], [[["", 1.0], ["", 2.0]]]),
        (("scores",), [numbers([], shape=(1, 0))], [[]]),
    ],
)
@on_loop
async def test_labels_alone_and_scores_alone(outputs: Any, given: Any, rows: Any) -> None:
    async with zmq_stage() as stage:
        await serve(stage.on, classify_signature(*outputs))
        worker = await open_lane(stage.on, "classify", 1)
        stage.take(asking("classify"))
        answer(stage.on, worker, *given)
        assert (await the_answer(stage))["rows"] == rows


@on_loop
async def test_regress() -> None:
    async with zmq_stage() as stage:
        await serve(stage.on, regress_signature())
        worker = await open_lane(stage.on, "regress", 1)
        stage.take(asking("regress", ONE, ONE, ONE))
        answer(stage.on, worker, numbers([[1], [2], [3.5]]))
        assert (await the_answer(stage))["values"] == [1.0, 2.0, 3.5]
        stage.take(asking("regress", ONE, ONE))
        answer(stage.on, worker, numbers([1, 2, 3.5]))
        assert (await the_answer(stage))["code"] == 3
        assert stage.counted() == {
            ("m", "1", "regress", "regress", "ZMQ", "OK"): 1,
            ("m", "1", "regress", "regress", "ZMQ", "INVALID_ARGUMENT"): 1,
        }


@on_loop
async def test_a_context_belongs_to_every_example() -> None:
    async with zmq_stage() as stage:
        await serve(stage.on, regress_signature())
        worker = await open_lane(stage.on, "regress", 1)
        stage.take(asking("regress", ONE, example(y=[1.0]), context=example(c=[b"all"]).SerializeToString()))
        (sent,) = worker.request()
        merged = [features(data) for data in unpack_strings(sent.data, 2)]
        assert [set(found) for found in merged] == [{"x", "c"}, {"y", "c"}]
        answer(stage.on, worker, numbers([1, 2]))
        assert (await the_answer(stage))["values"] == [1.0, 2.0]


@pytest.mark.parametrize("call", ["classify", "regress"])
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"examples": []}, "Input is empty."),
        ({"examples": None}, "examples; expected an array of serialised tf.Examples"),
        ({"examples": b"one"}, "examples; expected an array"),
        ({"examples": ["text"]}, "examples; expected an array"),
        ({"examples": [b"", 5]}, "examples; expected an array"),
        ({"examples": {"a": b""}}, "examples; expected an array"),
        ({"context": "text"}, "context; expected a serialised tf.Example"),
        ({"context": [b""]}, "context; expected a serialised tf.Example"),
        ({"model": None}, "model: nothing; expected the model's name"),
        ({"model": 5}, "model: 5"),
        ({"version": "1"}, "version: '1'"),
        ({"version": 1, "label": "a"}, "at once"),
        ({"label": 5}, "label: 5"),
        ({"signature": 5}, "signature"),
        ({"timeout_ms": 0}, "timeout_ms: 0"),
        ({"v": 3}, "v: 3"),
        ({"model": "none"}, "Servable not found for request: Latest(none)"),
        ({"label": "none"}, "Unrecognized servable version label: none"),
        ({"signature": "none"}, "none"),
    ],
)
@on_loop
async def test_what_is_wrong_is_named(call: str, fields: dict[str, Any], text: str) -> None:
    async with zmq_stage() as stage:
        await serve(stage.on, BOTH, regress_signature())
        stage.take(asking(call, **fields))
        found = await the_answer(stage)
        assert text in found["error"]
        counted = stage.counted()
        assert sum(counted.values()) == 1
        assert {labels[3] for labels in counted} == {call}
        assert stage.dispatcher.count.outstanding == 0 and stage.holders() == 0


@on_loop
async def test_too_many_examples() -> None:
    async with zmq_stage(max_request_bytes=1000) as stage:
        await serve(stage.on, regress_signature())
        stage.take(asking("regress", *[b""] * 200))
        assert (await the_answer(stage))["code"] == 8
        stage.take(asking("regress", b"x" * 10, context=b"y" * 2000))
        assert (await the_answer(stage))["code"] in (3, 8)
        assert stage.holders() == 0


@on_loop
async def test_an_answer_that_is_none() -> None:
    async with zmq_stage() as stage:
        await serve(stage.on, BOTH)
        worker = await open_lane(stage.on, "classify", 1)
        for given in ([texts((2, 1), b"a", b"b"), numbers([[1.0]])], [texts((1, 2), b"a", b"b"), numbers([[1.0]])]):
            stage.take(asking("classify"))
            answer(stage.on, worker, *given)
            assert (await the_answer(stage))["code"] == 3
        stage.take(asking("classify", timeout_ms=1))
        assert values(await the_answer(stage)) == (4, "Timed out waiting for notification")
        worker.answer(1, [])
        stage.on.bell.ring()
        await until(lambda: stage.on.front_end.idle)
        assert stage.holders() == 0


@on_loop
async def test_large_messages_are_views() -> None:
    """The package's own reader takes no message of this size."""
    async with zmq_stage() as stage:
        await serve(stage.on, regress_signature())
        worker = await open_lane(stage.on, "regress", 1)
        long = example(x=[2.0], text=[b"x" * 9000])
        message = asking("regress", long, ONE, context=ONE.SerializeToString())
        assert len(message) > 9000
        stage.take(message)
        (sent,) = worker.request()
        first, second = unpack_strings(sent.data, 2)
        assert features(first)["text"] == ("bytes_list", [b"x" * 9000])
        answer(stage.on, worker, numbers([1, 2]))
        assert (await the_answer(stage))["values"] == [1.0, 2.0]
        assert features(second)
        assert msgpack.unpackb(message)["call"] == "regress"

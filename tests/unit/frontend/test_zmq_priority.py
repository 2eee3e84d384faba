"""Requests of low priority over ZeroMQ: by themselves, in bursts of one pattern, in arrays, and as rows of one message."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from typing import Any

import pytest
from example_requests import open_lane, serve
from front_end_stage import until
from made_outputs import classify_signature, numbers, regress_signature
from test_zmq_examples import asking as asking_with_examples
from test_zmq_groups import burst, check, learnt
from worker_side import SLOTS, SPEC, WorkerSide, on_loop
from zmq_stage import asking, pack, values, zmq_stage

from ringserve.errors import Code
from shm.layout import LOW, PACKED, LaneSpec

FULL = (14, "The batch scheduling queue to which this task was submitted is full")
WORDS = [("low", LOW), ("LOW", LOW), ("high", 0), ("High", 0), (None, 0)]
WIDE = replace(SPEC, slots=32, rows=64)  # room for many of low priority
WRONG: list[Any] = ["urgent", "", "lo", b"low", 0, 1, True, ["low"]]


def three_wait(worker: WorkerSide) -> bool:
    return worker.consumer.waiting == 3


@pytest.mark.parametrize(("word", "flag"), WORDS)
@on_loop
async def test_one_request(word: str | None, flag: int) -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(asking(1, 1.0, priority=word))
        stage.take(pack({"priority": word, "model": "m", "inputs": [["x", "float", [1, 1], bytes(4)]]}))
        assert worker.flags() == [flag, flag | PACKED]
        stage.settle(worker, [None] * 2)
        await stage.answers(2)
        stage.nothing_is_left()


@pytest.mark.parametrize("wrong", WRONG)
@on_loop
async def test_what_is_no_priority(wrong: Any) -> None:
    """The answer says so, for all kinds of requests."""
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        for message in (
            asking("me", 1.0, priority=wrong),
            asking("me", 1.0, 2.0, priority=wrong, each=True),
            asking_with_examples("classify", priority=wrong),
            asking_with_examples("regress", priority=wrong),
        ):
            stage.take(message)
            (answer,) = await stage.answers(1)
            code, text = values(answer)
            assert (answer["id"], code) == ("me", Code.INVALID_ARGUMENT)
            assert "priority: " in text and "; expected high or low" in text
            stage.sent.parts.clear()
        assert not worker.consumer.waiting
        stage.nothing_is_left()


@on_loop
async def test_examples() -> None:
    async with zmq_stage() as stage:
        await serve(stage.on, classify_signature("scores"), regress_signature())
        for number, call in enumerate(("classify", "regress"), 1):
            worker = await open_lane(stage.on, call, number)
            for word, flag in WORDS:
                stage.take(asking_with_examples(call, priority=word))
                assert worker.flags() == [PACKED | flag]
                worker.answer(tensors=[numbers([[1.0]] if call == "classify" else [1.0]).packed()])
                stage.on.bell.ring()
                (answer,) = await stage.answers(1)
                assert "error" not in answer
                stage.sent.parts.clear()


@on_loop
async def test_requests_of_a_pattern_go_together() -> None:
    """Those of low priority are as quick as others, and the two kinds never mix."""
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve(), spec=WIDE)
        await learnt(stage, worker, priority="low")
        await learnt(stage, worker)
        stage.take(*burst(1, 5, priority="low"), *burst(6, 6))
        assert sorted(worker.flags()) == [0] * 6 + [LOW] * 5
        stage.settle(worker, [None] * 11)
        check(await stage.answers(11), 1, [None] * 11)
        stage.sent.parts.clear()
        assert lane.waiting == 0
        stage.take(*burst(1, 6, priority="low"))
        assert lane.waiting == 1, "in one piece"
        assert worker.flags() == [LOW] * 6
        stage.settle(worker, [None] * 6)
        check(await stage.answers(6), 1, [None] * 6)
        stage.sent.parts.clear()
        for message in burst(1, 3, priority="low"):
            stage.take(message)  # by themselves, but their pattern is known
        assert worker.flags() == [LOW] * 3
        stage.settle(worker, [None] * 3)
        check(await stage.answers(3), 1, [None] * 3)
        stage.nothing_is_left()


@on_loop
async def test_an_array_of_both_kinds() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        words = ["low", "high", None, "low"]
        messages = b"".join(asking(number, 1.0, priority=word) for number, word in enumerate(words))
        stage.take(bytes((0x90 + len(words),)) + messages)
        assert worker.flags() == [LOW, 0, 0, LOW]
        stage.settle(worker, [None] * 4)
        await stage.answers(4)
        stage.nothing_is_left()


@on_loop
async def test_rows_that_are_requests() -> None:
    """Together in the columns, or made one by one."""
    for spec, form, packed in ((WIDE, ((1, ()),), 0), (LaneSpec((), (), 0, 16, 1 << 16, 1 << 16), None, PACKED)):
        async with zmq_stage() as stage:
            _, worker = stage.small_lane(await stage.serve(), spec=spec, form=form)
            for word, flag in WORDS:
                stage.take(asking(1, 1.0, 2.0, 3.0, each=True, priority=word))
                await until(functools.partial(three_wait, worker))
                assert worker.flags() == [flag | packed] * 3
                stage.settle(worker, [None] * 3)
                (answer,) = await stage.answers(1)
                assert values(answer) == [2.0, 4.0, 6.0]
                stage.sent.parts.clear()
            stage.nothing_is_left()


@on_loop
async def test_half_of_a_lane() -> None:
    """Requests of low priority are refused where others still find room, together and one by one."""
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        half = SLOTS // 2
        await learnt(stage, worker, priority="low")
        stage.take(*burst(1, half + 2, priority="low"))
        stage.take(asking("low", 1.0, priority="low"))
        await asyncio.sleep(0)
        refused = [values(answer) for answer in stage.sent.answers()]
        assert refused == [FULL], "those of the group are told with it"
        stage.take(*[asking("high", 1.0) for _ in range(half)])
        assert worker.flags() == [LOW] * half + [0] * half
        stage.settle(worker, [None] * SLOTS)
        answers = await stage.answers(half + 2 + 1 + half)
        assert [values(answer) for answer in answers].count(FULL) == 3
        stage.nothing_is_left()

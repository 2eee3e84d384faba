"""Requests of one pattern that come in one burst: into lanes together, and an answer for each, whatever becomes of them."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import msgpack
import numpy as np
import pytest
from front_end_stage import M1, until
from made_signatures import signature, spec
from worker_side import ROWS, SLOTS, WorkerSide, on_loop
from zmq_stage import PEER, Fate, Peer, ZmqStage, asking, identifier, settle, values, zmq_stage

from ringserve.errors import Code, ServingError
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor, pack_strings

FULL = (14, "The batch scheduling queue to which this task was submitted is full")
TIMED_OUT = (4, "Timed out waiting for notification")
BAD = ServingError(Code.INVALID_ARGUMENT, "a bad row: \u00e9")
WAY = ("m", "1", "serving_default", "predict", "ZMQ")


def burst(first: int, count: int, *, rows: int = 1, **fields: Any) -> list[bytes]:
    """Requests whose numbers are their ids."""
    return [asking(identifier(n), *(float(n) for _ in range(rows)), **fields) for n in range(first, first + count)]


async def learnt(stage: ZmqStage, worker: WorkerSide, rows: int = 1, **fields: Any) -> None:
    """One request, which makes the others of its pattern known."""
    stage.take(*burst(0, 1, rows=rows, **fields))
    stage.settle(worker, [None])
    await stage.answers(1)
    stage.sent.parts.clear()


def check(answers: list[dict[str, Any]], first: int, fates: list[Fate | tuple[int, str]], rows: int = 1) -> None:
    """Each request has its own answer."""
    found = {answer["id"]: answer for answer in answers}
    assert len(found) == len(answers) == len(fates)
    for number, fate in enumerate(fates, first):
        answer = found[identifier(number)]
        assert answer["v"] == 1
        if fate is None:
            assert values(answer) == [2.0 * number] * rows
            assert (answer["model"], answer["version"], answer["signature"]) == ("m", 1, "serving_default")
        elif isinstance(fate, ServingError):
            assert values(answer) == (int(fate.code), fate.message)
            assert answer["status"] == fate.code.name
        elif isinstance(fate, tuple):
            assert values(answer) == fate
        else:
            (tensor,) = fate
            assert values(answer) == np.frombuffer(tensor.data, "<f4").reshape(tensor.shape).tolist()


@on_loop
async def test_a_burst_is_one_batch_and_rings_once() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        lane, worker = stage.small_lane(endpoint)
        await learnt(stage, worker)
        os.eventfd_read(stage.on.worker_bell.fd)
        stage.take(*burst(1, 6))
        assert lane.waiting == 1, "they went together"
        assert worker.consumer.waiting == 6
        assert stage.dispatcher.count.outstanding == 6
        await asyncio.sleep(0)
        assert os.eventfd_read(stage.on.worker_bell.fd) == 1
        stage.settle(worker, [None] * 6)
        check(await stage.answers(6), 1, [None] * 6)
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 7}


@on_loop
async def test_answers_are_those_of_requests_that_come_one_by_one() -> None:
    """To the byte: also with rows that fail, and with packed answers."""
    packed = [PackedTensor(1, (2, 1), np.array([5, 6], "<f4").tobytes())]
    for fates in ([None] * 5, [None, BAD, None, packed, BAD], [BAD] * 5, [packed] * 5):
        async with zmq_stage() as stage:
            endpoint = await stage.serve()
            lane, worker = stage.small_lane(endpoint)
            await learnt(stage, worker)
            for message in burst(1, 5):
                stage.take(message)
            assert lane.waiting == 5
            stage.settle(worker, fates)
            await stage.answers(5)
            alone = list(stage.sent.parts)
            stage.sent.parts.clear()
            stage.take(*burst(1, 5))
            assert lane.waiting < 5
            stage.settle(worker, fates)
            await stage.answers(5)
            assert stage.sent.parts == alone
            stage.nothing_is_left()


@on_loop
async def test_few_go_one_by_one() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        lane, worker = stage.small_lane(endpoint)
        await learnt(stage, worker)
        stage.take(*burst(1, 3))
        assert lane.waiting == 3
        stage.settle(worker, [None] * 3)
        check(await stage.answers(3), 1, [None] * 3)
        stage.nothing_is_left()


@on_loop
async def test_partial_room_and_full_lanes() -> None:
    """Those that find no room hear so; the others, from the front, are run."""
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint)
        await learnt(stage, worker)
        stage.take(*burst(1, SLOTS + 4))
        stage.settle(worker, [None] * SLOTS)
        check(await stage.answers(SLOTS + 4), 1, [*[None] * SLOTS, *[FULL] * 4])
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 1 + SLOTS, (*WAY, "UNAVAILABLE"): 4}
        stage.sent.parts.clear()
        stage.take(*burst(1, SLOTS))
        stage.take(*burst(20, 5))
        assert [values(answer) for answer in await stage.answers(5)] == [FULL] * 5, "at once"
        stage.settle(worker, [None] * SLOTS)
        await stage.answers(SLOTS + 5)
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 1 + 2 * SLOTS, (*WAY, "UNAVAILABLE"): 9}


@on_loop
async def test_no_row_is_left_but_slots() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint)
        await learnt(stage, worker, rows=6)
        count = ROWS // 6
        stage.take(*burst(1, 7, rows=6))
        assert worker.consumer.waiting == count
        stage.settle(worker, [None] * count)
        check(await stage.answers(7), 1, [*[None] * count, *[FULL] * (7 - count)], rows=6)
        stage.nothing_is_left()


@on_loop
async def test_where_the_slots_start_over_there_are_two_parts() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        lane, worker = stage.small_lane(endpoint)
        await learnt(stage, worker)
        for turn in range(40):
            fates: list[Fate] = [BAD if (turn + index) % 3 == 0 else None for index in range(4 + turn % 5)]
            stage.take(*burst(1, len(fates)))
            assert lane.waiting == (2 if 1 + worker.consumer.taken % SLOTS + len(fates) > SLOTS + 1 else 1)
            cut = turn % len(fates)  # two batches, or one
            for part in (fates[:cut], fates[cut:]):
                if part:
                    stage.settle(worker, part)
                    await asyncio.sleep(0)
            check(await stage.answers(len(fates)), 1, list(fates))
            stage.sent.parts.clear()
            stage.nothing_is_left()


@on_loop
async def test_over_several_lanes() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        workers = [stage.small_lane(endpoint, f"cpu:{index}")[1] for index in range(3)]
        await learnt(stage, workers[0])
        stage.take(*burst(1, 2 * SLOTS + 3))
        assert sum(worker.consumer.waiting for worker in workers) == 2 * SLOTS + 3
        for worker in reversed(workers):
            stage.settle(worker, [BAD if index == 2 else None for index in range(worker.consumer.waiting)])
            await asyncio.sleep(0)
        answers = await stage.answers(2 * SLOTS + 3)
        assert sum("error" in answer for answer in answers) == 3
        for answer in answers:
            (number,) = np.frombuffer(answer["id"], ">u8")
            assert "error" in answer or values(answer) == [2.0 * number]
        stage.nothing_is_left()


@on_loop
async def test_a_deadline_that_is_over() -> None:
    """None of them is run, and their slots come back when the worker has passed over them."""
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint)
        await learnt(stage, worker, timeout_ms=20)
        stage.take(*burst(1, 5, timeout_ms=20))
        assert all(worker.consumer.describe(1 + index)[4] for index in range(5))
        check(await stage.answers(5), 1, [TIMED_OUT] * 5)
        assert stage.holders() == 0
        assert all(worker.abandoned(1 + index) for index in range(5))
        assert not stage.on.front_end.idle
        stage.settle(worker, [None] * 5)
        await until(lambda: stage.on.front_end.idle)
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 1, (*WAY, "DEADLINE_EXCEEDED"): 5}
        assert len(stage.sent.answers()) == 5


@on_loop
async def test_a_deadline_that_ends_when_some_are_done() -> None:
    """A part that was completed in time is answered, and what comes after it is not."""
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint)
        await learnt(stage, worker, timeout_ms=200)
        stage.take(*burst(1, SLOTS, timeout_ms=200))  # seven, and one where the slots start over
        stage.settle(worker, [None, BAD, *[None] * 5])
        check(await stage.answers(SLOTS), 1, [None, BAD, *[None] * 5, TIMED_OUT])
        assert stage.counted() == {(*WAY, "OK"): 7, (*WAY, "INVALID_ARGUMENT"): 1, (*WAY, "DEADLINE_EXCEEDED"): 1}
        stage.settle(worker, [None])
        await until(lambda: stage.on.front_end.idle)
        stage.nothing_is_left()


@on_loop
async def test_the_servers_own_time_limit() -> None:
    async with zmq_stage(rest_api_timeout_in_ms=20) as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint)
        await learnt(stage, worker)
        stage.take(*burst(1, 4))
        check(await stage.answers(4), 1, [TIMED_OUT] * 4)
        stage.settle(worker, [None] * 4)
        await until(lambda: stage.on.front_end.idle)
        stage.nothing_is_left()
    async with zmq_stage(rest_api_timeout_in_ms=0) as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint)
        await learnt(stage, worker)
        stage.take(*burst(1, 4))
        assert [worker.consumer.describe(1 + index)[4] for index in range(4)] == [0] * 4
        stage.settle(worker, [None] * 4)
        await stage.answers(4)


@on_loop
async def test_a_version_that_is_retired_meanwhile() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint)
        await learnt(stage, worker)
        stage.take(*burst(1, 4))
        stage.on.say("retire", servable=M1, call=7)
        await stage.on.heard()
        stage.take(*burst(5, 4))
        gone = (5, "Servable not found for request: Latest(m)")
        assert [values(answer) for answer in await stage.answers(4)] == [gone] * 4
        assert "answer" not in stage.on.types()
        stage.settle(worker, [None] * 4)
        check([answer for answer in await stage.answers(8) if "error" not in answer], 1, [None] * 4)
        await until(lambda: {"type": "answer", "call": 7} in stage.on.told)
        assert stage.dispatcher.count.outstanding == 0
        assert stage.counted()["m", "", "", "predict", "ZMQ", "NOT_FOUND"] == 4


@on_loop
async def test_another_version_meanwhile() -> None:
    """What is known of a message says nothing of the version that answers it."""
    async with zmq_stage() as stage:
        _, first = stage.small_lane(await stage.serve(number=1))
        await learnt(stage, first)
        stage.take(*burst(1, 4))
        _, second = stage.small_lane(await stage.serve(number=2))
        stage.take(*burst(5, 4))
        stage.settle(second, [None] * 4)
        await stage.answers(4)
        stage.settle(first, [None] * 4)
        answers = {answer["id"]: answer for answer in await stage.answers(8)}
        assert [answers[identifier(n)]["version"] for n in range(1, 9)] == [1] * 4 + [2] * 4
        assert [values(answers[identifier(n)]) for n in range(1, 9)] == [[2.0 * n] for n in range(1, 9)]
        stage.nothing_is_left()


@on_loop
async def test_another_signature_meanwhile() -> None:
    """The next version's input has another type: they hear so, in the words of one that comes alone."""
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve(number=1))
        await learnt(stage, worker)
        await stage.serve(signature(spec("x", "int64"), outputs=(spec("y", "int64"),)), number=2)
        stage.take(*burst(1, 1))
        ((code, text),) = [values(answer) for answer in await stage.answers(1)]
        assert (code, "x" in text or "float" in text) == (3, True)
        stage.take(*burst(2, 5))
        assert [values(answer) for answer in await stage.answers(6)] == [(code, text)] * 6
        await stage.serve(signature(spec("z"), outputs=(spec("y"),)), number=3)
        stage.take(*burst(8, 5))
        assert {values(answer)[0] for answer in await stage.answers(11)} == {3}
        stage.nothing_is_left()


@on_loop
async def test_shadows_get_their_copies() -> None:
    """Then they go one by one."""
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve(number=1))
        _, other = stage.small_lane(await stage.serve(number=2))
        stage.on.say("routing", model="m", labels={}, shadows=[[1, 1.0]])
        await stage.on.heard()
        stage.take(*burst(1, 4))
        await until(lambda: other.consumer.waiting == 4)
        assert lane.waiting == 4, "copies"
        for side in (other, worker):
            stage.settle(side, [None] * 4)
        answers = await stage.answers(4)
        assert [answer["version"] for answer in answers] == [2] * 4
        check([answer | {"version": 1} for answer in answers], 1, [None] * 4)
        await until(lambda: stage.on.front_end.idle and not stage.holders(1))
        stage.nothing_is_left()


@on_loop
async def test_labels() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve(number=1))
        stage.on.say("routing", model="m", labels={"stable": [[1, 1.0]]}, shadows=[])
        await stage.on.heard()
        await learnt(stage, worker, label="stable", key="a key")
        stage.take(*burst(1, 4, label="stable", key="a key"))
        stage.settle(worker, [None] * 4)
        check(await stage.answers(4), 1, [None] * 4)
        stage.take(*burst(5, 4, label="no such"))
        assert {values(answer)[1] for answer in (await stage.answers(8))[4:]} == {
            "Unrecognized servable version label: no such"
        }
        stage.nothing_is_left()


@pytest.mark.parametrize("field", ["model", "signature", "outputs"])
@on_loop
async def test_what_can_not_be_answered_is_refused_one_by_one(field: str) -> None:
    async with zmq_stage() as stage:
        stage.small_lane(await stage.serve())
        fields: dict[str, Any] = {field: ["no such"] if field == "outputs" else "no such"}
        for _ in range(2):
            stage.take(*burst(1, 5, **fields))
        answers = await stage.answers(10)
        assert all("no such" in answer["error"] for answer in answers)
        assert sum(stage.counted().values()) == 10
        stage.nothing_is_left()


@on_loop
async def test_without_a_model_or_with_two_versions() -> None:
    async with zmq_stage() as stage:
        for fields in ({"model": ""}, {"version": 1, "label": "a"}):
            for _ in range(2):
                stage.take(*burst(1, 5, **fields))
        answers = await stage.answers(20)
        assert {answer["code"] for answer in answers} == {3}
        assert sum(stage.counted().values()) == 20
        stage.nothing_is_left()


TWO = signature(spec("x"), outputs=(spec("a"), spec("y", "double", (-1, 2))))
PAIRS = LaneSpec((Column("<f4", ()),), (Column("<f4", ()), Column("<f8", (2,))), ROWS, SLOTS, 1 << 20, 1 << 20)


@pytest.mark.parametrize("outputs", [[], ["y"], ["a"], ["y", "a"]])
@on_loop
async def test_several_outputs_and_some_of_them(outputs: list[str]) -> None:
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve(TWO), spec=PAIRS)
        await learnt(stage, worker, outputs=outputs, rows=2)
        stage.take(*burst(1, 4, outputs=outputs, rows=2))
        assert lane.waiting == 1
        stage.settle(worker, [None, BAD, None, None])
        answers = {answer["id"]: answer for answer in await stage.answers(4)}
        for number in (1, 3, 4):
            answer = answers[identifier(number)]
            assert [output[0] for output in answer["outputs"]] == (outputs or ["a", "y"])
            if "y" in (outputs or "y"):
                assert values(answer, "y") == [[2.0 * number] * 2] * 2
            if "a" in (outputs or "a"):
                assert values(answer, "a") == [2.0 * number] * 2
        assert values(answers[identifier(2)]) == (3, BAD.message)
        stage.nothing_is_left()


@on_loop
async def test_packed_answers_of_any_kind() -> None:
    """Also texts, and tensors so large that they are frames."""
    large = np.arange(20_000, dtype="<f8").reshape(-1, 2)
    fates: list[Fate] = [
        None,
        [PackedTensor(1, (), np.float32(7).tobytes()), PackedTensor(2, large.shape, large.tobytes())],
        [PackedTensor(7, (2,), pack_strings([b"", b"\xff"])), PackedTensor(2, (0,), b"")],
        BAD,
        [PackedTensor(1, (3,), b"1234")],
    ]
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve(TWO), spec=PAIRS)
        await learnt(stage, worker)
        stage.take(*burst(1, 5))
        assert lane.waiting == 1
        stage.settle(worker, fates)
        answers = {answer["id"]: answer for answer in await stage.answers(5)}
        assert values(answers[identifier(1)], "a") == [2.0]
        assert values(answers[identifier(2)], "a") == 7.0
        assert values(answers[identifier(2)], "y") == large.tolist()
        assert values(answers[identifier(3)], "a") == [b"", b"\xff"]
        assert values(answers[identifier(3)], "y") == []
        assert values(answers[identifier(4)])[0] == 3
        assert values(answers[identifier(5)])[0] == 13
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 4, (*WAY, "INVALID_ARGUMENT"): 1, (*WAY, "INTERNAL"): 1}


@on_loop
async def test_large_answers_are_frames() -> None:
    wide = LaneSpec((Column("<f4", ()),), (Column("<f4", (20_000,)),), ROWS, SLOTS, 1 << 20, 1 << 20)
    async with zmq_stage() as stage:
        declared = signature(spec("x"), outputs=(spec("y", shape=(-1, 20_000)),))
        lane, worker = stage.small_lane(await stage.serve(declared), spec=wide)
        await learnt(stage, worker)
        stage.take(*burst(1, 4))
        assert lane.waiting == 1
        stage.settle(worker, [None, BAD, None, None])
        answers = {answer["id"]: answer for answer in await stage.answers(4)}
        for number in (1, 3, 4):
            assert values(answers[identifier(number)]) == [[2.0 * number] * 20_000]
        stage.nothing_is_left()


@on_loop
async def test_no_outputs_at_all() -> None:
    nothing = LaneSpec((Column("<f4", ()),), (), ROWS, SLOTS, 1 << 16, 1 << 16)
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve(signature(spec("x"))), spec=nothing)
        await learnt(stage, worker)
        stage.take(*burst(1, 5))
        stage.settle(worker, [None, BAD, None, None, None])
        answers = {answer["id"]: answer for answer in await stage.answers(5)}
        assert [answers[identifier(n)].get("outputs", "failed") for n in range(1, 6)] == [[], "failed", [], [], []]
        stage.nothing_is_left()


@on_loop
async def test_texts_go_one_by_one() -> None:
    """A model whose answers are texts has no columns."""
    async with zmq_stage() as stage:
        packed_only = LaneSpec((), (), 0, SLOTS, 1 << 16, 1 << 16)
        declared = signature(spec("x"), outputs=(spec("y", "string"),))
        lane, worker = stage.small_lane(await stage.serve(declared), spec=packed_only, form=None)
        fates: list[Fate] = [[PackedTensor(7, (1,), pack_strings([bytes((65 + n,))]))] for n in range(5)]
        fates[2] = BAD
        for _ in range(2):
            stage.sent.parts.clear()
            stage.take(*burst(0, 5))
            assert lane.waiting == 5
            stage.settle(worker, fates)
            answers = {answer["id"]: values(answer) for answer in await stage.answers(5)}
            assert [answers[identifier(n)] for n in range(5)] == [[b"A"], [b"B"], (3, BAD.message), [b"D"], [b"E"]]
        stage.nothing_is_left()


@on_loop
async def test_before_a_lane_is_open() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        for _ in range(2):
            stage.take(*burst(1, 5))
        await until(lambda: "want_lane" in stage.on.types())
        _, worker = stage.small_lane(endpoint)
        await until(lambda: worker.consumer.waiting == SLOTS)
        stage.settle(worker, [None] * SLOTS)
        answers = await stage.answers(10)
        assert sum(values(answer) == FULL for answer in answers) == 10 - SLOTS
        stage.nothing_is_left()


@on_loop
async def test_peers_and_messages_mixed() -> None:
    """Each answer goes where its request came from, in the form in which it came."""
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve())
        await learnt(stage, worker)
        other, delimited = Peer(b"other"), Peer(b"req", True)
        one, two, three, four, five, six = burst(1, 6)
        dispatcher = stage.dispatcher
        dispatcher.take(*other, b"\x93" + two + one + three, ())
        dispatcher.take(*PEER, four, ())
        dispatcher.take(*delimited, five, ())
        dispatcher.take(*other, six, ())
        dispatcher.flush()
        assert lane.waiting == 1
        stage.settle(worker, [None, None, BAD, None, None, None])
        await until(lambda: len(stage.sent.parts) == 4)
        together = next(parts for peer, parts in stage.sent.parts if peer == other and len(stage.sent.answers(other)) == 4
                        and isinstance(msgpack.unpackb(parts[0]), list))  # fmt: skip
        found = msgpack.unpackb(together[0])
        assert sorted(answer["id"] for answer in found) == [identifier(n) for n in (1, 2, 3)]
        by_id = {answer["id"]: values(answer) for answer in stage.sent.answers(other)}
        assert by_id == {identifier(1): [2.0], identifier(2): [4.0], identifier(3): (3, BAD.message), identifier(6): [12.0]}
        assert values(stage.sent.answers(PEER)[0]) == [8.0]
        assert values(stage.sent.answers(delimited)[0]) == [10.0]
        stage.nothing_is_left()


@on_loop
async def test_the_same_id_many_times() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        message = asking(b"12345678", 3)
        for _ in range(2):
            stage.sent.parts.clear()
            stage.take(*[message] * 6)
            stage.settle(worker, [None] * 6)
            assert [values(answer) for answer in await stage.answers(6)] == [[6.0]] * 6
        stage.nothing_is_left()


@pytest.mark.parametrize("seed", range(6))
@on_loop
async def test_whatever_happens(seed: int) -> None:
    """Bursts of several patterns, over lanes of two workers that answer as they like: every request gets one answer, its
    own, and nothing is left behind."""
    chance = random.Random(seed)
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        workers = [stage.small_lane(endpoint, f"cpu:{index}")[1] for index in range(2)]
        wanted: dict[bytes, tuple[float, int, bool]] = {}
        sent = 0
        for _ in range(150):
            for _ in range(chance.randrange(3)):
                rows, late = chance.randint(1, 3), chance.random() < 0.1
                fields = {"timeout_ms": 1} if late else {}
                messages = burst(sent, chance.randrange(12), rows=rows, **fields)
                for _ in messages:
                    wanted[identifier(sent)] = (2.0 * sent, rows, late)
                    sent += 1
                stage.take(*messages)
            for worker in workers:
                count = chance.randint(0, worker.consumer.waiting)
                fates: list[Fate] = [BAD if chance.random() < 0.2 else None for _ in range(count)]
                if fates:
                    settle(worker, fates)
                    if chance.random() < 0.7:
                        stage.on.bell.ring()
            await asyncio.sleep(0.002 if chance.random() < 0.1 else 0)
        while not stage.on.front_end.idle:
            for worker in workers:
                if worker.consumer.waiting:
                    settle(worker, [None] * worker.consumer.waiting)
            stage.on.bell.ring()
            await asyncio.sleep(0)
        answers = {answer["id"]: answer for answer in await stage.answers(sent)}
        assert answers.keys() == wanted.keys()
        seen = set()
        for name, (value, rows, late) in wanted.items():
            found = values(answers[name])
            seen.add(found[0] if isinstance(found, tuple) else 0)
            assert found in ([value] * rows, (3, BAD.message), FULL) or (late and found == TIMED_OUT), (name, found)
        assert seen >= {0, 3, 14}
        stage.nothing_is_left()
        assert sum(stage.counted().values()) == sent

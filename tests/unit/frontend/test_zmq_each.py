"""Messages whose rows are requests of their own: together in a lane or one by one, there is one answer for all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from binary_bodies import numbers as made_numbers
from front_end_stage import M1, until
from made_signatures import signature, spec
from test_default_values_of_bodies import with_defaults
from worker_side import ROWS, SLOTS, on_loop
from zmq_stage import Fate, ZmqStage, asking, pack, values, zmq_stage

from frontend.catalog import Version
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor, pack_strings

FULL = "The batch scheduling queue to which this task was submitted is full"
BAD = ServingError(Code.INVALID_ARGUMENT, "a bad row: \u00e9")
WAY = ("m", "1", "serving_default", "predict", "ZMQ")
PACKED_ONLY = LaneSpec((), (), 0, SLOTS, 1 << 16, 1 << 16)


def rows(count: int, first: float = 1, **fields: Any) -> bytes:
    return asking(b"id", *(first + index for index in range(count)), **{"each": True, **fields})


def texts(*strings: bytes) -> list[PackedTensor]:
    return [PackedTensor(7, (len(strings),), pack_strings(list(strings)))]


async def the_answer(stage: ZmqStage) -> dict[str, Any]:
    (answer,) = await stage.answers(1)
    stage.sent.parts.clear()
    assert (answer["v"], answer["id"]) == (1, b"id")
    return answer


@on_loop
async def test_each_row_is_a_request() -> None:
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve())
        for turn in range(20):
            count = 1 + turn % SLOTS
            stage.take(rows(count, 10 * turn))
            assert worker.consumer.waiting == count
            assert lane.waiting <= 2, "more than one only where the slots start over"
            assert stage.dispatcher.count.outstanding == 1
            stage.settle(worker, [None] * count)
            answer = await the_answer(stage)
            assert values(answer) == [2.0 * (10 * turn + index) for index in range(count)]
            assert "errors" not in answer
            stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): sum(1 + turn % SLOTS for turn in range(20))}


@on_loop
async def test_portions() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(rows(12, each=3))
        assert [worker.consumer.describe(index)[2] for index in range(4)] == [3] * 4
        stage.settle(worker, [None, BAD, None, None])
        answer = await the_answer(stage)
        assert values(answer) == [2.0, 4.0, 6.0, 0.0, 0.0, 0.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0]
        assert answer["errors"] == [[1, 3, BAD.message]]
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 3, (*WAY, "INVALID_ARGUMENT"): 1}


@on_loop
async def test_rows_that_fail() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        for fates in ([BAD, None, None], [None, None, BAD], [BAD, BAD, BAD], [BAD]):
            stage.take(rows(len(fates)))
            stage.settle(worker, fates)
            answer = await the_answer(stage)
            assert values(answer) == [0.0 if fate else 2.0 * (1 + index) for index, fate in enumerate(fates)]
            assert answer["errors"] == [[index, 3, BAD.message] for index, fate in enumerate(fates) if fate]
            stage.nothing_is_left()


@on_loop
async def test_rows_with_an_answer_of_another_shape() -> None:
    packed = [PackedTensor(1, (2, 2), np.zeros(4, "<f4").tobytes())]
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(rows(3))
        stage.settle(worker, [None, packed, None])
        answer = await the_answer(stage)
        assert values(answer) == [2.0, 0.0, 6.0]
        ((index, code, text),) = answer["errors"]
        assert (index, code) == (1, 12) and "ask for it by itself" in text
        stage.nothing_is_left()


@on_loop
async def test_rows_that_were_run_by_themselves() -> None:
    """A batch that fails is run again, row by row, and the answers of those that do not fail come packed."""

    def packed(*values: float) -> Fate:
        return [PackedTensor(1, (len(values),), np.array(values, "<f4").tobytes())]

    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        for _ in range(3):
            stage.take(rows(4))
            stage.settle(worker, [packed(20), BAD, packed(30), None])
            answer = await the_answer(stage)
            assert values(answer) == [20.0, 0.0, 30.0, 8.0]
            assert answer["errors"] == [[1, 3, BAD.message]]
            stage.take(rows(6, each=2))
            stage.settle(worker, [packed(20, 21), packed(22, 23), packed(24)])
            answer = await the_answer(stage)
            assert values(answer) == [20.0, 21.0, 22.0, 23.0, 0.0, 0.0]
            assert [index for index, *_ in answer["errors"]] == [2]
            stage.take(rows(2))
            stage.settle(worker, [packed(20), packed(30)])
            answer = await the_answer(stage)
            assert (values(answer), "errors" in answer) == ([20.0, 30.0], False)
            stage.nothing_is_left()


@on_loop
async def test_partial_room_and_full_lanes() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(rows(SLOTS + 3))
        stage.settle(worker, [None] * SLOTS)
        answer = await the_answer(stage)
        assert values(answer) == [2.0 * (1 + index) for index in range(SLOTS)] + [0.0] * 3
        assert answer["errors"] == [[SLOTS + index, 14, FULL] for index in range(3)]
        stage.nothing_is_left()
        stage.take(rows(SLOTS))
        stage.take(rows(2))
        assert values(await the_answer(stage)) == (14, FULL), "of all of them at once"
        stage.settle(worker, [None] * SLOTS)
        await the_answer(stage)
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 2 * SLOTS, (*WAY, "UNAVAILABLE"): 3 + 2}


@on_loop
async def test_over_several_lanes() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        workers = [stage.small_lane(endpoint, f"cpu:{index}")[1] for index in range(2)]
        stage.take(rows(2 * SLOTS))
        for worker in reversed(workers):
            assert worker.consumer.waiting == SLOTS
            stage.settle(worker, [None, BAD, *[None] * (SLOTS - 2)])
            await asyncio.sleep(0)
        answer = await the_answer(stage)
        failed = (1, SLOTS + 1)
        assert values(answer) == [0.0 if index in failed else 2.0 * (1 + index) for index in range(2 * SLOTS)]
        assert [index for index, *_ in answer["errors"]] == list(failed)
        stage.nothing_is_left()


@on_loop
async def test_a_deadline_that_is_over() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(rows(SLOTS + 2, timeout_ms=150))
        stage.take(rows(5, timeout_ms=1))
        assert values(await the_answer(stage)) == (14, FULL)
        assert values(await the_answer(stage)) == (4, "Timed out waiting for notification")
        assert stage.holders() == 0
        stage.settle(worker, [None] * SLOTS)
        await until(lambda: stage.on.front_end.idle)
        stage.nothing_is_left()
        stage.take(rows(3, timeout_ms=1 << 30))
        stage.settle(worker, [None] * 3)
        assert values(await the_answer(stage)) == [2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (rows(4, each=3), "4 rows; expected a multiple of 3"),
        (rows(4, each=-1), "-1; expected true, or how many rows"),
        (rows(4, each="yes"), "'yes'; expected true"),
        (rows(4, each=[1]), "expected true, or how many rows"),
        (rows(4, each={"a": b"x" * 5000}), "expected true, or how many rows"),
        (rows(4, each=b"x" * 5000), "expected true, or how many rows"),
        (rows(4, each=1 << 40), "expected true, or how many rows"),
        (rows(4, each=1.0), "1.0; expected true"),
        (asking(b"id", 1.0, shape=[], each=True), "0 rows; expected a multiple of 1"),
        (asking(b"id", shape=[0], each=True), "0 rows; expected a multiple of 1"),
        (pack({"id": b"id", "model": "m", "each": True, "inputs": []}), "numeric inputs"),
        (pack({"id": b"id", "model": "m", "each": True, "inputs": [["x", "string", [1], ["a"]]]}), "numeric inputs"),
        (
            pack({"id": b"id", "model": "m", "each": True,
                  "inputs": [["x", "float", [1], b"1234"], ["y", "float", [2], b"12345678"]]}),
            "as many rows",
        ),
        (asking(b"id", *[0.0] * 65537, each=True), "65537 rows; expected"),
        (asking(b"id", shape=[65536, 0], each=True), "rows that have numbers"),
        (asking(b"id", shape=[65536, 65536, 0], each=65536), "rows that have numbers"),
        (rows(2, model="none"), "Servable not found for request: Latest(none)"),
        (rows(2, signature="none"), 'Serving signature name: "none" not found in signature def'),
        (rows(2, outputs=["none"]), "none"),
        (rows(2, model=""), "model: nothing"),
        (rows(2, version=1, label="a"), "version 1 and label a at once"),
        (rows(2, version="a"), "version: 'a'"),
    ],
)  # fmt: skip
@on_loop
async def test_what_is_no_such_message(message: bytes, text: str) -> None:
    """There is one answer, and one request is counted."""
    async with zmq_stage() as stage:
        stage.small_lane(await stage.serve())
        stage.take(message)
        _, found = values(await the_answer(stage))
        assert text in found
        assert "0x" not in found, "an address"
        stage.nothing_is_left()
        assert sum(stage.counted().values()) == 1


@pytest.mark.parametrize("each", [False, None, 0])
@on_loop
async def test_rows_of_one_request(each: Any) -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(rows(4, each=each))
        assert worker.consumer.waiting == 1
        stage.settle(worker, [None])
        assert values(await the_answer(stage)) == [2.0, 4.0, 6.0, 8.0]


TWO_INPUTS = signature(spec("a"), spec("x"), outputs=(spec("y"),))
TWO_COLUMNS = LaneSpec((Column("<f4", ()), Column("<f4", ())), (Column("<f4", ()),), ROWS, SLOTS, 1 << 16, 1 << 16)
TWO_FORM = ((1, ()), (1, ()))


@on_loop
async def test_two_inputs() -> None:
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve(TWO_INPUTS), spec=TWO_COLUMNS, form=TWO_FORM)
        inputs = [
            [name, "float", [3], np.array(sent, "<f4").tobytes()] for name, sent in (("x", [1, 2, 3]), ("a", [4, 5, 6]))
        ]
        stage.take(pack({"id": b"id", "model": "m", "each": True, "inputs": inputs}))
        assert lane.waiting == 1
        stage.settle(worker, [None] * 3)
        assert values(await the_answer(stage)) == [10.0, 14.0, 18.0]
        stage.nothing_is_left()


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,)])
@on_loop
async def test_inputs_that_are_left_out(shape: tuple[int, ...]) -> None:
    """Each request has the default value, of whatever shape that is."""
    default = made_numbers("float", np.full(shape, 10.0))
    async with zmq_stage() as stage:
        declared = with_defaults(TWO_INPUTS, a=default)
        _, worker = stage.small_lane(await stage.serve(declared), spec=TWO_COLUMNS, form=TWO_FORM)
        for each in (True, 3):
            stage.take(rows(6, each=each))
            count = 6 if each is True else 2
            await until(lambda count=count: worker.consumer.waiting == count)  # type: ignore[misc]
            fits = shape in ((), (1,)) or shape == (int(each),)
            stage.settle(worker, [None if fits else BAD] * count)
            found = values(await the_answer(stage))
            assert found == ([2.0 * (11 + index) for index in range(6)] if fits else (3, BAD.message))
            stage.nothing_is_left()


STRINGS = signature(spec("x"), outputs=(spec("n"), spec("y", "string")))


@on_loop
async def test_texts_are_made_one_by_one() -> None:
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve(STRINGS), spec=PACKED_ONLY, form=None)
        stage.take(rows(4))
        await until(lambda: worker.consumer.waiting == 4)
        assert lane.waiting == 4

        def fate(index: int) -> list[PackedTensor]:
            return [PackedTensor(1, (1,), np.float32(index).tobytes()), *texts(b"row %d" % index)]

        stage.settle(worker, [fate(0), BAD, fate(2), fate(3)])
        answer = await the_answer(stage)
        assert answer["errors"] == [[1, 3, BAD.message]]
        assert values(answer, "n") == [0.0, 0.0, 2.0, 3.0]
        assert values(answer, "y") == [b"row 0", b"", b"row 2", b"row 3"]
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 3, (*WAY, "INVALID_ARGUMENT"): 1}


@on_loop
async def test_one_by_one_with_answers_of_other_shapes() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve(), spec=PACKED_ONLY, form=None)

        def fate(*shape: int, value: float) -> Fate:
            return [PackedTensor(1, shape, np.full(shape, value, "<f4").tobytes())]

        for shape in ((), (1,), (2, 2), (0, 3)):
            stage.take(rows(3))
            await until(lambda: worker.consumer.waiting == 3)
            stage.settle(worker, [fate(*shape, value=1), fate(*shape, value=2), fate(*shape, value=3)])
            answer = await the_answer(stage)
            assert "errors" not in answer
            each = np.concatenate([np.atleast_1d(np.full(shape, value, "<f4")) for value in (1, 2, 3)])
            assert values(answer) == each.tolist()
        stage.take(rows(4))
        await until(lambda: worker.consumer.waiting == 4)
        stage.settle(worker, [BAD, fate(2, value=1), fate(3, value=2), fate(2, value=3)])
        answer = await the_answer(stage)
        assert [(index, code) for index, code, _ in answer["errors"]] == [(0, 3), (2, 12)]
        assert values(answer) == [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 3.0, 3.0]
        stage.nothing_is_left()


@on_loop
async def test_one_by_one_none_succeeds() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve(), spec=PACKED_ONLY, form=None)
        stage.take(rows(3))
        await until(lambda: worker.consumer.waiting == 3)
        stage.settle(worker, [BAD] * 3)
        assert values(await the_answer(stage)) == (3, BAD.message)
        stage.take(rows(2, timeout_ms=1))
        assert values(await the_answer(stage)) == (4, "Timed out waiting for notification")
        await until(lambda: worker.consumer.waiting == 2 or not worker.consumer.waiting)
        if worker.consumer.waiting:
            stage.settle(worker, [None] * 2)
        await until(lambda: stage.on.front_end.idle)
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "INVALID_ARGUMENT"): 3, (*WAY, "DEADLINE_EXCEEDED"): 2}


@on_loop
async def test_more_than_the_lane_holds_one_by_one() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve(), spec=PACKED_ONLY, form=None)
        stage.take(rows(SLOTS + 3))
        await until(lambda: worker.consumer.waiting == SLOTS)
        stage.settle(worker, [None] * SLOTS)
        answer = await the_answer(stage)
        assert values(answer)[:SLOTS] == [2.0 * (1 + index) for index in range(SLOTS)]
        assert answer["errors"] == [[SLOTS + index, 14, FULL] for index in range(3)]
        stage.nothing_is_left()


@on_loop
async def test_before_a_lane_is_open() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        stage.take(rows(5))
        await until(lambda: "want_lane" in stage.on.types())
        _, worker = stage.small_lane(endpoint)
        await until(lambda: worker.consumer.waiting == 5)
        stage.settle(worker, [None] * 5)
        assert values(await the_answer(stage)) == [2.0, 4.0, 6.0, 8.0, 10.0]
        stage.nothing_is_left()


@on_loop
async def test_no_lane_can_be_opened() -> None:
    async with zmq_stage() as stage:
        await stage.serve()
        stage.take(rows(5))
        await until(lambda: "want_lane" in stage.on.types())
        stage.on.say("lane_refused", servable=M1, signature="serving_default", inputs=None, code=13, message="no")
        assert values(await the_answer(stage)) == (13, "no")
        stage.nothing_is_left()


@on_loop
async def test_a_form_without_columns_asks_for_some() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        pairs = np.arange(16, dtype="<f4").reshape(8, 2)
        stage.take(asking(b"id", *pairs, each=True))
        await until(lambda: worker.consumer.waiting == SLOTS)
        stage.settle(worker, [None] * SLOTS)
        assert values(await the_answer(stage)) == (2 * pairs).tolist()
        await until(lambda: "want_lane" in stage.on.types())
        stage.nothing_is_left()


@on_loop
async def test_shadows_get_their_copies() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve(number=1))
        lane, other = stage.small_lane(await stage.serve(number=2))
        stage.on.say("routing", model="m", labels={}, shadows=[[1, 1.0]])
        await stage.on.heard()
        stage.take(rows(4))
        await until(lambda: other.consumer.waiting == worker.consumer.waiting == 4)
        assert lane.waiting == 4
        for side in (worker, other):
            stage.settle(side, [None] * 4)
        answer = await the_answer(stage)
        assert (answer["version"], values(answer)) == (2, [2.0, 4.0, 6.0, 8.0])
        await until(lambda: stage.on.front_end.idle and not stage.holders(1))
        stage.nothing_is_left()


@pytest.mark.parametrize("has_columns", [True, False])
@on_loop
async def test_a_version_that_is_retired_meanwhile(has_columns: bool) -> None:
    """All rows of a message are answered by the version that it found."""
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        _, worker = stage.small_lane(endpoint) if has_columns else stage.small_lane(endpoint, spec=PACKED_ONLY, form=None)
        stage.take(rows(5))
        stage.on.say("retire", servable=M1, call=7)
        await stage.on.heard()
        await until(lambda: worker.consumer.waiting == 5)
        assert "answer" not in stage.on.types()
        stage.settle(worker, [None] * 5)
        answer = await the_answer(stage)
        assert (answer["version"], values(answer)) == (1, [2.0, 4.0, 6.0, 8.0, 10.0])
        await until(lambda: {"type": "answer", "call": 7} in stage.on.told)


@on_loop
async def test_another_version_while_rows_are_made_one_by_one() -> None:
    """With other outputs, too: an answer is of one version."""
    wide = LaneSpec((), (), 0, 256, 1 << 16, 1 << 16)
    async with zmq_stage() as stage:
        _, first = stage.small_lane(await stage.serve(), spec=wide, form=None)
        stage.take(rows(150))  # not all of them are begun in one turn of the loop
        version = Version(ServableId("m", 2), {"metadata": {}, "signatures": [STRINGS.to_wire()]}, stage.on.told.append)
        stage.on.front_end.catalog.add(version)
        _, second = stage.small_lane(version.endpoint("serving_default"), spec=wide, form=None)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (first.consumer.waiting, second.consumer.waiting) == (150, 0)
        stage.settle(first, [None] * 150)
        answer = await the_answer(stage)
        assert (answer["version"], values(answer)) == (1, [2.0 * (1 + index) for index in range(150)])
        stage.nothing_is_left()


@on_loop
async def test_large_outputs_are_frames() -> None:
    wide = LaneSpec((Column("<f4", ()),), (Column("<f4", (8192,)),), ROWS, SLOTS, 1 << 20, 1 << 20)
    async with zmq_stage() as stage:
        declared = signature(spec("x"), outputs=(spec("y", shape=(-1, 8192)),))
        _, worker = stage.small_lane(await stage.serve(declared), spec=wide)
        stage.take(rows(3))
        stage.settle(worker, [None, BAD, None])
        ((_, parts),) = await sent(stage)
        assert [len(part) for part in parts[1:]] == [3 * 8192 * 4]
        answer = await the_answer(stage)
        assert values(answer) == [[value] * 8192 for value in (2.0, 0.0, 6.0)]
        stage.nothing_is_left()


async def sent(stage: ZmqStage) -> Any:
    await stage.answers(1)
    return stage.sent.parts


@on_loop
async def test_in_an_array_with_others() -> None:
    """Each of the array's requests has one answer."""
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(b"\x93" + rows(2) + rows(3, each=2) + asking(b"alone", 7))
        stage.settle(worker, [None] * 3)
        answers = await stage.answers(3)
        assert sorted(str(values(answer)) for answer in answers) == sorted(
            [str([2.0, 4.0]), str((3, next(a["error"] for a in answers if "error" in a))), str([14.0])]
        )
        stage.nothing_is_left()

"""What becomes of messages of every kind: each map has exactly one answer, whatever it says."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from front_end_stage import until
from made_signatures import signature, spec
from worker_side import SLOTS, WorkerSide, on_loop
from zmq_stage import PEER, Fate, Peer, ZmqStage, asking, identifier, pack, settle, values, zmq_stage

from frontend.zmq import dispatcher
from ringserve.errors import Code, ServingError
from ringserve.servable import State
from shm.layout import LaneSpec

BAD = ServingError(Code.INVALID_ARGUMENT, "no")
STOPPING = (14, "The server is stopping")


async def answers_to(stage: ZmqStage, message: bytes, count: int = 1) -> list[dict[str, Any]]:
    stage.take(message)
    found = await stage.answers(count)
    stage.sent.parts.clear()
    return found


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"", "the message ends inside a value"),
        (b"\xc1", "the message is no MessagePack"),
        (b"\x81", "the message ends inside a value"),
        (b"\x80\x80", "the message has 1 bytes behind its end"),
        (b"\x00", "the message is a int; expected a map"),
        (pack("text"), "the message is a str; expected a map"),
        (pack(b"x" * 100_000), "the message is a bin; expected a map"),
        (b"\x81\x01\x01", "the message has a map with other keys"),
        (b"\x90", "the message is an array of 0; expected 1 to 65536 maps"),
        (b"\xdd\xff\xff\xff\xff", "the message is an array of 4294967295; expected 1 to 65536 maps"),
        (b"\x92\x80", "the message is no array of MessagePack maps"),
        (b"\x91\x80\x80", "the message has 1 bytes after its array of maps"),
        (b"\x91\xdf\xff\xff\xff\xff", "the message is no array of MessagePack maps"),
        (b"\x91" * 100_000 + b"\x80", "the message is no array of MessagePack maps"),
        (b"\x81\xa2id" + b"\x91" * 100_000 + b"\x80", "levels"),
    ],
)
@on_loop
async def test_messages_that_can_not_be_read(message: bytes, text: str) -> None:
    async with zmq_stage() as stage:
        (answer,) = await answers_to(stage, message)
        assert (answer["v"], answer["id"], answer["code"], answer["status"]) == (1, None, 3, "INVALID_ARGUMENT")
        assert text in answer["error"]
        assert stage.counted() == {("", "", "", "predict", "ZMQ", "INVALID_ARGUMENT"): 1}
        stage.nothing_is_left()


@pytest.mark.parametrize("call", ["no such", "", [], {}, ["predict"], {"a": 1}, 1, True, b"predict", b"x" * 9000, 1.5])
@on_loop
async def test_calls_that_there_are_not(call: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with zmq_stage() as stage:
        (answer,) = await answers_to(stage, pack({"id": 7, "call": call}))
        assert (answer["id"], answer["code"]) == (7, 12)
        assert "expected one of predict, classify, regress, status, metadata, models, health" in answer["error"]
        assert "0x" not in answer["error"] and len(answer["error"]) < 300
    assert not caplog.records


@on_loop
async def test_no_call_is_a_predict_request() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        for fields in ({}, {"call": None}, {"call": "predict"}):
            stage.take(asking(1, 2.0, **fields))
        stage.settle(worker, [None] * 3)
        assert [values(answer) for answer in await stage.answers(3)] == [[4.0]] * 3
        stage.nothing_is_left()


@pytest.mark.parametrize(
    "sent",
    [None, True, False, 0, -1, 127, 128, 1 << 63, (1 << 64) - 1, -(1 << 63), 0.0, -1e300, "", "id", "\u00e9" * 40,
     "ab\udcff", b"", b"\xff" * 8, b"\xa2id\xc0", b"x" * 5000],
)  # fmt: skip
@on_loop
async def test_ids_come_back_as_they_were(sent: Any) -> None:
    """Alone and in a group, with an answer and with an error."""
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        for count in (1, 5):
            stage.take(*[asking(sent, 2.0)] * count)
            stage.settle(worker, [None] * count)
            found = await stage.answers(count)
            stage.sent.parts.clear()
            assert [pack(answer["id"]) for answer in found] == [pack(sent)] * count
            stage.take(*[asking(sent, 2.0)] * count)
            stage.settle(worker, [BAD] * count)
            found = await stage.answers(count)
            stage.sent.parts.clear()
            assert [pack(answer["id"]) for answer in found] == [pack(sent)] * count
        for fields in (
            {"model": "none"},
            {"inputs": 5},
            {"call": "no such"},
            {"call": "models"},
            {"each": 7},
            {"call": "regress"},
        ):
            (answer,) = await answers_to(stage, pack({"id": sent, "model": "m", **fields}))
            assert pack(answer["id"]) == pack(sent)
        stage.dispatcher.stopping = True
        (answer,) = await answers_to(stage, asking(sent, 2.0))
        assert pack(answer["id"]) == pack(sent)
        stage.nothing_is_left()


@pytest.mark.parametrize("sent", [[], {}, [1], msgpack.ExtType(5, b"a")])
@on_loop
async def test_ids_that_are_none(sent: Any) -> None:
    async with zmq_stage() as stage:
        (answer,) = await answers_to(stage, asking(sent, 2.0))
        assert (answer["id"], answer["code"]) == (None, 3)
        assert "id: " in answer["error"]


@on_loop
async def test_bad_fields_are_named_with_the_id() -> None:
    async with zmq_stage() as stage:
        (answer,) = await answers_to(stage, asking(b"me", 2.0, version="one", outputs=5, timeout_ms=0, v=2, key=1))
        assert answer["id"] == b"me"
        for field in ("version", "outputs", "timeout_ms", "v: 2", "key: 1"):
            assert field in answer["error"]
        assert sum(stage.counted().values()) == 1


@on_loop
async def test_several_requests_in_one_message() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        parts = [
            asking(1, 2.0), pack({"id": 2, "call": "models"}), pack(5), asking(3, 4.0, model="none"), b"\xc0", pack("map"),
            pack({"id": 4, "call": "health", "model": "m"}), asking(5, 6.0, version=1), pack([{"id": 6}]), b"\xc4\x01a",
        ]  # fmt: skip
        stage.take(bytes((0x90 + len(parts),)) + b"".join(parts))
        stage.settle(worker, [None] * 2)
        found = await stage.answers(len(parts))
        by_id = {answer["id"]: answer for answer in found if answer["id"] is not None}
        assert (values(by_id[1]), values(by_id[5])) == ([4.0], [12.0])
        assert by_id[2]["models"] == ["m"]
        assert by_id[3]["code"] == 5
        assert by_id[4]["ready"] is True
        assert [answer["code"] for answer in found if answer["id"] is None] == [3] * 5
        assert all(isinstance(msgpack.unpackb(header), list) for _, (header, *_) in stage.sent.parts)
        assert len(stage.sent.parts) == 2, "what is ready at once is one message"
        stage.nothing_is_left()


@pytest.mark.parametrize("head", [">BH", ">BI"])
@on_loop
async def test_as_many_as_a_message_may_have(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 5000 - (head == ">BH")
    async with zmq_stage() as stage:
        (answer,) = await answers_to(stage, struct.pack(">BI", 0xDD, 65537) + b"\x80" * 65537)
        assert "expected 1 to 65536 maps" in answer["error"]
        stage.sent.parts.clear()
        monkeypatch.setattr(dispatcher, "_MOST_TOGETHER", 5000)  # for the sake of time
        stage.take(struct.pack(head, 0xDC if head == ">BH" else 0xDD, most) + pack({"call": "models", "id": 1}) * most)
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn
        assert stage.dispatcher.count.outstanding > 0, "others have their turn"
        assert len(await stage.answers(most)) == most
        assert len(stage.sent.parts) < 100
        stage.nothing_is_left()


@on_loop
async def test_frames_are_shared() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        frames = [memoryview(np.array(sent, "<f4").tobytes()) for sent in ([1, 2], [3])]
        request = {"model": "m", "inputs": [["x", "float", [2], 0]]}
        other = {"model": "m", "inputs": [["x", "float", [1], 1]]}
        wrong = [{"model": "m", "inputs": [["x", "float", [1], index]]} for index in (0, 2, -1, 1 << 40, True)]
        messages = [{**fields, "id": index} for index, fields in enumerate([request, other, request, *wrong])]
        stage.take(pack(messages), frames=frames)
        stage.take(pack({**other, "id": 99}), frames=frames, peer=Peer(b"other"))
        stage.settle(worker, [None] * 4)
        found = {answer["id"]: values(answer) for answer in await stage.answers(8)}
        assert [found[index] for index in range(3)] == [[2.0, 4.0], [6.0], [2.0, 4.0]]
        assert [found[index][0] for index in range(3, 8)] == [3] * 5
        assert [values(answer) for answer in await stage.answers(1, Peer(b"other"))] == [[6.0]]
        stage.nothing_is_left()


@on_loop
async def test_frames_do_not_make_a_pattern() -> None:
    """What is in a frame is not what a message of the same bytes had in another one."""
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        message = pack({"model": "m", "id": b"12345678", "inputs": [["x", "float", [1], 0]]})
        for value in range(6):
            stage.take(message, frames=[memoryview(np.float32(value).tobytes())])
        stage.settle(worker, [None] * 6)
        assert sorted(values(answer) for answer in await stage.answers(6)) == [[2.0 * value] for value in range(6)]
        stage.nothing_is_left()


@on_loop
async def test_numbers_that_take_more_than_a_request_may() -> None:
    """In frames, which may be the same one many times, and in the message."""
    async with zmq_stage(max_request_bytes=1000) as stage:
        _, worker = stage.small_lane(await stage.serve(signature(spec("a"), spec("x"), outputs=(spec("y"),))))
        frames = [memoryview(bytes(400)), memoryview(bytes(1200))]
        whole = pack({"id": 1, "model": "m", "inputs": [["x", "float", [300], bytes(1200)]]})
        for inputs in ([["x", "float", [300], 1]], [[name, "float", [100], 0] for name in "xyz"]):
            stage.take(pack({"id": 1, "model": "m", "inputs": inputs}), frames=frames)
        stage.take(whole)
        for answer in await stage.answers(3):
            assert answer["code"] == 8 and "higher --max_request_bytes" in answer["error"]
        stage.sent.parts.clear()
        stage.take(pack({"id": 1, "model": "m", "inputs": [[name, "float", [100], 0] for name in "ax"]}), frames=frames)
        stage.settle(worker, [None])
        assert values(await the_only(stage)) == [0.0] * 100


async def the_only(stage: ZmqStage) -> dict[str, Any]:
    (answer,) = await stage.answers(1)
    return answer


@on_loop
async def test_long_strings_are_read_in_a_thread() -> None:
    texts = [b"%d" % index for index in range(40_000)]
    async with zmq_stage() as stage:
        declared = signature(spec("x", "string"), outputs=(spec("y", "string"),))
        large = LaneSpec((), (), 0, SLOTS, 1 << 20, 1 << 20)
        _, worker = stage.small_lane(await stage.serve(declared), spec=large, form=None)
        good = pack({"id": 1, "model": "m", "inputs": [["x", "string", [len(texts)], texts]]})
        bad = pack({"id": 2, "model": "m", "inputs": [["x", "string", [len(texts) + 1], texts]]})
        stage.take(good, bad, good[:-3], good + b"\x80")
        assert not stage.sent.parts
        assert stage.dispatcher.count.outstanding == 4
        await until(lambda: worker.consumer.waiting)
        (tensor,) = worker.consumer.request(0)
        settle(worker, [[tensor]])
        stage.on.bell.ring()
        found = {answer["id"] or answer["error"]: answer for answer in await stage.answers(4)}
        assert values(found[1]) == texts
        assert "expected an array of 40001 strings" in found[2]["error"]
        assert any("ends inside a value" in str(name) for name in found)
        assert any("bytes behind its end" in str(name) for name in found)
        assert stage.dispatcher.count.outstanding == 0 and stage.holders() == 0


@on_loop
async def test_questions() -> None:
    async with zmq_stage() as stage:
        await stage.serve()
        stage.on.say("status", model="m", version=1, state=int(State.AVAILABLE), code=0, message="")
        stage.on.say("status", model="m", version=3, state=int(State.END), code=5, message="gone")
        stage.on.say("status", model="n", version=2, state=int(State.LOADING), code=0, message="")
        await stage.on.heard()

        async def asked(call: str, **fields: Any) -> dict[str, Any]:
            (answer,) = await answers_to(stage, pack({"id": "q", "call": call, **fields}))
            assert (answer.pop("v"), answer.pop("id")) == (1, "q")
            return answer

        one = {"version": 1, "state": 30, "code": 0, "error": ""}
        three = {"version": 3, "state": 50, "code": 5, "error": "gone"}
        assert await asked("status", model="m") == {"model": "m", "versions": [three, one]}
        assert await asked("status", model="m", version=1) == {"model": "m", "versions": [one]}
        assert (await asked("status", model="m", version=2))["error"] == "Could not find version 2 of model m"
        assert (await asked("status", model="x"))["error"] == "Could not find any versions of model x"
        assert (await asked("status"))["error"] == "The message has bad fields: model: nothing; expected the model's name"
        tensor = [1, [-1]]
        signatures = {
            "serving_default": {
                "method": "tensorflow/serving/predict",
                "inputs": {"x": ["x:0", *tensor]},
                "outputs": {"y": ["y:0", *tensor]},
            }
        }
        assert await asked("metadata", model="m") == {"model": "m", "version": 1, "signatures": signatures}
        assert await asked("metadata", model="m", version=1) == {"model": "m", "version": 1, "signatures": signatures}
        assert (await asked("metadata", model="m", version=2))["code"] == 5
        assert (await asked("metadata", model="m", label="none"))["code"] == 3
        assert (await asked("metadata", model="m", label="none", version=1))["code"] == 3
        assert await asked("models") == {"models": ["m", "n"]}
        assert await asked("health") == {"ready": False}
        assert await asked("health", model="m") == {"ready": True}
        assert await asked("health", model="n") == {"ready": False}
        assert await asked("health", model="x") == {"ready": False}
        bad: Any
        for bad in (5, b"m", ["m"], {"m": 1}, b"m" * 9000):
            answer = await asked("status", model=bad)
            assert answer["code"] == 3 and "model: " in answer["error"]
            assert "0x" not in answer["error"] and len(answer["error"]) < 200
        for bad in ("1", -1, 1 << 63, True, 1.0, "x" * 100_000):
            answer = await asked("status", model="m", version=bad)
            assert answer["code"] == 3 and "version: " in answer["error"] and len(answer["error"]) < 200
        assert stage.holders() == 0
        counted = stage.counted()
        assert {labels[:5] for labels in counted} == {
            ("", "", "", api, "ZMQ") for api in ("status", "metadata", "models", "health")
        }, "they are no predict requests"
        assert counted["", "", "", "metadata", "ZMQ", "OK"] == 2
        assert counted["", "", "", "status", "ZMQ", "NOT_FOUND"] == 2


@on_loop
async def test_while_it_stops_only_what_has_begun_is_answered() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(*[asking(identifier(n), 1.0) for n in range(6)])
        stage.dispatcher.stopping = True
        ended: list[int] = []
        stage.dispatcher.count.none_left = lambda: ended.append(len(stage.sent.answers()))
        stage.take(
            asking(b"late", 1.0), pack([{"id": "a"}, {"id": "b", "call": "models"}]), pack({"id": 1, "call": "health"})
        )
        stage.take(b"\xc1")
        refused = await stage.answers(5)
        assert {answer["id"] for answer in refused} == {b"late", "a", "b", 1, None}
        assert [values(answer) for answer in refused] == [STOPPING] * 5
        stage.settle(worker, [None] * 6)
        await stage.answers(11)
        assert ended[-1] == 11
        stage.nothing_is_left()


CALLS: list[Any] = ["predict", "classify", "regress", "status", "metadata", "models", "health", None, "no", 5, [], {}]
SCALARS = [None, True, False, 0, 1, 2, 7, -1, 1 << 40, 0.5, "", "m", "x", "y", "none", b"", b"12345678", b"\xa2id"]


def a_field(chance: random.Random, name: str) -> Any:
    """Mostly one that means something."""
    if chance.random() < 0.1:
        return chance.choice([*SCALARS, [], {}, [1, [2]], {"a": b"1"}, b"x" * 5000, "y" * 300, list(range(400))])
    if name == "inputs":
        return [an_input(chance) for _ in range(chance.choice([0, 1, 1, 1, 1, 2]))]
    choices: dict[str, list[Any]] = {
        "id": [*SCALARS, b"abcdefgh", b"ABCDEFGH"], "call": CALLS, "model": ["m"] * 9 + ["none", ""], "v": [1] * 9 + [2],
        "version": [None, 1, 1, 1, 2, 99], "label": [None, None, "", "stable", "none"],
        "signature": ["", "serving_default", "no"], "outputs": [[], ["y"], ["y", "y"], ["no"]],
        "timeout_ms": [1, 50, 30_000, 0, -1], "key": ["", "a", "b"],
        "each": [True, True, False, 1, 2, 3, -1, "x"],
        "examples": [[], [b""], [b"\x0a\x00", b"junk"], ["text"], [b"x" * 3000]],
        "context": [None, b"", b"junk", "text"], "more": SCALARS,
    }  # fmt: skip
    return chance.choice(choices[name])


def an_input(chance: random.Random) -> Any:
    if chance.random() < 0.05:
        return chance.choice([None, [], ["x"], ["x", "float", [1], b"1234", 5], 7, {"x": 1}])
    dtype = chance.choice(["float"] * 6 + ["int64", "string", "bool", "bfloat16", "none", "resource"])
    shape: Any = chance.choice([[1], [1], [2], [3], [4], [1, 1], [2, 2], [0], [], [-1], [1 << 40], [1] * 70, "x"])
    count = int(np.prod(shape)) if shape != "x" and len(shape) < 9 and shape != [1 << 40] else 1
    if dtype == "string":
        data: Any = [chance.choice([b"a", "b", 5]) for _ in range(max(count, 0))]
    else:
        size = {"int64": 8, "bool": 1, "bfloat16": 2}.get(dtype, 4)
        data = chance.randbytes(max(count, 0) * size + chance.choice([0] * 9 + [1, -1]) % 9)
    if chance.random() < 0.1:
        data = chance.choice([0, 1, 2, -1, None, "text", []])
    return [chance.choice(["x"] * 6 + ["y", "", "id"]), dtype, shape, data]


NAMES = ["id", "call", "model", "v", "version", "label", "signature", "outputs", "timeout_ms", "key", "each", "examples",
         "context", "more", "inputs"]  # fmt: skip


def a_map(chance: random.Random) -> dict[str, Any]:
    names = ["model", "id", "inputs"] if chance.random() < 0.6 else []
    names += chance.sample(NAMES, chance.choice([0, 0, 1, 2, 4, 10]))
    return {name: a_field(chance, name) for name in dict.fromkeys(names)}


def a_message(chance: random.Random) -> bytes:
    if chance.random() < 0.25:
        message = pack([a_map(chance) for _ in range(chance.choice([0, 1, 2, 5, 17, 40]))])
    else:
        message = pack(a_map(chance))
    if chance.random() < 0.25:
        changed = bytearray(message)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed) + 1)
            what = chance.randrange(4)
            if what == 0:
                changed[at : at + 1] = chance.randbytes(1)
            elif what == 1:
                del changed[at : at + chance.randrange(4)]
            elif what == 2:
                changed[at:at] = chance.randbytes(chance.randrange(4))
            else:
                changed[at:at] = changed[: chance.randrange(8)]
        message = bytes(changed)
    return message


def requests_in(message: bytes) -> int:
    """How many answers it is to have: as many as an array has elements, if it is one that can be read, else one."""
    if not message or not (0x90 <= message[0] < 0xA0 or message[0] in (0xDC, 0xDD)):
        return 1
    unpacker = msgpack.Unpacker()
    unpacker.feed(message)
    try:
        count: int = unpacker.read_array_header()
        for _ in range(count):
            unpacker.skip()
    except (ValueError, msgpack.UnpackException):
        return 1
    return count if 0 < count <= 65536 and unpacker.tell() == len(message) else 1


def answer_all(stage: ZmqStage, worker: WorkerSide, chance: random.Random) -> None:
    """What waits is completed, with errors where this worker can't compute."""
    while worker.consumer.waiting:
        fates: list[Fate] = []
        for index in range(chance.randint(1, worker.consumer.waiting)):
            is_packed = worker.consumer.describe(worker.consumer.taken + index)[3] & 1
            fates.append(BAD if is_packed or chance.random() < 0.2 else None)
        settle(worker, fates)
    stage.on.bell.ring()


@pytest.mark.parametrize("seed", range(8))
@on_loop
async def test_every_map_gets_one_answer(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    chance = random.Random(seed)
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        workers = [stage.small_lane(endpoint, f"cpu:{index}")[1] for index in range(2)]
        stage.on.say("routing", model="m", labels={"stable": [[1, 1.0]]}, shadows=[])
        await stage.on.heard()
        wanted = 0
        for _ in range(150):
            burst = [a_message(chance) for _ in range(chance.choice([1, 1, 2, 6]))]
            if chance.random() < 0.4:
                burst += burst[:1] * chance.choice([1, 5, 9])
            frames = [memoryview(b"1234")] if chance.random() < 0.1 else []
            stage.take(*burst, frames=frames)
            wanted += sum(map(requests_in, burst))
            if chance.random() < 0.5:
                answer_all(stage, workers[chance.randrange(2)], chance)
            await stage.on.heard()

        def is_done() -> bool:
            for worker in workers:
                answer_all(stage, worker, chance)
            return stage.dispatcher.count.outstanding == 0 and stage.on.front_end.idle

        await until(is_done)
        found = await stage.answers(wanted)
        codes = {answer.get("code", 0) for answer in found}
        assert codes >= {0, 3, 5}
        assert 13 not in codes, [answer for answer in found if answer.get("code") == 13][:3]
        stage.nothing_is_left()
    assert not caplog.records, [record.getMessage() for record in caplog.records]


@on_loop
async def test_clients_that_do_not_take_their_answers_are_refused() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        stage.take(asking(identifier(10), 0.0))
        stage.settle(worker, [None])
        await stage.answers(1)
        stage.sent.parts.clear()
        stage.sent.behind.add(PEER.identity)
        stage.take(asking(1, 1.0), pack([{"id": 2, "call": "models"}, {"id": 3}]))
        alike = [asking(identifier(number), 1.0) for number in range(10, 18)]
        stage.take(b"\x94" + b"".join(alike[:4]))
        stage.take(*alike[4:])
        stage.take(asking(4, 2.0), peer=Peer(b"other"))
        refused = await stage.answers(11)
        assert {answer["id"]: answer["code"] for answer in refused} == dict.fromkeys(
            (1, 2, 3, *map(identifier, range(10, 18))), 8
        )
        stage.sent.parts.clear()
        assert "does not take the answers" in refused[0]["error"]
        stage.settle(worker, [None])
        assert [values(answer) for answer in await stage.answers(1, Peer(b"other"))] == [[4.0]]
        stage.sent.behind.clear()
        stage.take(asking(5, 3.0))
        stage.settle(worker, [None])
        assert values((await stage.answers(1))[-1]) == [6.0]
        stage.nothing_is_left()


@on_loop
async def test_answers_go_where_their_requests_came_from() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        peers = [Peer(b"a"), Peer(b"b", True), PEER, Peer(b"", True)]
        for number in range(SLOTS):
            stage.take(asking(number, number), peer=peers[number % 4])
        stage.settle(worker, [None] * SLOTS)
        for index, peer in enumerate(peers):
            found = await stage.answers(SLOTS // 4, peer)
            assert {answer["id"]: values(answer) for answer in found} == {
                number: [2.0 * number] for number in range(index, SLOTS, 4)
            }

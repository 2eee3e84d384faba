"""Requests that share a way: resolved once, put into lanes in parts, and every handle, slot and count accounted for."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from front_end_stage import M1, until
from made_signatures import signature, spec
from worker_side import SLOTS, on_loop
from zmq_stage import Fate, ZmqStage, settle, zmq_stage

from frontend.catalog import ModelSpec, Version
from frontend.row_group import RowGroup
from frontend.tensors import Array
from ringserve.errors import Code, ServingError
from ringserve.signature import Signature
from shm.packed import PackedTensor

FORM = ((1, ()),)
BAD = ServingError(Code.INVALID_ARGUMENT, "no")
WAY = ("m", "1", "serving_default", "predict", "ZMQ")


def find(version: Version) -> Signature:
    return version.signatures["serving_default"]


class Owner:
    """Of a group on a stage."""

    def __init__(self, stage: ZmqStage, timeout: int = 0, began: int | None = None, model: str = "m") -> None:
        began = time.monotonic_ns() if began is None else began
        self.group = RowGroup(stage.on.front_end, ModelSpec(model), "predict", "ZMQ", timeout, began)
        self.told = 0

    def done(self) -> None:
        self.told += 1

    def submit(self, count: int, rows_each: int = 1) -> None:
        self.group.submit(FORM, [np.arange(count * rows_each, dtype="<f4")], rows_each, self.done)

    def answers(self) -> tuple[list[float], dict[int, str]]:
        """The numbers, and the errors' texts."""
        (array,), elsewhere = self.group.answers()
        texts = {index: found.message if isinstance(found, ServingError) else "packed" for index, found in elsewhere.items()}
        return array.tolist(), texts


@on_loop
async def test_one_part_is_a_view_of_the_lane() -> None:
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve())
        owner = Owner(stage)
        assert owner.group.resolve(find).name == "serving_default"
        assert owner.group.servable == M1 and stage.holders() == 1
        assert owner.group.can_be_together(FORM, 1) and owner.group.can_be_together(FORM, 16)
        assert not owner.group.can_be_together(FORM, 17) and not owner.group.can_be_together(FORM, 0)
        assert not owner.group.can_be_together(((1, (2,)),), 1)
        owner.submit(4)
        assert owner.told == 0
        settle(worker, [None, BAD, None])
        lane.collect()
        assert owner.told == 0, "not all of them are completed"
        settle(worker, [[PackedTensor(1, (), b"1234")]])
        lane.collect()
        assert owner.told == 1
        (array,), elsewhere = owner.group.answers()
        assert np.shares_memory(array, lane.producer.lane.outputs[0])
        assert array[[0, 2]].tolist() == [0.0, 4.0]
        assert sorted(elsewhere) == [1, 3]
        assert lane.producer.released == 0 and stage.holders() == 1
        owner.group.close()
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 3, (*WAY, "INVALID_ARGUMENT"): 1}


@on_loop
async def test_several_parts_and_some_that_find_no_room() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        lanes = [stage.small_lane(endpoint, f"cpu:{index}") for index in range(2)]
        owner = Owner(stage)
        owner.group.resolve(find)
        owner.submit(2 * SLOTS + 3)
        assert owner.told == 0
        for index, (lane, worker) in enumerate(reversed(lanes)):
            settle(worker, [None] * SLOTS)
            lane.collect()
            assert owner.told == index
        numbers, texts = owner.answers()
        assert numbers == [2.0 * number for number in range(2 * SLOTS)] + [0.0] * 3
        assert sorted(texts) == [2 * SLOTS, 2 * SLOTS + 1, 2 * SLOTS + 2]
        assert set(texts.values()) == {"The batch scheduling queue to which this task was submitted is full"}
        owner.group.close()
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): 2 * SLOTS, (*WAY, "UNAVAILABLE"): 3}


@on_loop
async def test_none_finds_room() -> None:
    async with zmq_stage() as stage:
        _, worker = stage.small_lane(await stage.serve())
        first, second = Owner(stage), Owner(stage)
        for owner in (first, second):
            owner.group.resolve(find)
            owner.submit(SLOTS)
        assert (first.told, second.told) == (0, 1), "at once"
        with pytest.raises(ServingError) as caught:
            second.group.answers()
        assert caught.value.code is Code.UNAVAILABLE
        second.group.close(caught.value.code)
        stage.settle(worker, [None] * SLOTS)
        await until(lambda: first.told)
        first.answers()
        first.group.close()
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): SLOTS, (*WAY, "UNAVAILABLE"): SLOTS}


@on_loop
async def test_a_time_that_was_over_before() -> None:
    async with zmq_stage() as stage:
        lane, _ = stage.small_lane(await stage.serve())
        owner = Owner(stage, timeout=1000, began=time.monotonic_ns() - 1_000_000)
        owner.group.resolve(find)
        owner.submit(3)
        assert owner.told == 1 and lane.idle
        with pytest.raises(ServingError) as caught:
            owner.group.answers()
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        owner.group.close(caught.value.code)
        stage.nothing_is_left()


@on_loop
async def test_a_time_that_ends_between_two_parts() -> None:
    """The part that is completed is answered; what comes after the other one is not, even if it is completed too."""
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        (one, first), (two, second) = (stage.small_lane(endpoint, f"cpu:{index}") for index in range(2))
        owner = Owner(stage, timeout=60 * 10**9)
        owner.group.resolve(find)
        owner.submit(2 * SLOTS)
        settle(first, [None] * SLOTS)
        one.collect()
        two.expire(1 << 62)
        assert owner.told == 1
        numbers, texts = owner.answers()
        assert numbers == [2.0 * number for number in range(SLOTS)] + [0.0] * SLOTS
        assert sorted(texts) == list(range(SLOTS, 2 * SLOTS))
        owner.group.close()
        assert stage.holders() == 0 and one.idle and not two.idle
        settle(second, [None] * SLOTS)
        two.collect()
        assert owner.told == 1, "once"
        stage.nothing_is_left()
        assert stage.counted() == {(*WAY, "OK"): SLOTS, (*WAY, "DEADLINE_EXCEEDED"): SLOTS}


@on_loop
async def test_completed_while_the_other_part_runs_out_of_time() -> None:
    async with zmq_stage() as stage:
        endpoint = await stage.serve()
        (one, first), (two, second) = (stage.small_lane(endpoint, f"cpu:{index}") for index in range(2))
        owner = Owner(stage, timeout=60 * 10**9)
        owner.group.resolve(find)
        owner.submit(2 * SLOTS)
        one.expire(1 << 62)
        assert owner.told == 0
        settle(second, [None] * SLOTS)
        two.collect()
        assert owner.told == 1
        settle(first, [None] * SLOTS)
        one.collect()  # before anybody has looked
        numbers, texts = owner.answers()
        assert numbers == [2.0 * number for number in range(2 * SLOTS)] and not texts
        owner.group.close()
        stage.nothing_is_left()


@on_loop
async def test_what_nobody_foresaw_while_it_is_submitted(caplog: pytest.LogCaptureFixture) -> None:
    """Those that are in a lane are waited for; nobody hears twice."""
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve())
        owner = Owner(stage)
        owner.group.resolve(find)
        wrong: list[Array] = [np.zeros((4, 7), "<f4")]
        owner.group.submit(FORM, wrong, 1, owner.done)
        assert owner.told == 1 and lane.idle and worker.consumer.waiting == 0
        with pytest.raises(ServingError) as caught:
            owner.group.answers()
        assert caught.value.code is Code.INTERNAL
        owner.group.close(Code.INTERNAL)
        stage.nothing_is_left()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("model", ["m", "none"])
@on_loop
async def test_what_can_not_be_resolved(model: str) -> None:
    async with zmq_stage() as stage:
        stage.small_lane(await stage.serve())

        def refuse(version: Version) -> Signature:
            raise BAD

        owner = Owner(stage, model=model)
        with pytest.raises(ServingError) as caught:
            owner.group.resolve(refuse)
        owner.group.close(caught.value.code)
        owner.group.close(caught.value.code)
        stage.nothing_is_left()
        assert sum(stage.counted().values()) == 2


@on_loop
async def test_dropped_and_handed_over() -> None:
    async with zmq_stage() as stage:
        stage.small_lane(await stage.serve())
        for _ in range(2):
            owner = Owner(stage)
            owner.group.resolve(find)
            owner.group.drop()
            owner.group.drop()
            stage.nothing_is_left()
        owner = Owner(stage)
        owner.group.resolve(find)
        handle = owner.group.hand_over()
        owner.group.drop()
        assert stage.holders() == 1
        handle.release()
        stage.nothing_is_left()
        assert not stage.counted()


@on_loop
async def test_times_are_those_of_the_batches() -> None:
    async with zmq_stage() as stage:
        lane, worker = stage.small_lane(await stage.serve())
        owner = Owner(stage)
        owner.group.resolve(find)
        owner.submit(3)
        fates: list[Fate] = [None] * 3
        settle(worker, fates)
        lane.collect()
        owner.answers()
        owner.group.close()
        families = {family for family, _, _ in stage.on.counters.read()}
        assert families >= {"requests", "queue", "run", "duration"}
        for family in ("queue", "run", "duration"):
            (words,) = [words for name, _, words in stage.on.counters.read() if name == family]
            assert sum(words[:-1]) == 3
        await asyncio.sleep(0)


@on_loop
async def test_a_form_of_several_columns() -> None:
    async with zmq_stage() as stage:
        declared = signature(spec("a"), spec("x"), outputs=(spec("y"),))
        await stage.serve(declared)
        owner = Owner(stage)
        owner.group.resolve(find)
        assert not owner.group.can_be_together(FORM * 2, 1), "there is no lane yet"
        owner.group.drop()
        stage.nothing_is_left()

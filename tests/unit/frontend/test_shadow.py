"""Shadows: which requests are copied, that these notice nothing of it, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from made_signatures import signature, spec
from worker_side import RING, SLOTS, SPEC, WorkerSide, lane_pair, numbers, on_loop

from frontend.catalog import Catalog, ModelSpec, Version
from frontend.endpoint import Endpoint
from frontend.pending import Pending
from frontend.shadow import Shadows
from frontend.tensors import Tensor
from ringserve.channel import Message
from ringserve.errors import Code
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.tensor import STRING
from shm.layout import LOW, LaneSpec
from shm.packed import PackedTensor, pack_strings

DECLARED = signature(spec("x"), outputs=(spec("y"),))
PACKED = LaneSpec((), (), 0, 128, 4 * RING, 4 * RING)
SECOND = 1_000_000_000


class Rig:
    """Versions 1 and 2 of the model m, each with a lane whose worker the test plays; 2 is a shadow."""

    def __init__(self, *shadows: tuple[int, float], chances: Iterable[float] | None = None, lanes: LaneSpec = SPEC) -> None:
        self.catalog = Catalog()
        self.workers: dict[int, WorkerSide] = {}
        self.asked: list[Message] = []  # for lanes
        self.told: list[Message] = []  # of counts
        drawn = iter(lambda: 0.999, None) if chances is None else iter(chances)
        self.shadows = Shadows(self.catalog, self._submit, self.told.append, lambda: next(drawn))
        self.shadows.set_rates("m", shadows or [(2, 1.0)])
        for number in (1, 2):
            self.add(number, lanes=lanes)

    def add(self, number: int, declared: Signature = DECLARED, lanes: LaneSpec | None = SPEC) -> None:
        message = {"metadata": {}, "signatures": [declared.to_wire()]}
        version = Version(ServableId("m", number), message, self.asked.append)
        self.catalog.add(version)
        if lanes is not None:
            lane, self.workers[number] = lane_pair(spec=lanes)
            version.endpoint(declared.name).add(lane, None, ((1, ()),) if lanes.inputs else None)

    @staticmethod
    def _submit(
        endpoint: Endpoint, inputs: Sequence[Tensor], timeout: int, copied: bool = True, *, low: bool = False
    ) -> Pending:
        assert not copied, "a copy is not copied again"
        return endpoint.submit(inputs, timeout, low=low)

    def endpoint(self, number: int) -> Endpoint:
        version = self.catalog.find(ServableId("m", number))
        assert version is not None
        return version.endpoint(DEFAULT_SIGNATURE)

    def ask(self, tensor: Tensor | None = None, number: int = 1, timeout: int = 0) -> asyncio.Task[Any]:
        """A request to this version, as a front end serves it; submitted before this returns."""
        endpoint, inputs = self.endpoint(number), [tensor or numbers(1, 2)]
        pending = endpoint.submit(inputs, timeout)
        self.shadows.copy(endpoint, inputs, pending, timeout)

        async def answer() -> Any:
            try:
                await pending.future
                (found,) = endpoint.answer(pending)
                return found.data if isinstance(found.data, list) else found.data.tolist()
            finally:
                pending.done()

        return asyncio.create_task(answer())

    async def collect(self, number: int) -> None:
        """The doorbell has rung: those who wait for this version's answers are told."""
        await asyncio.sleep(0)  # they wait
        for lane in self.endpoint(number).lanes:
            lane.collect()
        for _ in range(3):
            await asyncio.sleep(0)

    async def answer(self, number: int, tensors: Sequence[PackedTensor] | None = None) -> None:
        self.workers[number].answer(tensors=tensors)
        await self.collect(number)

    def waiting(self, number: int) -> int:
        return self.workers[number].consumer.waiting

    def holders(self, number: int) -> int:
        with self.catalog.servable_handle(ModelSpec("m", number)) as _:
            handle = self.catalog._loaded[ServableId("m", number)]
            return handle.holders - 1

    def counts(self, number: int = 2) -> list[int]:
        """Compared, differed, failed, dropped."""
        self.shadows._reported = 0
        self.shadows.report(SECOND)
        for message in reversed(self.told):
            if message["version"] == number:
                assert message == {**message, "type": "shadow_counts", "model": "m"}
                return [message[what] for what in ("compared", "differed", "failed", "dropped")]
        return [0, 0, 0, 0]


def packed(*values: float) -> list[PackedTensor]:
    return [PackedTensor(1, (len(values),), np.array(values, "<f4").tobytes())]


@pytest.mark.parametrize("first", [1, 2])
@on_loop
async def test_alike(first: int) -> None:
    on = Rig()
    request = on.ask()
    assert (on.waiting(1), on.waiting(2)) == (1, 1)
    assert on.workers[2].consumer.lane.inputs[0][:2].tolist() == [1, 2]
    await on.answer(first)
    assert on.counts() == [0, 0, 0, 0]
    assert request.done() == (first == 1), "nobody waits for the shadow"
    await on.answer(3 - first)
    assert await request == [2, 4]
    assert on.counts() == [1, 0, 0, 0]
    assert all(lane.idle for number in (1, 2) for lane in on.endpoint(number).lanes)
    assert on.holders(2) == 0


@pytest.mark.parametrize("first", [1, 2])
@on_loop
async def test_not_alike(first: int) -> None:
    on = Rig()
    request = on.ask()
    tensors = {1: None, 2: packed(2, 4.1)}
    await on.answer(first, tensors[first])
    await on.answer(3 - first, tensors[3 - first])
    assert await request == [2, 4]
    assert on.counts() == [1, 1, 0, 0]


@on_loop
async def test_the_answer_is_kept_before_its_place_is_another_requests() -> None:
    """The shadow answers long after the request's slot was used again, for other numbers."""
    on = Rig()
    request = on.ask(numbers(1, 2))
    await on.answer(1)
    assert await request == [2, 4]
    on.shadows.set_rates("m", [])
    for _ in range(3 * SLOTS):
        request = on.ask(numbers(7, 7))
        await on.answer(1)
        assert await request == [14, 14]
    await on.answer(2)
    assert on.counts() == [1, 0, 0, 0]


@on_loop
async def test_texts_and_large_answers() -> None:
    on = Rig(lanes=PACKED)
    text = [PackedTensor(7, (2,), pack_strings([b"a", b"bc"]))]
    for tensors, compared in ((text, [1, 0, 0, 0]), (packed(1), [2, 1, 0, 0])):
        request = on.ask(Tensor(STRING, (1,), [b"x"]))
        await on.answer(1, text)
        await on.answer(2, tensors)
        assert await request == [b"a", b"bc"]
        assert on.counts() == compared


@pytest.mark.parametrize("alike", [True, False])
@on_loop
async def test_large_answers_are_compared_elsewhere(alike: bool) -> None:
    size = 1 << 17  # numbers
    on = Rig(lanes=LaneSpec((), (), 0, SLOTS, RING, size * 4 + RING))
    request = on.ask()
    await on.answer(1, [PackedTensor(1, (size,), np.zeros(size, "<f4").tobytes())])
    await on.answer(2, [PackedTensor(1, (size,), np.full(size, 0 if alike else 1, "<f4").tobytes())])
    assert len(await request) == size
    while on.counts() == [0, 0, 0, 0]:
        await asyncio.sleep(0)
    assert on.counts() == [1, int(not alike), 0, 0]


@on_loop
async def test_the_share_that_is_copied() -> None:
    on = Rig((2, 0.25), chances=[0.0, 0.25, 0.2499, 0.9, 0.1], lanes=PACKED)
    copied = []
    for _ in range(5):
        before = on.waiting(2)
        on.ask()
        copied.append(on.waiting(2) - before)
    assert copied == [1, 0, 1, 0, 1]


@on_loop
async def test_whose_requests_are_copied() -> None:
    """Those to other versions of the same model."""
    on = Rig((2, 1.0), (3, 1.0))
    on.add(3)
    on.ask(number=1)
    assert [on.waiting(number) for number in (1, 2, 3)] == [1, 1, 1]
    on.ask(number=2)
    assert [on.waiting(number) for number in (1, 2, 3)] == [1, 2, 2]
    on.shadows.set_rates("m", [])
    on.shadows.set_rates("n", [(2, 1.0)])
    on.ask(number=1)
    assert [on.waiting(number) for number in (1, 2, 3)] == [2, 2, 2]


@on_loop
async def test_the_shadow_fails() -> None:
    on = Rig()
    request = on.ask()
    await on.answer(1)
    on.workers[2].fail(Code.INTERNAL, b"broken")
    await on.collect(2)
    assert await request == [2, 4]
    assert on.counts() == [0, 0, 1, 0]
    assert on.holders(2) == 0


@on_loop
async def test_the_shadow_is_late() -> None:
    on = Rig()
    request = on.ask(timeout=SECOND)
    await on.answer(1)
    assert await request == [2, 4]
    for lane in on.endpoint(2).lanes:
        lane.expire(1 << 62)
    await asyncio.sleep(0)
    assert on.counts() == [0, 0, 1, 0]
    assert on.holders(2) == 0
    assert on.workers[2].abandoned(0)


@pytest.mark.parametrize("shadow_fails", [True, False])
@on_loop
async def test_the_request_fails(shadow_fails: bool) -> None:
    """There is nothing to compare with, whatever the shadow says."""
    on = Rig()
    request = on.ask()
    on.workers[1].fail(Code.INVALID_ARGUMENT, b"your fault")
    await on.collect(1)
    if shadow_fails:
        on.workers[2].fail(Code.INVALID_ARGUMENT, b"your fault")
    await (on.collect(2) if shadow_fails else on.answer(2))
    assert request.exception() is not None
    assert on.counts() == [0, 0, 0, 1]


@pytest.mark.parametrize("first", [1, 2])
@on_loop
async def test_the_client_goes_away(first: int) -> None:
    on = Rig()
    request = on.ask()
    await asyncio.sleep(0)
    if first == 2:
        await on.answer(2)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    if first == 1:
        await on.answer(2)
    assert on.counts() == [0, 0, 0, 1]
    assert on.holders(2) == 0
    await on.answer(1)
    assert on.endpoint(1).base[0].idle


@on_loop
async def test_a_full_lane_drops_copies_and_no_requests() -> None:
    """It is full for copies when they have half of it."""
    on = Rig()
    most = SLOTS // 2
    requests = []
    for _ in range(most + 3):
        requests.append(on.ask())
        await on.answer(1)
    assert [await request for request in requests] == [[2, 4]] * (most + 3)
    assert on.counts() == [0, 0, 0, 3]
    own = on.ask(number=2)
    assert on.waiting(2) == most + 1
    on.workers[2].answer(most + 1)
    await on.collect(2)
    assert await own == [2, 4]
    assert on.counts() == [most, 0, 0, 3]


@on_loop
async def test_copies_are_of_low_priority() -> None:
    on = Rig()
    request = on.ask()
    assert [on.workers[number].flags() for number in (1, 2)] == [[0], [LOW]]
    for number in (1, 2):
        await on.answer(number)
    await request


@on_loop
async def test_copies_are_bounded() -> None:
    on = Rig(lanes=PACKED)
    requests = [on.ask() for _ in range(70)]
    assert (on.waiting(1), on.waiting(2)) == (70, 64)
    assert on.counts() == [0, 0, 0, 6]
    for number in (1, 2):
        on.workers[number].answer(1, packed(1))
        await on.collect(number)
    requests.append(on.ask())
    assert on.waiting(2) == 64
    for number in (1, 2):
        on.workers[number].answer(on.waiting(number), packed(1))
        await on.collect(number)
    assert await asyncio.gather(*requests) == [[1.0]] * 71
    assert on.counts() == [65, 0, 0, 6]


@on_loop
async def test_too_large_for_the_shadow() -> None:
    on = Rig(lanes=PACKED)
    on.add(2, lanes=LaneSpec((), (), 0, SLOTS, 64, 64))
    request = on.ask()
    await on.answer(1, packed(3))
    assert await request == [3]
    assert on.counts() == [0, 0, 1, 0]
    assert on.holders(2) == 0


@on_loop
async def test_no_lane_yet() -> None:
    """It is made in the background; not again and again where it can't be."""
    on = Rig()
    on.add(2, lanes=None)
    for _ in range(3):
        request = on.ask()
        await on.answer(1)
        assert await request == [2, 4]
    assert [message["type"] for message in on.asked] == ["want_lane"]
    assert on.counts() == [0, 0, 0, 3]
    lane, on.workers[2] = lane_pair()
    on.endpoint(2).add(lane, None, ((1, ()),))
    on.ask()
    assert on.waiting(2) == 1
    assert on.holders(2) == 1


@pytest.mark.parametrize(
    "other",
    [
        signature(spec("z"), outputs=(spec("y"),)),
        signature(spec("x", "int32"), outputs=(spec("y"),)),
        signature(spec("x", shape=(-1, 2)), outputs=(spec("y"),)),
        signature(spec("x"), spec("z"), outputs=(spec("y"),)),
        signature(spec("x"), name="other"),
    ],
    ids=["name", "type", "shape", "one more", "signature"],
)
@on_loop
async def test_a_shadow_that_takes_other_requests(other: Signature) -> None:
    on = Rig()
    on.add(2, other)
    request = on.ask()
    await on.answer(1)
    assert await request == [2, 4]
    assert on.waiting(2) == 0
    assert on.counts() == [0, 0, 0, 1]
    assert on.holders(2) == 0


@on_loop
async def test_a_shadow_that_is_not_loaded() -> None:
    on = Rig((2, 1.0), (9, 1.0))
    on.catalog.retire(ServableId("m", 2))
    request = on.ask()
    await on.answer(1)
    assert await request == [2, 4]
    assert on.counts(2) == on.counts(9) == [0, 0, 0, 1]


@on_loop
async def test_what_should_never_be_fails_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on = Rig()
    monkeypatch.setattr(on.endpoint(2), "submit", lambda *_, **__: 1 / 0)
    request = on.ask()
    await on.answer(1)
    assert await request == [2, 4]
    assert on.counts() == [0, 0, 1, 0]
    assert on.holders(2) == 0
    assert "ZeroDivisionError" in caplog.text


@on_loop
async def test_a_retiring_shadow_waits_for_its_copies() -> None:
    on = Rig()
    freed: list[int] = []
    request = on.ask()
    handle = on.catalog.retire(ServableId("m", 2))
    assert handle is not None
    handle.retire(lambda: freed.append(2))
    assert freed == []
    await on.answer(2)
    assert freed == [2], "not for the request as well"
    await on.answer(1)
    assert await request == [2, 4]
    assert on.counts() == [1, 0, 0, 0]


@on_loop
async def test_counts_are_told_once_a_second_when_they_change() -> None:
    on = Rig()
    on.shadows.report(5 * SECOND)
    assert on.told == []
    on.catalog.retire(ServableId("m", 2))
    on.ask()
    on.shadows.report(5 * SECOND)
    assert [message["dropped"] for message in on.told] == [1]
    on.ask()
    on.shadows.report(6 * SECOND - 1)
    assert len(on.told) == 1
    on.ask()
    on.shadows.report(6 * SECOND)
    on.shadows.report(9 * SECOND)
    assert [message["dropped"] for message in on.told] == [1, 3]

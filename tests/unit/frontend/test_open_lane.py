"""A lane's front-end side: completion, deadlines, requests given up, and slots that go back in order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_side import RING, ROWS, SLOTS, array, lane_pair, on_loop

from frontend.open_lane import OpenLane
from frontend.pending import Pending
from ringserve.errors import Code, ServingError
from shm import layout
from shm.layout import LOW, PACKED
from shm.packed import PackedTensor


def submit(lane: OpenLane, rows: int = 1, deadline: int = 0) -> Pending:
    pending = lane.submit_rows([array(*range(rows))], rows, 1, deadline)
    assert pending is not None
    return pending


@on_loop
async def test_completion() -> None:
    lane, worker = lane_pair()
    first, second = submit(lane, 2), submit(lane)
    assert (lane.outstanding_rows, lane.idle, lane.waiting) == (3, False, 2)
    lane.collect()
    assert not first.future.done()
    worker.answer()
    lane.collect()
    assert first.future.done() and not second.future.done()
    assert (lane.outstanding_rows, lane.waiting) == (1, 1)
    worker.answer()
    lane.collect()
    await second.future
    assert (lane.outstanding_rows, lane.idle, lane.waiting) == (0, False, 0)
    first.done()
    second.done()
    assert lane.idle
    assert lane.producer.outstanding == 0


@on_loop
async def test_slots_go_back_in_order() -> None:
    """An answer that is read late holds back those behind it, and gives them back with itself."""
    lane, worker = lane_pair()
    first, second, third, fourth = [submit(lane) for _ in range(4)]
    worker.answer(4)
    lane.collect()
    third.done()
    second.done()
    assert lane.producer.released == 0
    first.done()
    assert lane.producer.released == 3
    assert not lane.idle
    fourth.done()
    assert lane.producer.released == 4
    assert lane.idle


@on_loop
async def test_done_twice_frees_nothing_of_others() -> None:
    lane, worker = lane_pair()
    first, second = submit(lane), submit(lane)
    worker.answer(2)
    lane.collect()
    first.done()
    first.done()
    assert lane.producer.released == 1
    second.done()
    first.done()
    assert lane.producer.released == 2


@on_loop
async def test_full() -> None:
    lane, worker = lane_pair()
    held = [submit(lane) for _ in range(SLOTS)]
    assert lane.submit_rows([array(1)], 1, 1, 0) is None
    assert lane.submit_packed([PackedTensor(1, (), b"1234")], 1, 1, 0) is None
    assert lane.outstanding_rows == SLOTS
    worker.answer(SLOTS)
    lane.collect()
    held[1].done()
    assert lane.submit_rows([array(1)], 1, 1, 0) is None
    held[0].done()
    assert submit(lane) and submit(lane)
    rows_lane, _ = lane_pair()
    submit(rows_lane, ROWS)
    assert rows_lane.submit_rows([array(1)], 1, 1, 0) is None


@on_loop
async def test_a_request_given_up_frees_its_slot_when_completed() -> None:
    lane, worker = lane_pair()
    given_up, kept = submit(lane, 3), submit(lane)
    given_up.future.cancel()
    given_up.done()
    assert worker.abandoned(given_up.number) and not worker.abandoned(kept.number)
    lane.collect()
    assert lane.producer.released == 0  # the worker may be at it
    assert lane.outstanding_rows == 4
    worker.answer()
    lane.collect()
    assert lane.producer.released == 1
    assert lane.outstanding_rows == 1
    worker.answer()
    lane.collect()
    await kept.future
    kept.done()
    assert lane.idle


@on_loop
async def test_a_task_cancelled_after_completion() -> None:
    """Its `done` comes when the request is collected already."""
    lane, worker = lane_pair()

    async def wait(pending: Pending) -> None:
        try:
            await pending.future
        finally:
            pending.done()

    task = asyncio.create_task(wait(submit(lane)))
    await asyncio.sleep(0)
    worker.answer()
    lane.collect()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lane.idle
    assert lane.producer.released == 1


@on_loop
async def test_deadlines() -> None:
    lane, worker = lane_pair()
    none, early, late = submit(lane), submit(lane, deadline=1000), submit(lane, deadline=2000)
    lane.expire(999)
    assert not early.future.done()
    lane.expire(1000)
    with pytest.raises(ServingError) as caught:
        await early.future
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert caught.value.message == "Timed out waiting for notification"
    early.done()
    assert not none.future.done() and not late.future.done()
    lane.expire(1 << 62)
    lane.expire(1 << 62)  # told once
    assert isinstance(late.future.exception(), ServingError)
    late.done()
    assert not none.future.done()
    worker.answer(3)
    lane.collect()
    assert lane.producer.released == 0
    await none.future
    none.done()
    assert lane.producer.released == 3


@on_loop
async def test_completed_before_it_expires() -> None:
    lane, worker = lane_pair()
    pending = submit(lane, deadline=1000)
    worker.answer()
    lane.collect()
    lane.expire(5000)
    await pending.future
    pending.done()
    assert lane.idle


@on_loop
async def test_expired_then_completed_before_anyone_looked() -> None:
    lane, worker = lane_pair()
    pending = submit(lane, deadline=1000)
    lane.expire(1000)
    worker.answer()
    lane.collect()
    with pytest.raises(ServingError):
        await pending.future
    pending.done()
    assert lane.idle
    assert lane.producer.released == 1


steps = st.lists(
    st.tuples(st.sampled_from(["submit", "answer", "collect", "done", "cancel", "expire"]), st.integers(0, 7)), max_size=60
)


@settings(deadline=None)
@given(steps)
def test_whatever_happens_slots_come_back_once_and_in_order(script: list[tuple[str, int]]) -> None:
    """Against a plain model: released are exactly the oldest requests that are completed and done with."""
    asyncio.run(_play(script))


async def _play(script: list[tuple[str, int]]) -> None:
    lane, worker = lane_pair()
    open_requests: list[Pending] = []
    settled: set[int] = set()
    completed = submitted = 0
    for step, choice in [*script, ("answer", SLOTS), ("collect", 0), *[("done", 0)] * SLOTS]:
        if step == "submit":
            pending = lane.submit_rows([array(1, 2)], 2, 1, 1 + choice)
            assert (pending is None) == (submitted - lane.producer.released >= SLOTS)
            if pending is not None:
                assert pending.number == submitted
                submitted += 1
                open_requests.append(pending)
        elif step == "answer" and worker.consumer.waiting:
            worker.answer(min(max(choice, 1), worker.consumer.waiting))
        elif step == "collect":
            lane.collect()
            completed = worker.consumer.completed
        elif step in ("done", "cancel") and open_requests:
            pending = open_requests.pop(choice % len(open_requests))
            if step == "cancel" and not pending.future.done():
                pending.future.cancel()
            elif pending.future.done():
                pending.future.exception()  # somebody looked
            pending.done()
            settled.add(pending.number)
        elif step == "expire":
            lane.expire(choice)
        released = 0
        while released < completed and released in settled:
            released += 1
        assert lane.producer.released == released
        assert lane.outstanding_rows == 2 * (submitted - completed)
        assert lane.waiting == submitted - completed
        assert lane.idle == (released == submitted)
    assert lane.idle
    for pending in open_requests:
        pending.future.cancel()


@on_loop
async def test_those_who_only_look_on_are_told_of_a_request_given_up() -> None:
    lane, _ = lane_pair()
    told: list[bool] = []
    pending = submit(lane)
    pending.future.add_done_callback(lambda future: told.append(future.cancelled()))
    pending.done()
    await asyncio.sleep(0)
    assert told == [True]


def submit_each(lane: OpenLane, count: int, rows_each: int, told: list[str], name: str, deadline: int = 0) -> Pending:
    def tell(error: ServingError | None) -> None:
        told.append(name if error is None else f"{name}: {error.code.name}")

    found = lane.submit_each([array(*range(count * rows_each))], rows_each, 1, deadline, tell)
    assert found is not None
    pending, taken = found
    assert taken == pending.last + 1 - pending.number
    return pending


@on_loop
async def test_a_group_is_told_of_once_when_its_last_one_is_completed() -> None:
    lane, worker = lane_pair()
    told: list[str] = []
    group = submit_each(lane, 3, 2, told, "group")
    single = submit(lane)
    assert (group.number, group.last, group.rows, single.number) == (0, 2, 6, 3)
    assert (lane.outstanding_rows, lane.waiting, lane.idle) == (7, 2, False)
    assert (lane.inflight, lane.enqueued, lane.occupancy) == (4, 4, 4 / SLOTS)
    worker.answer(2)
    assert lane.enqueued == 2
    assert lane.collect() == 0
    assert not told and lane.outstanding_rows == 7
    worker.answer(2)
    assert lane.collect() == 4
    assert told == ["group"] and single.future.done()
    assert (lane.outstanding_rows, lane.waiting, lane.inflight, lane.enqueued, lane.occupancy) == (0, 0, 0, 0, 4 / SLOTS)
    single.done()
    assert lane.producer.released == 0
    group.done()
    assert lane.producer.released == 4 and lane.idle


@on_loop
async def test_how_many_are_enqueued_whatever_the_worker_says() -> None:
    lane, worker = lane_pair()
    for _ in range(4):
        submit(lane)
    worker.answer(2)
    lane.collect()
    for taken, enqueued in ((0, 2), (2, 2), (3, 1), (4, 0), (5, 0), (1 << 63, 0)):
        lane.producer.lane.words[layout.TAKEN] = taken
        assert lane.enqueued == enqueued


@on_loop
async def test_a_group_that_is_given_up() -> None:
    """All of it is abandoned, and its slots come back when all of it is completed."""
    lane, worker = lane_pair()
    told: list[str] = []
    group, other = submit_each(lane, 3, 1, told, "group", deadline=1000), submit_each(lane, 2, 1, told, "other")
    lane.expire(2000)
    assert told == ["group: DEADLINE_EXCEEDED"]
    group.done()
    assert [worker.abandoned(number) for number in range(5)] == [True] * 3 + [False] * 2
    worker.answer(2)
    lane.collect()
    assert lane.producer.released == 0
    worker.answer(3)
    lane.collect()
    assert lane.producer.released == 3
    assert told == ["group: DEADLINE_EXCEEDED", "other"]
    other.done()
    assert lane.idle and lane.outstanding_rows == 0


@on_loop
async def test_groups_end_where_slots_start_over_and_where_there_is_no_room() -> None:
    lane, worker = lane_pair()
    told: list[str] = []
    first = submit_each(lane, SLOTS - 3, 1, told, "first")
    worker.answer(SLOTS - 3)
    lane.collect()
    first.done()
    assert submit_each(lane, 10, 1, told, "second").last == SLOTS - 1
    third = submit_each(lane, 10, 1, told, "third")
    assert (third.number, third.last) == (SLOTS, 2 * SLOTS - 4)
    assert lane.submit_each([array(1)], 1, 1, 0, lambda _: None) is None


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from(["one", "each", "each", "answer", "collect", "done", "expire"]), st.integers(0, 7)),
        max_size=60,
    )
)
def test_groups_among_others_against_a_plain_model(script: list[tuple[str, int]]) -> None:
    """Slots come back once and in order; times are those of the first and the last batch of each."""
    asyncio.run(_play_groups(script))


async def _play_groups(script: list[tuple[str, int]]) -> None:  # noqa: PLR0912 - a step of each kind
    lane, worker = lane_pair()
    requests: list[Pending] = []
    settled: list[range] = []
    told: dict[int, list[bool]] = {}
    batches: list[tuple[int, int]] = []  # of each request that is completed
    submitted = clock = 0
    for step, choice in [*script, ("answer", SLOTS), ("collect", 0), *[("done", 0)] * SLOTS]:
        if step in ("one", "each"):
            tell = told.setdefault(submitted, []).append
            deadline = 1 + choice if choice < 3 else 0
            note = lambda error, tell=tell: tell(error is None)  # noqa: E731
            if step == "one":
                pending = lane.submit_rows([array(1, 2)], 2, 1, deadline, note)
            else:
                found = lane.submit_each([array(*range(2 * choice + 1))], 2, 1, deadline, note)
                pending = found and found[0]
            if pending is not None:
                assert pending.number == submitted and pending.rows == 2 * (pending.last + 1 - pending.number)
                submitted = pending.last + 1
                requests.append(pending)
        elif step == "answer" and worker.consumer.waiting:
            ticket = worker.consumer.take(min(max(choice, 1), worker.consumer.waiting))
            clock += 10
            batches += [(clock, clock + 5)] * (ticket.end - ticket.start)
            worker.consumer.finish(ticket, clock, clock + 5, 1)
        elif step == "collect":
            lane.collect()
            for pending in requests:
                if pending.last < worker.consumer.completed:
                    assert (pending.begun, pending.ended) == (batches[pending.number][0], batches[pending.last][1])
        elif step == "expire":
            lane.expire(choice)
        elif step == "done" and requests:
            pending = requests.pop(choice % len(requests))
            pending.done()
            settled.append(range(pending.number, pending.last + 1))
        released, gone = 0, {number for done in settled for number in done}
        while released in gone and released < lane.collected:
            released += 1
        starts = {done.start for done in settled}
        while released and released not in starts and released < submitted and any(
            released in done and released != done.start for done in settled
        ):  # fmt: skip
            released -= 1  # a group is released whole
        assert lane.producer.released == released
        assert lane.idle == (released == submitted)
    assert lane.idle and lane.outstanding_rows == 0
    assert all(len(calls) <= 1 for calls in told.values())


@on_loop
async def test_the_lower_priority_is_told() -> None:
    lane, worker = lane_pair()
    ones, text = [array(1)], [PackedTensor(1, (), b"1234")]
    for low in (False, True):
        assert lane.submit_rows(ones, 1, 1, 0, low=low)
        assert lane.submit_packed(text, 1, 1, 0, low=low)
    assert worker.flags() == [0, PACKED, LOW, PACKED | LOW]
    lane, worker = lane_pair()
    for low in (False, True):
        assert lane.submit_each([array(1, 2)], 1, 1, 0, lambda _: None, low)
    assert worker.flags() == [0, 0, LOW, LOW]


@on_loop
async def test_half_of_a_lane_is_for_those_of_high_priority() -> None:
    """Its slots, until they are free again: an answer must have been read, and those before it."""
    lane, worker = lane_pair()
    first = submit(lane)
    lows = [lane.submit_rows([array(1)], 1, 1, 0, low=True) for _ in range(SLOTS // 2 + 1)]
    assert [pending is None for pending in lows] == [False] * (SLOTS // 2) + [True]
    assert lane.submit_packed([PackedTensor(1, (), b"1234")], 1, 1, 0, low=True) is None
    assert lane.submit_each([array(1)], 1, 1, 0, lambda _: None, low=True) is None
    for _ in range(SLOTS - SLOTS // 2 - 1):
        submit(lane)
    assert lane.submit_rows([array(1)], 1, 1, 0) is None, "now it is full"
    worker.answer(SLOTS)
    lane.collect()
    assert lows[0] is not None
    lows[0].done()
    assert lane.submit_rows([array(1)], 1, 1, 0, low=True) is None
    first.done()
    assert lane.submit_rows([array(1)], 1, 1, 0, low=True)
    assert lane.submit_rows([array(1)], 1, 1, 0, low=True) is None


@on_loop
async def test_half_of_a_lanes_rows_and_bytes() -> None:
    lane, _ = lane_pair()
    rows = ROWS // 4
    many = [array(*range(rows))]
    assert lane.submit_rows(many, rows, 1, 0, low=True) and lane.submit_rows(many, rows, 1, 0, low=True)
    assert lane.submit_rows([array(1)], 1, 1, 0, low=True) is None
    assert lane.submit_rows(many, rows, 1, 0) and lane.submit_rows(many, rows, 1, 0)
    lane, _ = lane_pair()
    large = [PackedTensor(0, (RING // 3,), bytes(RING // 3))]
    assert lane.submit_packed(large, 1, 1, 0, low=True)
    assert lane.submit_packed(large, 1, 1, 0, low=True) is None
    assert lane.submit_packed(large, 1, 1, 0)
    lane, worker = lane_pair()
    huge = [PackedTensor(0, (RING - 200,), bytes(RING - 200))]
    pending = lane.submit_packed(huge, 1, 1, 0, low=True)
    assert pending, "alone it may have more than half"
    worker.answer(tensors=[])
    lane.collect()
    pending.done()
    assert lane.submit_packed(huge, 1, 1, 0, low=True)


@on_loop
async def test_a_group_of_low_priority_is_cut() -> None:
    lane, worker = lane_pair()
    column = array(*range(2 * SLOTS))
    found = lane.submit_each([column], 2, 1, 0, lambda _: None, low=True)
    assert found and found[1] == SLOTS // 2 and found[0].rows == SLOTS
    assert worker.flags() == [LOW] * (SLOTS // 2)
    rest = lane.submit_each([column], 2, 1, 0, lambda _: None)
    assert rest and rest[1] == SLOTS // 2
    worker.answer(SLOTS)
    lane.collect()
    found[0].done()
    assert lane.submit_each([column], 2, 1, 0, lambda _: None, low=True)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["rows", "each", "packed", "answer", "done", "give up"]), st.booleans(), st.integers(1, 9)
        ),
        max_size=60,
    )
)
def test_the_share_is_kept(script: list[tuple[str, bool, int]]) -> None:
    """Whatever happens, those of low priority never have more than half, and in the end they have nothing."""
    asyncio.run(_play_priorities(script))


async def _play_priorities(script: list[tuple[str, bool, int]]) -> None:
    lane, worker = lane_pair()
    requests: list[Pending] = []
    slots: dict[int, tuple[bool, int]] = {}  # of requests whose slots are not free: is it a low one, and how many rows
    for step, low, count in [*script, ("answer", True, SLOTS), *[("done", True, 1)] * SLOTS]:
        before = lane.producer.submitted
        found: Pending | None = None
        rows = 0
        if step == "rows":
            found, rows = lane.submit_rows([array(*range(count))], count, 1, 0, lambda _: None, low), count
        elif step == "each":
            made = lane.submit_each([array(*range(2 * count))], 2, 1, 0, lambda _: None, low)
            found, rows = made and made[0], 2
        elif step == "packed":
            found = lane.submit_packed([PackedTensor(0, (count,), bytes(count))], 1, 1, 0, lambda _: None, low)
        elif step == "answer" and worker.consumer.waiting:
            ticket = worker.consumer.take(min(count, worker.consumer.waiting))
            worker.consumer.finish(ticket, 1, 2, 1)
            lane.collect()
        elif step in ("done", "give up") and requests:
            requests.pop(count % len(requests)).done()
        if found is not None:
            requests.append(found)
            slots |= dict.fromkeys(range(before, lane.producer.submitted), (low, rows))
        slots = {number: what for number, what in slots.items() if number >= lane.producer.released}
        lows = [held for is_low, held in slots.values() if is_low]
        assert len(lows) <= SLOTS // 2 and sum(lows) <= ROWS // 2
        if low and found is None and not lows and step == "rows":
            assert lane.submit_rows([array(*range(count))], count, 1, 0, lambda _: None) is None, (
                "it was refused for no reason"
            )
    assert not slots and lane.idle
    assert lane.submit_each([array(*range(SLOTS))], 1, 1, 0, lambda _: None, low=True)


@on_loop
async def test_costs_are_learned_where_there_are_rivals() -> None:
    for has_rivals in (False, True):
        lane, worker = lane_pair()
        lane.has_rivals = has_rivals
        for _ in range(2):
            submit(lane)
        ticket = worker.consumer.take(2)
        worker.consumer.finish(ticket, 1_000_000, 5_000_000, 4)  # with rows of other lanes
        lane.collect()
        assert lane.cost.known == has_rivals
    assert lane.cost.of(4) == 4_000_000
    submit(lane)
    worker.consumer.finish(worker.consumer.take(1))
    lane.collect()
    assert lane.cost.of(4) == 4_000_000, "what was not run tells nothing"

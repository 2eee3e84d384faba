"""Endpoints over real lanes: which lane a request takes and how, what is refused, and how answers and errors are read."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from made_signatures import signature, spec
from worker_side import RING, ROWS, SLOTS, WorkerSide, lane_pair, numbers, on_loop

from frontend.endpoint import Endpoint, Form, TooLargeError
from frontend.open_lane import OpenLane
from frontend.pending import Pending
from frontend.tensors import Tensor
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.tensor import STRING
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor, pack_strings, unpack_strings

SCALARS: Form = ((1, ()),)
FULL = "The batch scheduling queue to which this task was submitted is full"


def endpoint(*lanes: OpenLane, form: Form | None = SCALARS) -> tuple[Endpoint, list[Message]]:
    """An endpoint for rows of one number, and what it asks for."""
    asked: list[Message] = []
    made = Endpoint(ServableId("m", 1), signature(spec("x"), outputs=(spec("y"),)), asked.append)
    for lane in lanes:
        made.add(lane, None, form)
    return made, asked


def texts(*elements: bytes) -> Tensor:
    return Tensor(STRING, (len(elements),), list(elements))


def is_packed(worker: WorkerSide) -> bool:
    return bool(worker.consumer.head()[3] & 1)


def finish(worker: WorkerSide, *pending: Pending) -> None:
    worker.answer(len(pending))
    for request in pending:
        request.lane.collect()
        request.done()


def finish_in(worker: WorkerSide, took: int, pending: Pending) -> None:
    """In a batch by itself, of so many ns."""
    worker.consumer.finish(worker.consumer.take(1), 5_000_000_000, 5_000_000_000 + took, 1)
    pending.lane.collect()
    pending.done()


def refusal(of: Endpoint, tensor: Tensor, low: bool = False) -> ServingError:
    with pytest.raises(ServingError) as caught:
        of.submit([tensor], 0, low=low)
    return caught.value


@on_loop
async def test_rows_go_to_columns() -> None:
    lane, worker = lane_pair()
    to, asked = endpoint(lane)
    before = time.monotonic_ns()
    pending = to.submit([numbers(1, 2, 3)], 0)
    assert worker.consumer.describe(0) == (0, 0, 3, 0, 0)
    assert before <= int(worker.consumer.window(1)[0]["enqueued"]) <= time.monotonic_ns()
    assert worker.consumer.lane.inputs[0][:3].tolist() == [1, 2, 3]
    worker.answer()
    lane.collect()
    (answer,) = to.answer(pending)
    assert not isinstance(answer.data, list)
    assert (answer.dtype.name, answer.shape, answer.data.tolist()) == ("float", (3,), [2, 4, 6])
    assert np.shares_memory(answer.data, lane.producer.lane.outputs[0]), "no copy"
    pending.done()
    assert lane.idle and not asked


@on_loop
async def test_deadline() -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)
    before = time.monotonic_ns()
    pending = to.submit([numbers(1)], 5_000_000_000)
    assert before + 5_000_000_000 <= pending.deadline <= time.monotonic_ns() + 5_000_000_000
    assert worker.consumer.head()[4] == pending.deadline
    for timeout in (0, -1):
        assert to.submit([numbers(1)], timeout).deadline == 0
    packed = to.submit([texts(b"a")], 5_000_000_000)
    assert worker.consumer.describe(packed.number)[4] == packed.deadline > 0


@on_loop
async def test_the_least_busy_lane() -> None:
    (one, first), (two, second) = lane_pair("gpu:0"), lane_pair("gpu:1")
    to, _ = endpoint(one, two)
    big = to.submit([numbers(1, 2, 3)], 0)
    small = [to.submit([numbers(1)], 0) for _ in range(3)]
    assert [pending.lane for pending in (big, *small)] == [one, two, two, two]
    assert to.submit([numbers(1, 2)], 0).lane is one
    assert to.submit([numbers(1)], 0).lane is two
    finish(first, big)
    assert to.submit([numbers(1)], 0).lane is one
    assert second.consumer.waiting == 4


@on_loop
async def test_the_lane_that_is_expected_to_be_done_first() -> None:
    """Once it is known how long their rows take. A lane without rivals learns nothing."""
    (one, first), (two, second) = lane_pair("gpu:0"), lane_pair("gpu:1")
    to, _ = endpoint(one)
    finish_in(first, 9_000_000, to.submit([numbers(1)], 0))
    assert not one.cost.known
    to.add(two, None, SCALARS)
    for lane, worker, took in ((one, first, 1_000_000), (two, second, 3_000_000)):
        for other in (one, two):
            other.avoided = other is not lane
        to.choose_lanes()
        finish_in(worker, took, to.submit([numbers(1)], 0))
    one.avoided = two.avoided = False
    to.choose_lanes()
    now = time.monotonic_ns()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic_ns", lambda: now)  # or both would seem not to answer
        assert [to.submit([numbers(1)], 0).lane for _ in range(4)] == [one, one, two, one]
        assert to.submit([texts(b"a")], 0).lane is one
        assert to.submit_each(SCALARS, [np.zeros(1, "<f4")], 1, 0, lambda _: None)[0].lane is two


@on_loop
async def test_a_full_lane_is_not_waited_for() -> None:
    """However slow the other is, with all kinds of requests, and of both priorities."""
    (one, first), (two, second) = lane_pair("gpu:0"), lane_pair("gpu:1")
    to, _ = endpoint(one, two)
    one.cost.learn(1_000_000, 1, time.monotonic_ns())
    two.cost.learn(10_000_000_000, 1, time.monotonic_ns())
    ones = [np.zeros(1, "<f4")]
    lows = [to.submit([numbers(1)], 0, low=True).lane for _ in range(SLOTS)]
    assert lows == [one] * (SLOTS // 2) + [two] * (SLOTS // 2)
    error = refusal(to, numbers(1), low=True)
    assert (error.code, error.message) == (Code.UNAVAILABLE, FULL)
    assert refusal(to, texts(b"a"), low=True).code is Code.UNAVAILABLE
    with pytest.raises(ServingError, match=FULL):
        to.submit_each(SCALARS, ones, 1, 0, lambda _: None, low=True)
    assert [to.submit([numbers(1)], 0).lane for _ in range(SLOTS // 2)] == [one] * (SLOTS // 2)
    assert to.submit([numbers(1)], 0).lane is two
    assert to.submit([texts(b"a")], 0).lane is two
    assert to.submit_each(SCALARS, ones, 1, 0, lambda _: None)[0].lane is two
    assert to.submit([numbers(1)], 0).lane is two
    assert refusal(to, numbers(1)).message == FULL
    assert [worker.consumer.waiting for worker in (first, second)] == [SLOTS, SLOTS]


@on_loop
async def test_lanes_to_avoid() -> None:
    (one, _), (two, _), (three, _) = lane_pair("gpu:0"), lane_pair("gpu:1"), lane_pair("gpu:2")
    to, _ = endpoint(one, two, three)

    def taken(*avoided: OpenLane) -> list[OpenLane]:
        for lane in (one, two, three):
            lane.avoided = lane in avoided
        to.choose_lanes()
        return [to.submit([tensor], 0).lane for tensor in (numbers(1), texts(b"a"))]

    assert taken(one, two) == [three, three]
    assert taken(one) == [two, two]
    assert taken(one, two, three) == [one, one], "rather than none"
    assert taken() == [one, two]


@on_loop
async def test_columns_to_avoid() -> None:
    """Packed to a worker that can be used comes before columns of one that can't."""
    pairs = LaneSpec((Column("<f4", (2,)),), (Column("<f4", (2,)),), ROWS, SLOTS, RING, RING)
    (base, _), (wide, _), (other, _) = lane_pair(), lane_pair(spec=pairs), lane_pair("gpu:1")
    to, asked = endpoint(base)
    to.add(wide, [[1, "<f4", [2]]], ((1, (2,)),))
    base.avoided = wide.avoided = True
    to.choose_lanes()
    pair = numbers([1, 2])
    assert to.submit([pair], 0).lane is wide
    to.add(other, None, None)
    assert [to.submit([tensor], 0).lane for tensor in (pair, numbers(1))] == [other, other]
    assert to.base == [base, other] and to.lanes == [base, other, wide]
    wide.avoided = False
    to.choose_lanes()
    assert to.submit([pair], 0).lane is wide
    other.avoided = True
    to.choose_lanes()
    assert to.submit([pair], 0).lane is wide
    assert not asked, "they have columns"


@on_loop
async def test_packed_requests_count_too() -> None:
    """Also those that have no rows: a scalar keeps a worker as busy as a row does."""
    for tensor in (texts(b"a"), numbers(1, dtype="int64"), Tensor(numbers(1).dtype, (), np.array(1, "<f4")), numbers()):
        (one, _), (two, _) = lane_pair(), lane_pair()
        to, _ = endpoint(one, two)
        taken = [to.submit([tensor], 0).lane for _ in range(4)]
        assert taken.count(one) == taken.count(two) == 2


@on_loop
async def test_lanes_are_counted_once() -> None:
    (base, _), (wide, _) = lane_pair(), lane_pair()
    to, _ = endpoint(base)
    to.add(wide, [[1, "<f4", [2]]], ((1, (2,)),))
    assert to.lanes == [base, wide]
    assert to.base == [base]


@pytest.mark.parametrize(
    "tensor",
    [
        texts(b"a", b""),
        texts(),
        numbers(1, dtype="int32"),
        numbers(1, dtype="double"),
        numbers([1, 2], [3, 4]),
        numbers(),
        numbers([], []),
        Tensor(numbers(1).dtype, (), np.array(5, dtype="<f4")),
        numbers(*range(ROWS // 2 + 1)),
    ],
    ids=["strings", "none", "int32", "double", "pairs", "empty", "emptier", "scalar", "many rows"],
)
@on_loop
async def test_what_the_columns_cannot_hold_goes_packed(tensor: Tensor) -> None:
    lane, worker = lane_pair()
    to, asked = endpoint(lane)
    pending = to.submit([tensor], 0)
    assert is_packed(worker)
    (found,) = worker.request()
    assert (found.dtype, found.shape) == (tensor.dtype.number, tensor.shape)
    if isinstance(tensor.data, list):
        assert unpack_strings(found.data, len(tensor.data)) == tensor.data
    else:
        assert bytes(found.data) == tensor.data.tobytes()
    worker.answer(tensors=[found])
    lane.collect()
    (answer,) = to.answer(pending)
    assert (answer.dtype, answer.shape) == (tensor.dtype, tensor.shape)
    if isinstance(answer.data, list):
        assert answer.data == tensor.data
    else:
        assert np.array_equal(answer.data, tensor.data)
    pending.done()
    assert lane.idle and not asked


@on_loop
async def test_half_the_columns_is_the_most_of_one_request() -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)
    to.submit([numbers(*range(ROWS // 2))], 0)
    assert not is_packed(worker)


@on_loop
async def test_inputs_of_unequal_length_go_packed() -> None:
    columns = LaneSpec((Column("<f4", ()), Column("<f4", ())), (), ROWS, SLOTS, RING, RING)
    lane, worker = lane_pair(spec=columns)
    to, _ = endpoint(lane, form=((1, ()), (1, ())))
    to.submit([numbers(1, 2), numbers(1, 2)], 0)
    to.submit([numbers(1, 2), numbers(1)], 0)
    to.submit([numbers(1), Tensor(numbers(1).dtype, (), np.array(1, "<f4"))], 0)
    assert [worker.consumer.describe(number)[3] for number in range(3)] == [0, 1, 1]


@on_loop
@pytest.mark.parametrize("shape", [(1 << 40, 0), (1, 0, 1 << 40)])
async def test_empty_tensors_of_which_an_answer_could_have_any_size(shape: tuple[int, ...]) -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)
    none = np.empty(shape, "<f4")
    with pytest.raises(TooLargeError):
        to.submit([Tensor(numbers(1).dtype, shape, none)], 0)
    to.submit([Tensor(numbers(1).dtype, (8, 0), np.empty((8, 0), "<f4"))], 0)
    assert is_packed(worker)


@on_loop
async def test_many_requests_of_a_form_get_columns_of_their_own() -> None:
    base, worker = lane_pair()
    to, asked = endpoint(base)
    pair = numbers([1, 2], [3, 4], dtype="int64")
    for count in range(1, 21):
        finish(worker, to.submit([pair], 0))
        assert len(asked) == (count >= 8), "asked once, after eight"
    wanted = [[9, "<i8", [2]]]
    assert asked == [{"type": "want_lane", "servable": ("m", 1), "signature": "serving_default", "inputs": wanted}]
    wide, wide_worker = lane_pair(spec=LaneSpec((Column("<i8", (2,)),), (Column("<i8", (2,)),), ROWS, SLOTS, RING, RING))
    to.add(wide, wanted, ((9, (2,)),))
    pending = to.submit([pair], 0)
    assert pending.lane is wide and not is_packed(wide_worker)
    assert to.submit([numbers(1)], 0).lane is base
    assert to.submit([numbers([1], [2], dtype="int64")], 0).lane is base
    assert len(asked) == 1


@on_loop
async def test_a_client_cannot_have_lanes_without_end() -> None:
    lane, worker = lane_pair()
    to, asked = endpoint(lane)
    for width in range(1, 30):
        for _ in range(10):
            finish(worker, to.submit([numbers([1] * width)], 0))
    assert [message["inputs"][0][2] for message in asked] == [[width] for width in range(1, 9)]


@on_loop
async def test_requests_without_a_form_ask_for_nothing() -> None:
    lane, worker = lane_pair()
    to, asked = endpoint(lane)
    for tensor in (texts(b"a"), numbers(), Tensor(numbers(1).dtype, (), np.array(1, "<f4"))):
        for _ in range(20):
            finish(worker, to.submit([tensor], 0))
    assert not asked


@on_loop
async def test_full_lanes_refuse() -> None:
    for tensor in (numbers(1), texts(b"a")):
        lane, worker = lane_pair()
        to, _ = endpoint(lane)
        taken = [to.submit([tensor], 0) for _ in range(SLOTS)]
        error = refusal(to, tensor)
        assert (error.code, error.message) == (Code.UNAVAILABLE, FULL)
        assert lane.outstanding_rows == SLOTS
        finish(worker, taken[0])
        to.submit([tensor], 0)
    lane, _ = lane_pair()
    to, _ = endpoint(lane)
    half = numbers(*range(ROWS // 2))
    to.submit([half], 0)
    to.submit([half], 0)
    assert refusal(to, numbers(1)).code is Code.UNAVAILABLE  # no row is left
    text = texts(b"x" * (RING // 2))
    to.submit([text], 0)
    assert refusal(to, text).message == FULL  # no room for its bytes


@on_loop
async def test_too_large_for_any_lane() -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)
    error = refusal(to, texts(b"x" * RING))
    assert isinstance(error, TooLargeError)
    assert error.code is Code.RESOURCE_EXHAUSTED
    assert "--max_request_bytes" in error.message
    assert str(RING) in error.message
    assert worker.consumer.waiting == 0 and lane.idle
    finish(worker, to.submit([texts(b"x" * (RING - 200))], 0))
    lane, worker = lane_pair(spec=LaneSpec((), (), 0, SLOTS, RING, RING))
    to, _ = endpoint(lane, form=None)
    assert refusal(to, numbers(*range(RING // 4))).code is Code.RESOURCE_EXHAUSTED


@on_loop
async def test_errors_are_read() -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)

    def failed(code: Code | int, text: bytes | None) -> tuple[Code, str]:
        pending = to.submit([numbers(1)], 0)
        worker.fail(code, text)
        lane.collect()
        with pytest.raises(ServingError) as caught:
            to.answer(pending)
        pending.done()
        return caught.value.code, caught.value.message

    for code in list(Code)[1:]:
        assert failed(code, b"said why: \xc3\xa9") == (code, "said why: é")
    assert failed(Code.INTERNAL, b"") == (Code.INTERNAL, "")
    assert failed(Code.UNAVAILABLE, None) == (Code.UNAVAILABLE, "")  # there was no room for the text
    code, text = failed(Code.INVALID_ARGUMENT, "é".encode()[:1] + b"x")  # cut within a character
    assert code is Code.INVALID_ARGUMENT
    assert text.endswith("x")
    code, text = failed(99, b"no such code")
    assert code is Code.INTERNAL
    assert lane.idle


@pytest.mark.parametrize(
    "tensors",
    [
        [PackedTensor(1, (2,), b"1234")],
        [PackedTensor(1, (3, 1 << 40), b"1234")],
        [PackedTensor(7, (2,), pack_strings([b"a"]))],
        [PackedTensor(7, (1,), b"\xff" * 8)],
        [PackedTensor(1, (1,) * 65, b"1234")],
    ],
)
@on_loop
async def test_damaged_answers(tensors: list[PackedTensor]) -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)
    pending = to.submit([texts(b"a")], 0)
    worker.answer(tensors=tensors)
    lane.collect()
    with pytest.raises(ServingError) as caught:
        to.answer(pending)
    assert caught.value.code is Code.INTERNAL
    assert caught.value.message.startswith("The worker's answer is damaged: ")
    pending.done()


@on_loop
async def test_packed_answers_of_any_kind() -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)
    wanted: list[Any] = [
        PackedTensor(7, (2, 1), pack_strings([b"", b"\xff"])),
        PackedTensor(9, (), np.int64(-5).tobytes()),
        PackedTensor(1, (0, 3), b""),
        PackedTensor(14, (2,), np.array([1, 2], "<u2").tobytes()),
    ]
    pending = to.submit([numbers(1)], 0)
    worker.answer(tensors=wanted)  # rows may have a packed answer: whose shape is not as declared
    lane.collect()
    found = to.answer(pending)
    assert [tensor.shape for tensor in found] == [(2, 1), (), (0, 3), (2,)]
    assert [tensor.dtype.name for tensor in found] == ["string", "int64", "float", "bfloat16"]
    assert found[0].data == [b"", b"\xff"]
    assert [tensor.data.tolist() for tensor in found[1:] if not isinstance(tensor.data, list)] == [-5, [], [1, 2]]
    pending.done()


@on_loop
async def test_many_requests_together() -> None:
    (one, first), (two, second) = lane_pair("gpu:0"), lane_pair("gpu:1")
    to, asked = endpoint(one, two)
    assert to.takes_each(SCALARS, 1) and to.takes_each(SCALARS, ROWS // 2)
    assert not to.takes_each(SCALARS, 0) and not to.takes_each(SCALARS, ROWS // 2 + 1)
    assert not to.takes_each(((1, (2,)),), 1) and not to.takes_each(((9, ()),), 1)
    told: list[ServingError | None] = []
    columns = [np.arange(SLOTS + 4, dtype="<f4")]
    pending, count = to.submit_each(SCALARS, columns, 1, 5_000_000_000, told.append)
    assert (count, pending.lane, pending.rows) == (SLOTS, one, SLOTS)
    assert first.consumer.describe(3)[4] == pending.deadline > time.monotonic_ns()
    more, count = to.submit_each(SCALARS, [columns[0][SLOTS:]], 2, 0, told.append)
    assert (count, more.lane, more.rows, more.deadline) == (2, two, 4, 0)
    first.consumer.set_status(2, 3)
    ticket = first.consumer.take(SLOTS)
    first.consumer.lane.outputs[0][:SLOTS] = columns[0][:SLOTS] + 1
    assert first.consumer.answer(5, [PackedTensor(1, (), np.float32(7).tobytes())])
    first.consumer.finish(ticket, 1, 2, SLOTS)
    one.collect()
    assert told == [None]
    (array,), elsewhere = to.answers(pending)
    assert np.shares_memory(array, one.producer.lane.outputs[0])
    assert array.tolist() == [value + 1.0 for value in range(SLOTS)]
    assert sorted(elsewhere) == [2, 5]
    error, found = elsewhere[2], elsewhere[5]
    assert isinstance(error, ServingError) and error.code is Code.INVALID_ARGUMENT
    assert isinstance(found, list) and found[0].shape == () and float(found[0].data) == 7.0  # type: ignore[arg-type]
    pending.done()
    finish(second, more, more)
    assert one.idle and two.idle and not asked


@on_loop
async def test_many_requests_together_where_there_is_no_room() -> None:
    lane, worker = lane_pair()
    to, _ = endpoint(lane)
    column = np.zeros(SLOTS, "<f4")
    pending, count = to.submit_each(SCALARS, [column], 1, 0, lambda _: None)
    assert count == SLOTS
    with pytest.raises(ServingError) as caught:
        to.submit_each(SCALARS, [column], 1, 0, lambda _: None)
    assert (caught.value.code, caught.value.message) == (Code.UNAVAILABLE, FULL)
    worker.answer(SLOTS)
    lane.collect()
    pending.done()
    assert to.submit_each(SCALARS, [column], 1, 0, lambda _: None)[1] == SLOTS


@on_loop
async def test_many_requests_together_avoid_lanes() -> None:
    (one, _), (two, _) = lane_pair("gpu:0"), lane_pair("gpu:1")
    to, _ = endpoint(one, two)
    one.avoided = True
    to.choose_lanes()
    assert to.submit_each(SCALARS, [np.zeros(3, "<f4")], 1, 0, lambda _: None)[0].lane is two
    two.avoided = True
    to.choose_lanes()
    assert to.takes_each(SCALARS, 1), "rather than none"
    assert to.submit_each(SCALARS, [np.zeros(3, "<f4")], 1, 0, lambda _: None)[0].lane is one

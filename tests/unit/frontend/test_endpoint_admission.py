"""Requests to a version with batching parameters: upstream's checks, and which lane has room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_signatures import signature, spec
from worker_side import ROWS, SLOTS, WorkerSide, lane_pair, numbers, on_loop

from frontend.endpoint import Endpoint, Form
from frontend.tensors import Tensor
from ringserve.batchable import check_shapes
from ringserve.batching_parameters import BatchingParameters
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.tensor import BY_NAME, STRING

SCALAR = Tensor(BY_NAME["float"], (), np.array(1, "<f4"))
TWO_TEXTS = Tensor(STRING, (2,), [b"a", b"b"])


def refusal(*inputs: Tensor, most: int = 4) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        check_shapes([tensor.shape for tensor in inputs], most)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ((), "Batching Run() must have at least one input tensor"),
        ((SCALAR,), "Batching Run() input tensors must have at least one dimension"),
        ((numbers(1), SCALAR), "Batching Run() input tensors must have at least one dimension"),
        ((numbers(1, 2), numbers(1)), "Batching Run() input tensors must have equal 0th-dimension size"),
        ((TWO_TEXTS, numbers([1, 2])), "Batching Run() input tensors must have equal 0th-dimension size"),
        # In the order of the inputs.
        ((numbers(1), SCALAR, numbers(1, 2)), "Batching Run() input tensors must have at least one dimension"),
        ((numbers(1), numbers(1, 2), SCALAR), "Batching Run() input tensors must have equal 0th-dimension size"),
        ((numbers(1, 2, 3, 4, 5),), "Task size 5 is larger than maximum input batch size 4"),
    ],
)
def test_what_cannot_be_batched(inputs: tuple[Tensor, ...], text: str) -> None:
    assert refusal(*inputs) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    "inputs",
    [(numbers(1, 2, 3, 4),), (numbers(),), (numbers([1, 2], [3, 4]), TWO_TEXTS), (numbers([], [], [], []),)],
)
def test_what_can(inputs: tuple[Tensor, ...]) -> None:
    check_shapes([tensor.shape for tensor in inputs], 4)


SCALARS: Form = ((1, ()),)
FULL = "The batch scheduling queue to which this task was submitted is full"


def endpoint(devices: int = 1, **fields: Any) -> tuple[Endpoint, list[WorkerSide]]:
    """Of a version with these parameters; a lane to each device's worker."""
    made = Endpoint(
        ServableId("m", 1), signature(spec("x"), outputs=(spec("y"),)), lambda _: None, BatchingParameters(**fields)
    )
    workers = []
    for index in range(devices):
        lane, worker = lane_pair(f"cpu:{index}")
        made.add(lane, None, SCALARS)
        workers.append(worker)
    return made, workers


def refused(to: Endpoint, tensor: Tensor) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        to.submit([tensor], 0)
    return caught.value.code, caught.value.message


@on_loop
async def test_requests_that_cannot_be_batched_are_in_no_lane() -> None:
    to, (worker,) = endpoint(max_batch_size=4)
    assert refused(to, SCALAR)[0] is Code.INVALID_ARGUMENT
    assert refused(to, numbers(1, 2, 3, 4, 5)) == (
        Code.INVALID_ARGUMENT,
        "Task size 5 is larger than maximum input batch size 4",
    )
    with pytest.raises(ServingError, match="Task size 5 is larger"):
        to.submit_each(SCALARS, [np.zeros(10, "<f4")], 5, 0, lambda _: None)
    assert worker.consumer.waiting == 0


@on_loop
async def test_without_parameters_nothing_is_checked() -> None:
    to = Endpoint(ServableId("m", 1), signature(spec("x"), outputs=(spec("y"),)), lambda _: None)
    lane, worker = lane_pair()
    to.add(lane, None, SCALARS)
    to.submit([SCALAR], 0)
    to.submit([numbers(*range(ROWS))], 0)
    assert worker.consumer.waiting == 2


@pytest.mark.parametrize("tensors", [[numbers(1), numbers(1, 2)], [Tensor(STRING, (1,), [b"a"]), TWO_TEXTS]])
@on_loop
async def test_a_full_queue_refuses_rows_and_packed_requests(tensors: list[Tensor]) -> None:
    one, two = tensors
    to, (worker,) = endpoint(max_batch_size=3, max_enqueued_batches=2)
    for tensor in (two, two):
        to.submit([tensor], 0)
    assert refused(to, two) == (
        Code.UNAVAILABLE,
        f"{FULL}; currently 2 batches enqueued and max_enqueued_batches is 2",
    )
    assert worker.consumer.waiting == 2
    to.submit([one], 0)  # fits into the open batch
    assert refused(to, one)[0] is Code.UNAVAILABLE
    worker.consumer.take(1)  # runs: it is not enqueued any more
    to.submit([two], 0)
    assert worker.consumer.waiting == 3


@on_loop
async def test_a_full_lane_of_an_empty_queue_says_no_more_than_that() -> None:
    to, (worker,) = endpoint(max_batch_size=1, max_enqueued_batches=1000)
    for _ in range(SLOTS):
        to.submit([numbers(1)], 0)
    assert refused(to, numbers(1)) == (Code.UNAVAILABLE, FULL)
    assert worker.consumer.waiting == SLOTS


@on_loop
async def test_each_lane_is_a_queue_and_a_full_one_leaves_requests_to_the_others() -> None:
    to, workers = endpoint(2, max_batch_size=2, max_enqueued_batches=1)
    for _ in range(2):
        to.submit([numbers(1, 2)], 0)
    assert [worker.consumer.waiting for worker in workers] == [1, 1]
    assert refused(to, numbers(1))[0] is Code.UNAVAILABLE
    for worker in workers:
        worker.consumer.take(1)
        to.submit([numbers(1, 2)], 0)
        assert worker.consumer.waiting == 1


@on_loop
async def test_of_many_requests_those_are_taken_that_fit() -> None:
    to, (worker,) = endpoint(max_batch_size=3, max_enqueued_batches=2)
    column = np.arange(14, dtype="<f4")
    pending, count = to.submit_each(SCALARS, [column], 2, 0, lambda _: None)
    assert (count, pending.last - pending.number + 1, worker.consumer.waiting) == (2, 2, 2)
    with pytest.raises(ServingError) as caught:
        to.submit_each(SCALARS, [column[4:]], 2, 0, lambda _: None)
    assert caught.value.message == f"{FULL}; currently 2 batches enqueued and max_enqueued_batches is 2"
    _, count = to.submit_each(SCALARS, [column[4:]], 1, 0, lambda _: None)
    assert count == 1
    worker.answer(3)
    pending.lane.collect()
    _, count = to.submit_each(SCALARS, [column], 2, 0, lambda _: None)
    assert count == 2


@on_loop
async def test_requests_of_low_priority_count_too() -> None:
    to, (worker,) = endpoint(max_batch_size=2, max_enqueued_batches=1)
    to.submit([numbers(1)], 0, low=True)
    assert to.submit_each(SCALARS, [np.zeros(4, "<f4")], 1, 0, lambda _: None, low=True)[1] == 1
    assert refused(to, numbers(1))[0] is Code.UNAVAILABLE
    assert worker.consumer.waiting == 2


@on_loop
async def test_with_splitting_rows_are_counted() -> None:
    to, (worker,) = endpoint(
        max_batch_size=8, max_enqueued_batches=3, enable_large_batch_splitting=True, max_execution_batch_size=2
    )
    to.submit([numbers(1, 2, 3, 4, 5)], 0)
    assert refused(to, numbers(1, 2)) == (
        Code.UNAVAILABLE,
        f"{FULL}; task size is 2 but scheduling capacity is only 1 "
        "(num_enqueued_batches=3, max_enqueued_batches=3, open_batch_size=1, max_execution_batch_size=2)",
    )
    to.submit([numbers(1)], 0)
    assert worker.consumer.waiting == 2


@on_loop
async def test_requests_that_are_late_in_the_queue_end_otherwise_than_those_in_a_batch() -> None:
    to, (worker,) = endpoint(max_batch_size=4)
    runs, waits = (to.submit([numbers(1)], 1) for _ in range(2))
    worker.consumer.take(1)
    waits.lane.expire(runs.deadline + waits.deadline)
    for pending, code, text in (
        (runs, Code.DEADLINE_EXCEEDED, "Timed out waiting for notification"),
        (waits, Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue"),
    ):
        with pytest.raises(ServingError) as caught:
            await pending.future
        assert (caught.value.code, caught.value.message) == (code, text)

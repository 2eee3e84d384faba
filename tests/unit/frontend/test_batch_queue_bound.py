"""The bound of a lane's waiting batches, beside upstream's queue written out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.batch_queue_bound import BatchQueueBound
from ringserve.batching_parameters import BatchingParameters
from ringserve.errors import Code

FULL = "The batch scheduling queue to which this task was submitted is full"


class UpstreamQueue:
    """As upstream's code reads: batches of tasks, (number, rows), the last of them open. Slow and obvious."""

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        self.batches: list[list[tuple[int, int]]] = [[]]

    @property
    def open_rows(self) -> int:
        return sum(rows for _, rows in self.batches[-1])

    def schedule(self, number: int, rows: int) -> str:
        """The refusal's text; "": the task was queued, or has no rows and is answered outside."""
        if not rows:
            return ""
        size, most = self.parameters.max_execution_batch_size, self.parameters.max_enqueued_batches
        batches = len(self.batches)
        if self.parameters.enable_large_batch_splitting:
            capacity = (most - batches) * size + size - self.open_rows
            if rows > capacity:
                return (
                    f"{FULL}; task size is {rows} but scheduling capacity is only {capacity} "
                    f"(num_enqueued_batches={batches}, max_enqueued_batches={most}, "
                    f"open_batch_size={self.open_rows}, max_execution_batch_size={size})"
                )
            parts = self.split(rows)
        else:
            if self.open_rows + rows > size and batches >= most:
                return f"{FULL}; currently {batches} batches enqueued and max_enqueued_batches is {most}"
            parts = [rows]
        for part in parts:
            if self.open_rows + part > size:
                self.batches.append([])
            self.batches[-1].append((number, part))
        return ""

    def split(self, rows: int) -> list[int]:
        size = self.parameters.max_execution_batch_size
        room = size - self.open_rows
        if rows <= room:
            return [rows]
        parts = [room] if room else []
        rows -= room
        return parts + [size] * (rows // size) + ([rows % size] if rows % size else [])

    def take_batch(self) -> int:
        """The oldest batch runs; one more than the number of the last request that has begun."""
        batch = self.batches.pop(0)
        if not self.batches:
            self.batches.append([])
        return max((number for number, _ in batch), default=-1) + 1

    def begin(self, taken: int) -> None:
        """The worker has begun all before this one, wherever its batches end."""
        *closed, last = [[task for task in batch if task[0] >= taken] for batch in self.batches]
        self.batches = [*(batch for batch in closed if batch), last]


def submit(bound: BatchQueueBound, number: int, rows: int, taken: int) -> str:
    if not bound.room(rows, taken):
        error = bound.refusal(rows)
        assert error.code is Code.UNAVAILABLE
        return error.message
    bound.add(number, rows)
    return ""


def fill(bound: BatchQueueBound, rows: list[int], taken: int = 0) -> list[int]:
    """Requests one after the other; the places of those that are refused."""
    return [number for number, count in enumerate(rows) if submit(bound, number, count, taken)]


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("splits", [False, True])
def test_single_rows_fill_all_batches(most: int, splits: bool) -> None:
    parameters = BatchingParameters(2, max_enqueued_batches=most, enable_large_batch_splitting=splits)
    bound = BatchQueueBound(parameters)
    for number in range(2 * most):
        assert bound.room(1, 0) == 2 * most - number
        bound.add(number, 1)
    assert bound.room(1, 0) == 0
    assert bound.room(1, 2) == 2, "the first batch has begun"


def test_texts() -> None:
    bound = BatchQueueBound(BatchingParameters(4, max_enqueued_batches=2))
    assert fill(bound, [3, 3, 1]) == []
    assert submit(bound, 3, 1, 0) == f"{FULL}; currently 2 batches enqueued and max_enqueued_batches is 2"
    parameters = BatchingParameters(
        100, max_enqueued_batches=2, enable_large_batch_splitting=True, max_execution_batch_size=4
    )
    bound = BatchQueueBound(parameters)
    assert fill(bound, [3, 3]) == []
    assert submit(bound, 2, 3, 0) == (
        f"{FULL}; task size is 3 but scheduling capacity is only 2 "
        "(num_enqueued_batches=2, max_enqueued_batches=2, open_batch_size=2, max_execution_batch_size=4)"
    )


def test_a_request_that_does_not_fit_leaves_room_for_one_that_does() -> None:
    bound = BatchQueueBound(BatchingParameters(4, max_enqueued_batches=1))
    assert fill(bound, [3, 2, 1, 1, 0]) == [1, 3]


def test_an_idle_lane_takes_the_largest_request() -> None:
    bound = BatchQueueBound(BatchingParameters(4, max_enqueued_batches=1))
    for number in range(100):
        assert submit(bound, number, 4, taken=number) == ""
        assert submit(bound, number + 1, 1, taken=number)


def test_a_large_request_is_cut() -> None:
    parameters = BatchingParameters(
        10, max_enqueued_batches=3, enable_large_batch_splitting=True, max_execution_batch_size=3
    )
    bound = BatchQueueBound(parameters)
    assert bound.room(10, 0) == 0
    assert fill(bound, [1, 7, 2]) == [2]
    assert bound.room(1, 0) == 1
    assert bound.room(9, 2) == 1, "all of it has begun"


def test_a_request_without_rows_always_finds_room() -> None:
    bound = BatchQueueBound(BatchingParameters(1, max_enqueued_batches=1))
    assert fill(bound, [1, 0, 0, 1]) == [3]


def test_a_cursor_that_jumps_or_goes_back_does_no_harm() -> None:
    bound = BatchQueueBound(BatchingParameters(2, max_enqueued_batches=2))
    assert fill(bound, [1, 1, 1, 1]) == []
    assert bound.room(1, 1 << 63) == 4, "as if nothing waited"
    bound.add(4, 2)
    assert bound.room(1, 0) == 2


_EITHER = st.booleans()


def test_many_requests_of_which_the_worker_takes_one_after_the_other() -> None:
    bound = BatchQueueBound(BatchingParameters(4, max_enqueued_batches=1))
    bound.add(0, 1, 4)
    assert [bound.room(1, taken) for taken in range(5)] == [0, 1, 2, 3, 4]


@st.composite
def _parameters(draw: st.DrawFn, splitting: st.SearchStrategy[bool] = _EITHER) -> BatchingParameters:
    size, most, splits = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(splitting)
    return BatchingParameters(
        max_batch_size=size + draw(st.integers(0, 12)) if splits else size,
        max_enqueued_batches=most,
        enable_large_batch_splitting=splits,
        max_execution_batch_size=size,
    )


_submissions = st.tuples(st.just("submit"), st.integers(0, 18))
_batches = st.tuples(st.just("batch"), st.just(0))


@settings(max_examples=400)
@given(_parameters(st.just(False)), st.lists(st.one_of(_submissions, _submissions, _batches), max_size=60))
def test_it_is_upstreams_while_upstreams_batches_run(parameters: BatchingParameters, steps: list[tuple[str, int]]) -> None:
    bound, queue = BatchQueueBound(parameters), UpstreamQueue(parameters)
    number = taken = 0
    for step, value in steps:
        if step == "submit":
            rows = min(value, parameters.max_batch_size)
            refused = queue.schedule(number, rows)
            assert submit(bound, number, rows, taken) == refused
            number += not refused
        else:
            taken = max(taken, queue.take_batch())


_takes = st.tuples(st.just("take"), st.integers(1, 9))


@settings(max_examples=400)
@given(_parameters(), st.lists(st.one_of(_submissions, _submissions, _takes), max_size=60))
def test_wherever_the_workers_batches_end(parameters: BatchingParameters, steps: list[tuple[str, int]]) -> None:
    """Of a request that is cut, all of it has begun when its first part has."""
    bound, queue = BatchQueueBound(parameters), UpstreamQueue(parameters)
    number = taken = 0
    for step, value in steps:
        if step == "submit":
            rows = min(value, parameters.max_batch_size)
            refused = queue.schedule(number, rows)
            assert submit(bound, number, rows, taken) == refused
            number += not refused
        else:
            taken = min(taken + value, number)
            queue.begin(taken)


_groups = st.tuples(st.just("group"), st.one_of(st.integers(1, 3), st.integers(1, 18)), st.integers(1, 20))
_more_takes = st.tuples(st.just("take"), st.integers(1, 6), st.just(0))


@settings(max_examples=400)
@given(_parameters(), st.lists(st.one_of(_groups, _more_takes), max_size=30))
def test_many_requests_at_once_are_as_one_after_the_other(
    parameters: BatchingParameters, steps: list[tuple[str, int, int]]
) -> None:
    bound, queue = BatchQueueBound(parameters), UpstreamQueue(parameters)
    number = taken = 0
    for step, value, count in steps:
        if step == "group":
            rows = min(value, parameters.max_batch_size)
            fits = 0
            while fits < count and not queue.schedule(number + fits, rows):
                fits += 1
            assert min(bound.room(rows, taken), count) == fits
            bound.add(number, rows, fits)
            number += fits
        else:
            taken = min(taken + value, number)
            queue.begin(taken)

"""Requests that run in parts, as upstream cuts them where a batch may have fewer rows: one answer, of whatever parts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
from queue_rig import LONG, NOW, SPEC, Answer, Front, Rig, good
from small_version import Array, SmallVersion, twice_and_one
from test_batch_sizes import too_many
from test_queue_limits import Submit, ran, way_to_submit
from test_queue_pool import gated

from ringserve.errors import Code
from shm.layout import LaneSpec
from workers.limits import Limits

NO_ROWS = "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors"

submit = way_to_submit


def cut_at(most_rows: int, of: int = 12) -> Limits:
    return Limits(most_rows, most_request_rows=of, split=True, by_parameters=True)


def values(rig: Rig) -> list[tuple[float, ...]]:
    return [answer.values for answer in rig.front.answers()]


def test_a_large_request_is_run_in_parts(submit: Callable[[Front], Submit]) -> None:
    """Together with whatever goes before and after."""
    version = SmallVersion()
    with Rig(version, limits=cut_at(2)) as rig:
        for request in ([1.0], [2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [8.0]):
            submit(rig.front)(*request)
        rig.work()
        assert values(rig) == [(3.0,), (5.0, 7.0, 9.0, 11.0, 13.0, 15.0), (17.0,)]
        assert ran(version) == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
        assert rig.queue.lanes[0].consumer.idle


def test_a_small_request_is_cut_to_fill_a_batch(submit: Callable[[Front], Submit]) -> None:
    version = SmallVersion()
    with Rig(version, limits=cut_at(3)) as rig:
        for request in ([1.0, 2.0], [3.0, 4.0], [5.0]):
            submit(rig.front)(*request)
        rig.work()
        assert values(rig) == [(3.0, 5.0), (7.0, 9.0), (11.0,)]
        assert ran(version) == [[1.0, 2.0, 3.0], [4.0, 5.0]]


def test_batches_of_one_row(submit: Callable[[Front], Submit]) -> None:
    with Rig(SmallVersion(), limits=cut_at(1)) as rig:
        submit(rig.front)(1.0)
        submit(rig.front)(2.0, 3.0)
        rig.work()
        assert values(rig) == [(3.0,), (5.0, 7.0)]


def test_as_many_rows_as_a_request_may_have(submit: Callable[[Front], Submit]) -> None:
    version = SmallVersion()
    with Rig(version, limits=cut_at(2, of=3)) as rig:
        submit(rig.front)(1.0)
        submit(rig.front)(*[2.0] * 3)
        submit(rig.front)(*[2.0] * 4)
        rig.work()
        first, second, refused = rig.front.answers()
        assert (first.values, second.values, refused) == ((3.0,), (5.0,) * 3, too_many(4, 3))
        assert ran(version) == [[1.0, 2.0], [2.0, 2.0]], "nothing of what is refused"


def test_the_last_part_is_filled_up(submit: Callable[[Front], Submit]) -> None:
    version = SmallVersion()
    limits = Limits(4, most_request_rows=9, sizes=(2, 4), split=True, by_parameters=True)
    with Rig(version, limits=limits) as rig:
        submit(rig.front)(1.0, 2.0, 3.0, 4.0, 5.0)
        rig.work()
        assert values(rig) == [(3.0, 5.0, 7.0, 9.0, 11.0)]
        assert ran(version) == [[1.0, 2.0, 3.0, 4.0], [5.0, 5.0]]


def test_columns_are_answered_in_columns() -> None:
    with Rig(SmallVersion(), limits=cut_at(2)) as rig:
        rig.front.submit(1.0, 2.0, 3.0)
        rig.front.submit_packed(1.0, 2.0, 3.0)
        rig.work()
        assert rig.front.answers() == [good(3.0, 5.0, 7.0), good(3.0, 5.0, 7.0, packed=True)]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_parts_end_in_any_order(order: list[int], submit: Callable[[Front], Submit]) -> None:
    """The answer is there when the last of them has ended, and has them in theirs."""
    version = gated(1.0, 3.0, 5.0)
    with Rig(version, limits=cut_at(2), seconds=LONG, most_in_flight=3) as rig:
        front = rig.front
        submit(front)(1.0, 2.0, 3.0, 4.0, 5.0)
        submit(front)(6.0)
        assert rig.turns() == 3
        for number in order:
            assert front.producer.completed == 0
            version.gates[2.0 * number + 1].set()
            rig.post()
        assert values(rig) == [(3.0, 5.0, 7.0, 9.0, 11.0), (13.0,)]


@pytest.mark.parametrize("guilty", range(5))
def test_a_request_of_which_a_part_fails_fails(guilty: int, submit: Callable[[Front], Submit]) -> None:
    """And nobody with whom it shares a batch."""
    with Rig(SmallVersion(), limits=cut_at(2)) as rig:
        cut = [1.0] * 5
        cut[guilty] = -7.0
        submit(rig.front)(1.0)
        submit(rig.front)(*cut)
        submit(rig.front)(2.0)
        rig.work()
        first, second, third = rig.front.answers()
        assert (second.code, second.text, second.values) == (Code.INVALID_ARGUMENT, "negative row -7", ())
        assert (first.values, third.values) == ((3.0,), (5.0,))


def test_a_request_of_which_all_parts_fail(submit: Callable[[Front], Submit]) -> None:
    with Rig(SmallVersion(), limits=cut_at(2)) as rig:
        submit(rig.front)(-1.0, 2.0, -3.0, 4.0)
        rig.work()
        (answer,) = rig.front.answers()
        assert (answer.code, answer.text) == (Code.INVALID_ARGUMENT, "negative row -1"), "the first one's error"


def test_a_fault_of_the_engine(submit: Callable[[Front], Submit], caplog: pytest.LogCaptureFixture) -> None:
    def faulty(x: Array) -> Array:
        if (x == 13).any():
            raise RuntimeError("engine out of order")
        return x

    with Rig(SmallVersion(faulty), limits=cut_at(2)) as rig, caplog.at_level(logging.CRITICAL):
        submit(rig.front)(1.0, 2.0, 13.0)
        submit(rig.front)(4.0)
        rig.work()
        first, second = rig.front.answers()
        assert (first.code, first.text) == (Code.INTERNAL, "worker error: engine out of order")
        assert second.values == (4.0,)


@pytest.mark.parametrize(
    "function", [lambda x: x[:-1], lambda x: x.sum(), lambda x: np.concatenate([x, x])], ids=["fewer", "scalar", "more"]
)
def test_outputs_that_are_no_rows_can_not_be_put_together(
    function: Callable[[Array], Array], submit: Callable[[Front], Submit]
) -> None:
    """A request that need not be cut has its answer, whatever it is."""
    with Rig(SmallVersion(function), limits=cut_at(3)) as rig:
        submit(rig.front)(1.0, 2.0, 3.0, 4.0)
        rig.work()
        submit(rig.front)(5.0, 6.0)
        rig.work()
        cut, whole = rig.front.answers()
        assert cut == Answer(Code.FAILED_PRECONDITION, text=NO_ROWS, packed=True)
        assert whole.values == tuple(np.atleast_1d(function(np.array([5.0, 6.0]))).tolist())


def test_parts_with_outputs_of_different_shapes(submit: Callable[[Front], Submit]) -> None:
    def ragged(x: Array) -> Array:
        return np.stack([x] * int(x.max()), axis=1)

    with Rig(SmallVersion(ragged), limits=cut_at(2)) as rig:
        submit(rig.front)(1.0, 1.0, 2.0, 2.0)
        submit(rig.front)(3.0, 3.0)
        rig.work()
        cut, whole = rig.front.answers()
        assert (cut.code, whole.values) == (Code.INTERNAL, (3.0,) * 6)
        assert cut.text.startswith("Tensor split operation failed: ")


def test_parts_of_which_some_are_rows_of_the_columns() -> None:
    def sometimes_wide(x: Array) -> Array:
        return np.stack([x, x], axis=1) if (x > 2).any() else x

    with Rig(SmallVersion(sometimes_wide), limits=cut_at(2)) as rig:
        rig.front.submit(1.0, 2.0, 3.0, 4.0)
        rig.work()
        (answer,) = rig.front.answers()
        assert (answer.code, answer.text.split(":")[0]) == (Code.INTERNAL, "Tensor split operation failed")


def test_an_answer_that_does_not_fit_into_the_lane() -> None:
    small = LaneSpec(SPEC.inputs, SPEC.outputs, SPEC.rows, SPEC.slots, SPEC.request_bytes, answer_bytes=256)
    with Rig(SmallVersion(), limits=cut_at(32, of=99), spec=small) as rig:
        rig.front.submit_packed(*[1.0] * 99)
        rig.front.submit(*[1.0] * 99)
        rig.work()
        too_large, right = rig.front.answers()
        assert too_large.code == Code.RESOURCE_EXHAUSTED
        assert right == good(*[3.0] * 99), "in the columns"


def test_a_request_that_is_given_up_between_its_parts_is_run_to_its_end() -> None:
    version = gated(1.0)
    with Rig(version, limits=cut_at(1), seconds=LONG, most_in_flight=1) as rig:
        number = rig.front.submit(1.0, 2.0, deadline=NOW + 5)
        assert rig.turn()
        rig.front.producer.abandon(number)
        version.gates[1.0].set()
        rig.work(NOW + 9)
        assert rig.front.answers() == [good(3.0, 5.0)]


def test_a_lane_that_goes_while_parts_run() -> None:
    """Nothing more of it is run, and nobody is told."""
    version = gated(1.0)
    with Rig(version, limits=cut_at(1), seconds=LONG, most_in_flight=1) as rig:
        rig.front.submit(1.0, 2.0)
        rig.front.submit(3.0)
        assert rig.turn()
        (lane,) = rig.queue.lanes
        rig.queue.remove(lambda one: one is lane)
        lane.drop()
        version.gates[1.0].set()
        rig.post()
        assert not rig.turn()
        assert not rig.queue.is_laden
        assert ran(version) == [[1.0]]
        assert rig.front.producer.completed == 0


def test_a_worker_that_dies_between_parts(submit: Callable[[Front], Submit]) -> None:
    """The next one runs all of them by itself, as any suspect."""
    version = SmallVersion(twice_and_one)
    with Rig(version, limits=cut_at(2)) as rig:
        submit(rig.front)(1.0, 2.0, 3.0)
        submit(rig.front)(4.0)
        assert rig.turn()
        rig.start_worker()
        rig.work()
        assert values(rig) == [(3.0, 5.0, 7.0), (9.0,)]
        assert ran(version).count([1.0, 2.0, 3.0]) == 1

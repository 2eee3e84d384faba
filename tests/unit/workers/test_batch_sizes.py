"""How many rows run: batches are filled up to allowed sizes, and requests may have too many rows for one, or none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from queue_rig import NOW, SPEC, Answer, Front, Rig, good
from small_version import SmallVersion
from test_queue_limits import Submit, ran, way_to_submit

from ringserve.errors import Code
from shm.packed import PackedTensor
from workers.limits import Limits

submit = way_to_submit

NO_DIMENSION = "Batching Run() input tensors must have at least one dimension"


def too_many(rows: int, most: int) -> Answer:
    text = f"Task size {rows} is larger than maximum input batch size {most}"
    return Answer(Code.INVALID_ARGUMENT, text=text, packed=True)


@pytest.fixture
def version() -> SmallVersion:
    return SmallVersion()


# Sizes.


@pytest.mark.parametrize(
    ("requests", "executed"),
    [
        ([[1.0, 2.0]], [1.0, 2.0]),
        ([[5.0]], [5.0, 5.0]),
        ([[1.0], [2.0, 3.0]], [1.0, 2.0, 3.0, 2.0, 2.0]),
        ([[1.0, 2.0], [3.0], [4.0]], [1.0, 2.0, 3.0, 4.0, 4.0]),
        ([[1.0] * 6], [1.0] * 6),
    ],
)
def test_a_batch_is_filled_up_with_the_first_row_of_its_last_request(
    version: SmallVersion, submit: Callable[[Front], Submit], requests: list[list[float]], executed: list[float]
) -> None:
    """To the first of the sizes that holds it; what comes of those rows is nobody's."""
    with Rig(version, limits=Limits(5, sizes=(2, 5))) as rig:
        for values in requests:
            submit(rig.front)(*values)
        assert rig.turns() == 1
        assert [answer.values for answer in rig.front.answers()] == [
            tuple(2 * value + 1 for value in values) for values in requests
        ]
        assert ran(version) == [executed]
        behind = sum(map(len, requests))
        assert not rig.front.lane.outputs[0][behind:].any(), "nothing is written behind the requests' rows"


def test_sizes_are_taken_in_their_order(version: SmallVersion) -> None:
    """As upstream does, which does not ask for more than that the last is the largest."""
    with Rig(version, limits=Limits(8, sizes=(4, 2, 8))) as rig:
        rig.front.submit(1.0)
        rig.work()
        assert ran(version) == [[1.0] * 4]


def test_rows_of_several_lanes_are_filled_up(version: SmallVersion) -> None:
    with Rig(version, fronts=2, limits=Limits(8, sizes=(8,))) as rig:
        rig.fronts[0].submit(1.0)
        rig.fronts[1].submit(2.0, 3.0)
        rig.fronts[1].submit(4.0, 5.0)
        assert rig.turns() == 1
        assert rig.fronts[0].answers() == [good(3.0)]
        assert rig.fronts[1].answers() == [good(5.0, 7.0), good(9.0, 11.0)]
        (executed,) = version.joined
        assert sorted(executed[:5]) == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert executed[5:] in ([4.0] * 3, [1.0] * 3)


def test_the_last_request_of_a_piece_is_meant(version: SmallVersion) -> None:
    """Behind the ring's end its rows begin anew."""
    with Rig(version, limits=Limits(SPEC.rows, sizes=(4, SPEC.rows))) as rig:
        front = rig.front
        first = front.submit(*[0.0] * (SPEC.rows - 4))
        rig.work()
        front.submit(1.0, 2.0)
        front.producer.release(first + 1)
        for values in ((3.0,), (4.0, 5.0)):
            front.submit(*values)
        rig.work()
        assert version.joined[1] == [1.0, 2.0, 3.0, 4.0, 5.0] + [4.0] * (SPEC.rows - 5)
        assert front.answers() == [good(3.0, 5.0), good(7.0), good(9.0, 11.0)]


def test_an_error_stays_with_its_request_where_rows_fill_up(
    version: SmallVersion, submit: Callable[[Front], Submit]
) -> None:
    """Also where it was the guilty one's row that filled the batch up."""
    with Rig(version, limits=Limits(8, sizes=(4, 8))) as rig:
        for value in (1.0, 2.0, -3.0):
            submit(rig.front)(value)
        rig.work()
        answers = rig.front.answers()
        assert [answer.values for answer in answers] == [(3.0,), (5.0,), ()]
        assert (answers[2].code, answers[2].text) == (Code.INVALID_ARGUMENT, "negative row -3")
        assert ran(version)[0] == [1.0, 2.0, -3.0, -3.0]


# Rows of one request.


def test_a_request_of_too_many_rows_is_refused(version: SmallVersion) -> None:
    with Rig(version, limits=Limits(3, most_request_rows=3, by_parameters=True)) as rig:
        for request in ([1.0], [2.0] * 4, [3.0, 4.0]):
            rig.front.submit(*request)
        rig.front.submit_packed(*[5.0] * 5)
        rig.front.submit(6.0)
        rig.work()
        assert rig.front.answers() == [good(3.0), too_many(4, 3), good(7.0, 9.0), too_many(5, 3), good(13.0)]
        assert sorted(ran(version)) == [[1.0], [3.0, 4.0, 6.0]]


def test_one_of_too_many_rows_alone(version: SmallVersion, submit: Callable[[Front], Submit]) -> None:
    with Rig(version, limits=Limits(3, most_request_rows=3, by_parameters=True)) as rig:
        submit(rig.front)(*[2.0] * 4)
        rig.work()
        assert rig.front.answers() == [too_many(4, 3)]
        assert version.runs == 0


def test_without_a_limit_a_large_request_runs_by_itself(version: SmallVersion, submit: Callable[[Front], Submit]) -> None:
    with Rig(version, limits=Limits(3)) as rig:
        for size in (1, 4, 1):
            submit(rig.front)(*[2.0] * size)
        rig.work()
        assert [len(answer.values) for answer in rig.front.answers()] == [1, 4, 1]
        assert list(map(len, ran(version))) == [1, 4, 1]


def test_by_upstreams_parameters_a_scalar_is_refused(version: SmallVersion) -> None:
    """However many rows it says it has, and however those would be cut."""
    limits = Limits(2, most_request_rows=9, split=True, by_parameters=True)
    with Rig(version, limits=limits) as rig:
        scalar = PackedTensor(1, (), np.float32(1).tobytes())
        rig.front.producer.submit_packed(0, 5, [scalar], NOW)
        rig.front.submit(1.0)
        rig.work()
        refusal = Answer(Code.INVALID_ARGUMENT, text=NO_DIMENSION, packed=True)
        assert rig.front.answers() == [refusal, good(3.0)]
        assert ran(version) == [[1.0]]


def test_a_request_without_rows_waits_for_nobody(version: SmallVersion) -> None:
    with Rig(version, limits=Limits(9, timeout=10, sizes=(4,), most_request_rows=9, by_parameters=True)) as rig:
        rig.front.submit_packed()
        assert rig.turn()
        assert rig.front.answers() == [good(packed=True)]
        assert ran(version) == [[]]


def test_packed_requests_of_many_bytes_share_no_batch(version: SmallVersion) -> None:
    with Rig(version, limits=Limits(32, most_bytes=40)) as rig:
        for size in (6, 4, 1, 10, 11, 1):
            rig.front.submit_packed(*[1.0] * size)
        rig.work()
        assert [len(answer.values) for answer in rig.front.answers()] == [6, 4, 1, 10, 11, 1]
        assert list(map(len, ran(version))) == [10, 1, 10, 11, 1]

"""Requests that are merged: what shares a run, whose error it is, and outputs of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from queue_rig import FLOATS, FORM, NOW, SPEC, Front, Rig, good
from small_version import Array, ArrayVersion, SmallVersion
from test_batch_meter import numbers
from test_queue_limits import LABELS, new_table, ran

from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME
from shm.counter_families import RETRIED
from shm.counters import CounterTable
from shm.layout import Column, LaneSpec
from shm.packed import PackedTensor
from workers.batch_counters import BatchMeter
from workers.engine import Form
from workers.limits import Limits
from workers.packed_arrays import packed, unpacked

table = new_table

MANY = 32
JOINED = Limits(MANY)
PADDED = Limits(MANY, pad=True)
TEXTS = LaneSpec(slots=64, request_bytes=1 << 14, answer_bytes=1 << 16)


def send(front: Front, *arrays: Array | Sequence[object], dtype: str = "float", deadline: int = 0) -> int:
    """A packed request of these inputs."""
    made = BY_NAME[dtype]
    tensors = [packed(made, np.array(array, made.numpy or object)) for array in arrays]
    return front.producer.submit_packed(0, 1, tensors, NOW, deadline)


def floats(*shape: int, value: float = 1.0) -> Array:
    return np.full(shape, value, "<f4")


def outputs(front: Front, number: int) -> list[Array]:
    """A packed answer, which is no error."""
    assert front.producer.verdict(number) == (0, 1)
    return [unpacked(tensor) for tensor in front.producer.answer_packed(number)]


# Whose error it is.


@pytest.mark.parametrize("packed", [(False,), (True,), (False, True)])
@pytest.mark.parametrize("guilty", [(0,), (31,), (13, 14), (3, 17, 30), tuple(range(MANY))])
def test_a_few_guilty_ones_are_found_in_a_few_runs(
    guilty: tuple[int, ...], packed: tuple[bool, ...], table: CounterTable
) -> None:
    version = SmallVersion()
    with Rig(version, limits=JOINED, meter=BatchMeter(table, LABELS)) as rig:
        for number in range(MANY):
            submit = rig.front.submit_packed if packed[number % len(packed)] else rig.front.submit
            submit(float(-number - 1 if number in guilty else number))
        assert rig.turns() == 1
        for number, answer in enumerate(rig.front.answers()):
            if number in guilty:
                assert (answer.code, answer.text) == (Code.INVALID_ARGUMENT, f"negative row {-number - 1}")
            else:
                assert answer.values == (2.0 * number + 1,)
        halvings = 5  # of 32
        assert version.runs <= min(1 + 2 * halvings * len(guilty), 2 * MANY - 1)
        assert numbers(table, RETRIED.name) == {LABELS: 1}


def test_an_error_that_only_a_pair_makes_is_nobodys() -> None:
    """Each of them is right by itself."""

    def quarrel(x: Array) -> Array:
        if {3.0, 4.0} <= set(x.tolist()):
            raise ServingError(Code.ABORTED, "not these two")
        return x

    version = SmallVersion(quarrel)
    with Rig(version, limits=JOINED) as rig:
        for value in (1.0, 3.0, 4.0, 5.0):
            rig.front.submit(value)
        rig.work()
        assert rig.front.answers() == [good(1.0), good(3.0), good(4.0), good(5.0)]
        assert version.alone == [[1.0, 3.0], [4.0, 5.0]]


def test_damaged_requests_that_are_merged() -> None:
    """What the front end wrote is looked at when the batch is made; the others have their answers."""
    version = SmallVersion()
    with Rig(version, limits=JOINED) as rig:
        rig.front.producer.submit_packed(0, 1, [PackedTensor(1, (3,), bytes(8))], NOW)
        for value in (1.0, 2.0):
            rig.front.submit_packed(value)
        rig.work()
        damaged, *others = rig.front.answers()
        assert damaged.code in {Code.INVALID_ARGUMENT, Code.INTERNAL}
        assert [answer.values for answer in others] == [(3.0,), (5.0,)]


# Outputs that are no rows.


def test_outputs_that_are_no_rows_are_each_requests_own() -> None:
    version = SmallVersion(lambda x: x[x != 0])
    with Rig(version, limits=JOINED) as rig:
        for values in ([1.0], [0.0, 2.0], [0.0], [3.0]):
            rig.front.submit_packed(*values)
        assert rig.turns() == 1
        assert [answer.values for answer in rig.front.answers()] == [(1.0,), (2.0,), (), (3.0,)]
        assert version.alone == [[1.0, 0.0, 2.0, 0.0, 3.0], [1.0], [0.0, 2.0], [0.0], [3.0]], "and not by halves"


@pytest.mark.parametrize("function", [lambda x: x.sum(), lambda x: np.float32(len(x)), lambda x: x[None]])
def test_outputs_of_another_first_dimension(function: Callable[[Array], Any]) -> None:
    version = ArrayVersion(lambda x: np.asarray(function(x), "<f4"))
    with Rig(version, limits=JOINED) as rig:
        sent = [floats(2, value=3.0), floats(2), floats(4, value=5.0)]
        asked = [send(rig.front, array) for array in sent]
        rig.work()
        for number, array in zip(asked, sent, strict=True):
            (answer,) = outputs(rig.front, number)
            assert answer.tolist() == np.asarray(function(array)).tolist()
        assert version.shapes == [[(8,)], [(2,)], [(2,)], [(4,)]]


def test_one_output_of_several_that_is_no_row() -> None:
    version = ArrayVersion(lambda x: (x * 2, np.asarray(len(x), "<f4")))
    with Rig(version, limits=JOINED) as rig:
        asked = [send(rig.front, floats(count)) for count in (1, 2)]
        rig.work()
        found = [[array.tolist() for array in outputs(rig.front, number)] for number in asked]
        assert found == [[[2.0], 1.0], [[2.0, 2.0], 2.0]]


# What shares a run.


def test_requests_without_rows_run_by_themselves() -> None:
    version = ArrayVersion(lambda x: x)
    with Rig(version, limits=JOINED) as rig:
        shapes = [(0,), (1,), (0,), (2, 0), (2,)]
        asked = [send(rig.front, floats(*shape)) for shape in shapes]
        rig.work()
        assert [outputs(rig.front, number)[0].shape for number in asked] == shapes
        assert sorted(version.shapes) == [[(0,)], [(0,)], [(2, 0)], [(3,)]]


@pytest.mark.parametrize("limits", [JOINED, PADDED], ids=["joined", "padded"])
def test_types_are_never_mixed(limits: Limits) -> None:
    """Joined as arrays they would be, by way of the larger type."""
    seen: list[str] = []

    def see(x: Array) -> Array:
        seen.append(str(x.dtype))
        return x

    with Rig(ArrayVersion(see), limits=limits) as rig:
        rig.front.submit(1.0)
        send(rig.front, [2.0], dtype="double")
        send(rig.front, [3], dtype="int32")
        send(rig.front, [4.0], dtype="float")
        send(rig.front, [5.0], dtype="double")
        rig.work()
        assert sorted(seen) == ["float32", "float64", "int32"]
        found = [outputs(rig.front, number)[0] for number in range(1, 5)]
        assert [(array.dtype.name, array.tolist()) for array in found] == [
            ("float64", [2.0]), ("int32", [3]), ("float32", [4.0]), ("float64", [5.0]),
        ]  # fmt: skip


@pytest.mark.parametrize("limits", [JOINED, PADDED], ids=["joined", "padded"])
def test_ranks_are_never_mixed(limits: Limits) -> None:
    version = ArrayVersion(lambda x: x)
    with Rig(version, limits=limits) as rig:
        shapes = [(1, 2), (1,), (1, 2, 1), (1, 2), ()]
        asked = [send(rig.front, floats(*shape)) for shape in shapes]
        rig.work()
        assert [outputs(rig.front, number)[0].shape for number in asked] == shapes
        assert sorted(version.shapes) == [[()], [(1,)], [(1, 2, 1)], [(2, 2)]]


def test_inputs_of_different_numbers_of_rows_are_the_models_own_affair() -> None:
    version = ArrayVersion(lambda x, y: x + y)
    with Rig(version, form=None, spec=TEXTS, limits=JOINED) as rig:
        for _ in range(2):
            send(rig.front, floats(3), floats(1))
        rig.work()
        assert version.shapes == [[(3,), (1,)]] * 2


# Padding.

SMALL = [[[1.0, 2.0], [3.0, 4.0]]]
LARGE = [[[5.0, 6.0, 7.0], [8.0, 9.0, 10.0], [11.0, 12.0, 13.0]]]
HALF_PLUS_TWO = [
    [[[2.5, 3.0, 2.5], [3.5, 4.0, 2.5], [2.5, 2.5, 2.5]]],
    [[[4.5, 5.0, 5.5], [6.0, 6.5, 7.0], [7.5, 8.0, 8.5]]],
]


def test_shapes_that_differ_are_filled_up_as_upstream_does() -> None:
    """The answer of the smaller one has the batch's shape."""
    version = ArrayVersion(lambda x: x / 2 + 2)
    with Rig(version, limits=Limits(2, pad=True, by_parameters=True)) as rig:
        asked = [send(rig.front, np.array(values, "<f4")) for values in (SMALL, LARGE)]
        rig.work()
        assert [outputs(rig.front, number)[0].tolist() for number in asked] == HALF_PLUS_TWO
        assert version.shapes == [[(2, 3, 3)]]


def test_without_padding_shapes_that_differ_share_no_batch() -> None:
    """Where upstream fails both."""
    version = ArrayVersion(lambda x: x / 2 + 2)
    with Rig(version, limits=Limits(2, by_parameters=True)) as rig:
        asked = [send(rig.front, np.array(values, "<f4")) for values in (SMALL, LARGE)]
        rig.work()
        assert [outputs(rig.front, number)[0].shape for number in asked] == [(1, 2, 2), (1, 3, 3)]
        assert version.shapes == [[(1, 2, 2)], [(1, 3, 3)]]


def test_rows_of_columns_are_filled_up_too() -> None:
    """What does not fit the columns any more goes packed."""
    pairs = (1, Column("<f4", (2,)))
    spec = LaneSpec((pairs[1],), (pairs[1],), SPEC.rows, SPEC.slots, SPEC.request_bytes, SPEC.answer_bytes)
    with Rig(ArrayVersion(lambda x: x), form=Form((pairs,), (pairs,)), spec=spec, limits=PADDED) as rig:
        columns = rig.front.producer.submit_rows(0, 1, [np.array([[1.0, 2.0]], "<f4")], NOW)
        wide = send(rig.front, [[3.0, 4.0, 5.0]])
        rig.work()
        assert [outputs(rig.front, number)[0].tolist() for number in (columns, wide)] == [[[1, 2, 1]], [[3, 4, 5]]]
        columns = rig.front.producer.submit_rows(0, 1, [np.array([[6.0, 7.0]], "<f4")], NOW)
        narrow = send(rig.front, [[8.0]])
        rig.work()
        found = rig.front.producer.answer_rows(columns)
        assert found is not None
        assert (found[0].tolist(), outputs(rig.front, narrow)[0].tolist()) == ([[6, 7]], [[8, 8]])


def test_seven_dimensions_are_refused_where_they_would_be_padded() -> None:
    with Rig(ArrayVersion(lambda x: x), limits=Limits(2, pad=True, by_parameters=True)) as rig:
        send(rig.front, floats(*[1] * 7))
        six = send(rig.front, floats(*[1] * 6))
        rig.work()
        refused = rig.front.answer(0)
        assert (refused.code, refused.text) == (
            Code.INVALID_ARGUMENT,
            "Only tensors with rank from 1 to 6 can be padded.",
        )
        assert outputs(rig.front, six)[0].shape == (1,) * 6


# Outputs of several kinds.


def shout(texts: Array) -> Sequence[Array]:
    """Two outputs: the texts in capitals, and how long they are."""
    upper = np.empty(texts.shape, object)
    upper[...] = [text.upper() for text in texts.tolist()]
    return upper, np.array([len(text) for text in texts.tolist()], "<i4")


@pytest.mark.parametrize("limits", [JOINED, Limits(2, most_request_rows=9, split=True), Limits(4, sizes=(4, 8))])
def test_strings(limits: Limits) -> None:
    """Merged, in parts, or filled up."""
    version = ArrayVersion(shout)
    sent = [[b"a"], [b"", b"b \0", b"c" * 100], [b"\xff"], [b"d", b"e"]]
    with Rig(version, form=None, spec=TEXTS, limits=limits) as rig:
        asked = [send(rig.front, np.array(texts, object), dtype="string") for texts in sent]
        rig.work()
        for number, texts in zip(asked, sent, strict=True):
            upper, lengths = outputs(rig.front, number)
            assert upper.tolist() == [text.upper() for text in texts]
            assert lengths.tolist() == [len(text) for text in texts]
        assert len(version.shapes) < len(sent) + 1


COLUMNS = Form((FLOATS,), (FLOATS, (3, Column("<i4", (2,)))))
COLUMN_SPEC = LaneSpec(
    (FLOATS[1],), (FLOATS[1], Column("<i4", (2,))), SPEC.rows, SPEC.slots, SPEC.request_bytes, SPEC.answer_bytes
)


def pairs_of(x: Array) -> Sequence[Array]:
    return x * 2, np.stack([x, -x], axis=1).astype("<i4")


@pytest.mark.parametrize("limits", [JOINED, Limits(2, most_request_rows=9, split=True)])
def test_several_outputs_in_columns_and_packed(limits: Limits) -> None:
    with Rig(ArrayVersion(pairs_of), form=COLUMNS, spec=COLUMN_SPEC, limits=limits) as rig:
        producer = rig.front.producer
        for first in (1.0, 5.0):
            values = np.arange(first, first + 3, dtype="<f4")
            in_columns = producer.submit_rows(0, 3, [values], NOW)
            in_bytes = send(rig.front, values)
            rig.work()
            for found in (producer.answer_rows(in_columns), outputs(rig.front, in_bytes)):
                assert found is not None
                assert [array.tolist() for array in found] == [array.tolist() for array in pairs_of(values)]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x, x),
        lambda x: (x,),
        lambda x: (x, np.zeros((len(x), 2), "<i4"), x),
        lambda x: (x, np.zeros((len(x), 3), "<i4")),
        lambda x: (x.astype("<f8"), np.zeros((len(x), 2), "<i4")),
    ],
    ids=["other type", "fewer", "more", "wider", "other type of the first"],
)
def test_outputs_that_are_not_the_columns_go_packed(function: Callable[[Array], Any]) -> None:
    """All of them, and nothing is left of them in the columns."""
    with Rig(ArrayVersion(function), form=COLUMNS, spec=COLUMN_SPEC, limits=JOINED) as rig:
        values = [np.array(row, "<f4") for row in ([1.0], [2.0, 3.0])]
        asked = [rig.front.producer.submit_rows(0, len(row), [row], NOW) for row in values]
        send(rig.front, [4.0])
        rig.work()
        for number, row in zip(asked, values, strict=True):
            expected = list(function(row))
            found = outputs(rig.front, number)
            assert [array.dtype for array in found] == [array.dtype for array in expected]
            assert [array.tolist() for array in found] == [array.tolist() for array in expected]
        assert not any(column.any() for column in rig.front.lane.outputs)


def test_a_request_that_runs_alone_answers_in_the_columns_that_fit() -> None:
    version = SmallVersion()
    with Rig(version, form=FORM, limits=Limits(MANY, by_deadline=True)) as rig:
        rig.front.submit(1.0, 2.0)
        rig.work()
        assert rig.front.answers() == [good(3.0, 5.0)]
        assert ran(version) == [[1.0, 2.0]]

"""Values are looked at many at once: that gives what one by one gives, errors too, and a fault takes little more."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import one_by_one
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_signatures import signature, spec

from frontend.rest import json_values, predict_body
from frontend.rest.json_values import first_unlike
from frontend.rest.predict_body import PredictBody
from frontend.tensors import Tensor
from ringserve.errors import ServingError
from ringserve.signature import Signature
from ringserve.tensor import DType

DTYPES = ("float", "double", "int8", "uint8", "int32", "int64", "uint32", "uint64", "bool", "string", "half")

leaves: dict[str, st.SearchStrategy[Any]] = {
    "float": st.sampled_from([0, 1, -7, 0.5, 16777217, 1e39, (1 << 64) - 1]),
    "bool": st.booleans(),
    "string": st.sampled_from(["", "a", "é", {"b64": "YQ=="}, {"b64": "YWI"}, {"b64": "YW I="}]),
    "int": st.sampled_from([0, 1, 127, 300]),
}
faults: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, 1.5, -1, 1 << 40, (1 << 64) - 1, "x", {}, {"b64": "!"}, {"b64": "YQ=="}, {"b64": 1}, {"y": 1},
     {"b64": "YQ==", "x": 1}, [], [[]], [1], ["a"], [1, 2], [[1, 2]], [True], {"x": 1, "y": 2}, {"x": [1]}]
)  # fmt: skip


def leaf(dtype: str) -> st.SearchStrategy[Any]:
    return leaves.get(dtype, leaves["float"] if dtype in ("double", "half") else leaves["int"])


@st.composite
def values(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> Any:
    if not shape:
        return draw(leaf(dtype))
    return [draw(values(dtype, shape[1:])) for _ in range(shape[0])]


def spoil(draw: st.DrawFn, value: Any) -> None:
    """Put something else anywhere into a list, or leave something out of it."""
    while isinstance(value, list | dict) and value:
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = draw(st.sampled_from(places))
        if not isinstance(value[place], list | dict) or draw(st.integers(0, 2)) == 0:
            if draw(st.booleans()):
                value[place] = copy.deepcopy(draw(faults))
            else:
                del value[place]
            return
        value = value[place]


shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Signature, list[Any], bool]:
    """A signature, what is fed, and whether by rows."""
    named = draw(st.booleans())
    specs = [spec(alias, draw(st.sampled_from(DTYPES))) for alias in (("x", "y") if named else ("x",))]
    if not named and draw(st.booleans()):
        specs = [spec("b64", specs[0].dtype.name)]
    inner = {one.alias: draw(shapes) for one in specs}
    value: list[Any] = []
    for _ in range(draw(st.integers(1, 9))):
        row = {one.alias: draw(values(one.dtype.name, inner[one.alias])) for one in specs}
        value.append(row if named else row[specs[0].alias])
    value = json.loads(json.dumps(value))  # what is drawn twice is two things
    for _ in range(draw(st.integers(0, 2))):
        spoil(draw, value)
    return signature(*specs), value, draw(st.booleans())


def outcome(read: Callable[[], list[Tensor]]) -> list[tuple[Any, ...]]:
    try:
        tensors = read()
    except ServingError as error:
        return [(error.code, error.message)]
    return [
        (one.dtype, one.shape, one.data if isinstance(one.data, list) else (one.data.dtype, one.data.tobytes()))
        for one in tensors
    ]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@settings(deadline=None, max_examples=600)
@given(bodies())
def test_what_one_by_one_gives(made: tuple[Signature, list[Any], bool]) -> None:
    of, value, by_rows = made
    if by_rows and value and (len(of.inputs) == 1 or isinstance(value[0], dict)):
        if len(of.inputs) > 1 and json_values.is_b64(value[0]):
            return
        found = outcome(lambda: PredictBody(json.dumps({"instances": value}).encode()).tensors(of).tensors)
        assert found == outcome(lambda: one_by_one.rows(value, of.inputs))
    else:
        only = signature(of.inputs[0])
        found = outcome(lambda: PredictBody(json.dumps({"inputs": value}).encode()).tensors(only).tensors)
        assert found == outcome(lambda: [one_by_one.one_tensor(value, only.inputs[0].dtype)])


@settings(deadline=None)
@given(st.integers(1, 500), st.data())
def test_the_first_fault_is_found_with_each_value_seen_once(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    seen: list[int] = []

    def alike(some: list[int]) -> bool:
        seen.extend(some)
        return bad.isdisjoint(some)

    assert first_unlike(list(range(count)), alike) == min(bad)
    assert len(seen) <= count


COUNT = 4096
LAST: list[tuple[Signature, list[Any], Any]] = [
    (signature(spec("x")), [[1.5]] * COUNT, [1, 2]),
    (signature(spec("x")), [[[1.5]]] * COUNT, [["x"]]),
    (signature(spec("x", "int64")), [1] * COUNT, 1.5),
    (signature(spec("x", "string")), [{"b64": "YQ=="}] * COUNT, {"b64": "!"}),
    (signature(spec("x", "string")), [["a", {"b64": "YQ=="}]] * COUNT, ["a", None]),
    (signature(spec("x")), [{"x": 1.5}] * COUNT, {"y": 1}),
    (signature(spec("x")), [{"x": [1.5]}] * COUNT, {"x": [None]}),
    (signature(spec("x"), spec("y", "int8")), [{"x": 1.5, "y": 1}] * COUNT, {"y": 1, "x": 1, "z": 1}),
]


@pytest.mark.parametrize("key", ["instances", "inputs"])
@pytest.mark.parametrize("case", range(len(LAST)))
def test_a_fault_at_the_end_takes_few_looks(key: str, case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    of, good, last = LAST[case]
    looks = []

    def counted(values: list[Any], shape: tuple[int, ...], dtype: DType) -> list[Any] | None:
        looks.append(len(values))
        return alike(values, shape, dtype)

    alike = json_values.elements_alike
    monkeypatch.setattr(json_values, "elements_alike", counted)
    monkeypatch.setattr(predict_body, "elements_alike", counted)
    with pytest.raises(ServingError) as caught:
        PredictBody(json.dumps({key: [*good, last]}).encode()).tensors(of)
    if key == "instances":
        assert f"element: {COUNT}" in caught.value.message
    assert len(looks) < 100
    assert sum(looks) < 6 * COUNT * len(of.inputs)


def test_all_of_them_right() -> None:
    of = signature(spec("x", "string"))
    (tensor,) = PredictBody(json.dumps({"instances": [{"b64": "YQ=="}, "b", {"b64": "Yw"}] * 100}).encode()).inputs(of)
    assert tensor.data == [b"a", b"b", b"c"] * 100
    (tensor,) = PredictBody(json.dumps({"instances": [{"x": 1}] * 100}).encode()).inputs(signature(spec("x", "uint8")))
    assert np.array_equal(tensor.data, np.ones(100, "u1"))

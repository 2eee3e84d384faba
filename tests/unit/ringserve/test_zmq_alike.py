"""Requests and answers that differ in ids and numbers only: written and read as if each were the only one."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.client.operations import Predict, PredictEach
from ringserve.client.tensor_message import predict_message, prediction_of, read_answer
from ringserve.client.tensors import tensor_of
from ringserve.client.zmq.alike_answers import alike_answers
from ringserve.client.zmq.request_templates import RequestTemplates

SOURCE = {"model": "half", "version": 3, "signature": "serving_default"}
NUMPY = ["<f4", "<f8", "<i4", "<i8", "u1", "?", "<c8", "<f2"]
NUMBERS = [name for name in NUMPY if name != "?"]
INLINE = 1 << 62
ONE = np.array([1], np.float32)
names = st.text(max_size=40)


def identifier(number: int) -> bytes:
    return number.to_bytes(8, "big")


@given(
    which=st.tuples(names, st.one_of(st.none(), st.integers(0, 2**63 - 1)), st.one_of(st.none(), names)),
    signature=names,
    outputs=st.lists(names, max_size=3).map(tuple),
    key=st.one_of(st.none(), names),
    low=st.booleans(),
    timeout=st.one_of(st.none(), st.floats(0.0001, 1e9)),
    alias=names,
    dtype=st.sampled_from(NUMPY),
    shape=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    numbers=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3),
)
def test_a_template_gives_what_is_packed(
    which: Any,
    signature: str,
    outputs: Any,
    key: Any,
    low: bool,
    timeout: Any,
    alias: str,
    dtype: str,
    shape: Any,
    numbers: Any,
) -> None:
    templates = RequestTemplates()
    for number in (*numbers, 0, 2**64 - 1):
        array = np.full(shape, number % 2, dtype)
        operation = Predict(which, signature, {alias: tensor_of(array)}, outputs, key, low)
        expected = predict_message(operation, identifier(number), timeout, INLINE)
        assert [templates.message(operation, identifier(number), timeout)] == expected


def test_what_has_no_template() -> None:
    templates = RequestTemplates()

    def message(**inputs: Any) -> bytes | None:
        tensors = {alias: tensor_of(np.asarray(value)) for alias, value in inputs.items()}
        return templates.message(Predict(("m", None, None), "", tensors), identifier(1), None)

    assert message(x=[1.0]) is not None
    assert message() is message(x=[1.0], y=[1.0]) is message(x=[b"text"]) is message(x=np.zeros(100_000)) is None


def test_arrays_that_are_not_in_one_piece() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    operation = Predict(("m", None, None), "", {"x": tensor_of(array)})
    assert [RequestTemplates().message(operation, identifier(1), 1.0)] == predict_message(
        operation, identifier(1), 1.0, INLINE
    )


def test_many_templates_are_forgotten() -> None:
    templates = RequestTemplates()
    for version in range(1000):
        operation = Predict(("m", version, None), "", {"x": tensor_of(ONE)})
        assert [templates.message(operation, identifier(1), None)] == predict_message(operation, identifier(1), None, INLINE)
    assert len(templates._known) <= 256


def answer(number: int, *arrays: Any, **named: Any) -> dict[str, Any]:
    """As the server writes it."""
    outputs = []
    for index, array in enumerate(arrays):
        dtype, shape, values = tensor_of(np.asarray(array))
        data = values if isinstance(values, list) else values.tobytes()
        outputs.append([f"y{index}", dtype.name, list(shape), data])
    return {"v": 1, "id": identifier(number), **SOURCE, "outputs": outputs, **named}


def packed(answers: list[Any]) -> bytes:
    message: bytes = msgpack.packb(answers)
    return message


@given(
    count=st.integers(16, 40),
    forms=st.lists(
        st.tuples(st.sampled_from(NUMBERS), st.lists(st.integers(1, 3), min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    ),
    data=st.randoms(use_true_random=False),
)
def test_answers_are_those_that_are_read_one_by_one(count: int, forms: Any, data: Any) -> None:
    answers = [
        answer(
            data.getrandbits(64),
            *[
                np.array([data.randrange(200) for _ in range(int(np.prod(shape)))], dtype).reshape(shape)
                for dtype, shape in forms
            ],
        )
        for _ in range(count)
    ]
    alike = alike_answers(packed(answers))
    assert alike is not None
    assert alike.identifiers == [one["id"] for one in answers]
    for found, one in zip(alike.predictions, answers, strict=True):
        fields = read_answer(packed(one))  # type: ignore[arg-type]
        assert isinstance(fields, dict)
        expected = prediction_of(fields)
        assert found.source == expected.source and list(found) == list(expected)
        for alias, array in expected.items():
            assert (found[alias].dtype, found[alias].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(found[alias], array)
            assert found[alias].flags.writeable and found[alias].flags.owndata


def sixteen(*arrays: Any) -> list[dict[str, Any]]:
    return [answer(number, *arrays) for number in range(16)]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(sixteen(ONE)[:15], id="a few: another array's head"),
        pytest.param(sixteen(np.array([b"text"], object)), id="strings"),
        pytest.param(sixteen(np.array([True])), id="bools"),
        pytest.param(sixteen(np.float32(1)), id="single numbers"),
        pytest.param(sixteen(), id="no outputs"),
        pytest.param([*sixteen(ONE), answer(1, np.array([1, 2], np.float32))], id="another length"),
        pytest.param(
            [*sixteen(ONE), {**answer(1, ONE), "version": 4}],
            id="another version",
        ),
        pytest.param([*sixteen(ONE), {**answer(1, ONE), "w": 1}], id="another field"),
        pytest.param([*sixteen(ONE), answer(1, np.array([1], np.int32))], id="another type"),
        pytest.param([{"v": 1, "id": identifier(n), "code": 5, "error": "none"} for n in range(16)], id="errors"),
        pytest.param([{**answer(n, ONE), "code": 5} for n in range(16)], id="errors with outputs"),
        pytest.param([{**answer(n, ONE), "id": n + 1000} for n in range(16)], id="other ids"),
        pytest.param([{**answer(n), "outputs": [["y", "float", [1], 0]]} for n in range(16)], id="frames"),
        pytest.param([{**answer(n), "outputs": [["y", "float", [2], b"1234"]]} for n in range(16)], id="damaged"),
        pytest.param([{**answer(n), "outputs": [["y", "float", [1], b"1234"]] * 2} for n in range(16)], id="a name twice"),
        pytest.param([{**answer(n), "outputs": 3} for n in range(16)], id="no array of outputs"),
        pytest.param([7] * 16, id="numbers"),
    ],
)
def test_answers_that_are_looked_at_one_by_one(answers: list[Any]) -> None:
    assert alike_answers(packed(answers)) is None


@pytest.mark.parametrize("message", [b"", b"\xdc", b"\xdc\0\0", b"\xdc\xff\xff", b"\xdc\0\x10" + bytes(160), b"\x80"])
def test_what_is_no_array_of_answers(message: bytes) -> None:
    assert alike_answers(message) is None


def test_rows_of_requests_have_templates_of_their_own() -> None:
    """That is, none: their message has another field."""
    operation = PredictEach(("m", None, None), "", {"x": tensor_of(ONE)})
    assert msgpack.unpackb(predict_message(operation, identifier(1), None, 0)[0])["each"] is True

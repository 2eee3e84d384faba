"""Large arrays of an answer are cut out of it, and whatever else it is stays what it was."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.client.http.answer_frames import frames_of, prediction
from ringserve.errors import Code, ServingError

LARGE = 64 << 10

_data = st.one_of(
    st.sampled_from([0, 1, 300, LARGE - 1, LARGE, LARGE + 5]).map(bytes),
    st.lists(st.binary(max_size=3), max_size=3),
    st.integers(-(1 << 63), (1 << 64) - 1),
)
_output = st.tuples(st.text(max_size=40), st.text(max_size=8), st.lists(st.integers(-1, 1 << 40), max_size=20), _data)
_answers = st.fixed_dictionaries(
    {"v": st.just(1), "id": st.none() | st.binary(max_size=9) | st.text() | st.floats(allow_nan=False) | st.booleans()},
    optional={"before": st.integers(-(1 << 63), (1 << 64) - 1), "outputs": st.lists(_output, max_size=17), "after": _data},
)


def put_back(head: Any, frames: list[Any]) -> Any:
    """With the arrays where their indices are. No whole number of the examples can be taken for one."""
    if isinstance(head, dict) and "outputs" in head:
        for output in head["outputs"]:
            if type(output[3]) is int and 0 <= output[3] < len(frames):
                output[3] = bytes(frames[output[3]])
    return head


@given(_answers)
def test_nothing_is_lost(answer: dict[str, Any]) -> None:
    for output in answer.get("outputs", []):
        if type(output[3]) is int:
            answer["outputs"] = []
            break
    message = msgpack.packb(answer)
    head, frames = frames_of(bytearray(message))
    assert all(len(frame) >= LARGE for frame in frames)
    assert put_back(msgpack.unpackb(head), frames) == msgpack.unpackb(message)


@given(_answers, st.data())
def test_spoilt_messages_end_in_an_error_or_an_answer(answer: dict[str, Any], data: st.DataObject) -> None:
    message = bytearray(msgpack.packb(answer))
    for _ in range(3):
        message[data.draw(st.integers(0, min(len(message), 200) - 1))] = data.draw(st.integers(0, 255))
    del message[data.draw(st.integers(0, len(message))) or len(message) :]
    try:
        prediction(message)
    except ServingError as error:
        assert error.code in Code


def test_a_large_array_is_where_it_was() -> None:
    array = np.arange(LARGE, dtype="<u1")
    fields = {"model": "m", "version": 1, "signature": "s", "outputs": [["y", "uint8", [LARGE], array.tobytes()]]}
    message = bytearray(msgpack.packb(fields))
    found = prediction(message)["y"]
    assert np.shares_memory(found, np.frombuffer(message, np.uint8))
    np.testing.assert_array_equal(found, array)


def test_several_answers_are_none() -> None:
    with pytest.raises(ServingError, match="several answers"):
        prediction(bytearray(msgpack.packb([{"v": 1}])))

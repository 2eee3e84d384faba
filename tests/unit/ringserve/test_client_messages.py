"""The client's MessagePack messages, against the reader and the writer of the front ends."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.bodies import tensor_message as served
from frontend.tensors import Tensor as ServedTensor
from ringserve.client.answers import Predictions
from ringserve.client.operations import Predict, PredictEach
from ringserve.client.tensor_message import (
    Buffer,
    error_of,
    packed,
    predict_message,
    prediction_of,
    predictions_of,
    read_answer,
)
from ringserve.client.tensors import Tensor, tensor_of
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import DTYPES, STRING, DType

MOST = 1 << 24
ALL_INLINE = 1 << 60
WHICH = ("half", 3, None)
NUMERIC = [dtype for dtype in DTYPES.values() if dtype.numpy]
SIGNATURE = Signature("serving_default", "tensorflow/serving/predict", (), ())


def numbers(dtype: DType, shape: tuple[int, ...]) -> Tensor:
    storage = np.dtype(dtype.numpy)
    count = int(np.prod(shape))
    elements = np.arange(count) % 2 if dtype.name == "bool" else np.arange(count)
    return dtype, shape, elements.astype(storage).reshape(shape)


def sent(operation: Predict | PredictEach, inline_below: int) -> served.TensorRequest:
    header, *frames = predict_message(operation, b"12345678", 1.5, inline_below)
    return served.read_request(header, MOST, frames)


def answered(outputs: Mapping[str, Tensor], *, inline: bool) -> tuple[bytes, list[Buffer]]:
    """As a front end writes it; or with all numbers in frames as they come out of a socket: memory to write to."""
    named = [
        served.NamedOutput(alias, ServedTensor(dtype, tuple(shape), data)) for alias, (dtype, shape, data) in outputs.items()
    ]
    header = b"".join(served.answer_parts(b"id", ServableId("half", 3), SIGNATURE, named))
    if inline:
        return header, []
    fields, frames = msgpack.unpackb(header), []
    for output in fields["outputs"]:
        if isinstance(output[3], bytes):
            frames.append(memoryview(bytearray(output[3])))
            output[3] = len(frames) - 1
    return msgpack.packb(fields), [*frames]


def test_answers_in_frames_as_a_front_end_writes_them() -> None:
    large, small = numbers(DTYPES[1], (100, 1000)), numbers(DTYPES[9], (3,))
    outputs = {"a": large, "b": small, "c": large}
    named = [
        served.NamedOutput(alias, ServedTensor(dtype, tuple(shape), data)) for alias, (dtype, shape, data) in outputs.items()
    ]
    header, *frames = served.answer_frames(b"id", ServableId("half", 3), SIGNATURE, named)
    assert len(frames) == 2
    prediction = prediction_of(one(header), frames)
    for alias, expected in outputs.items():
        np.testing.assert_array_equal(prediction[alias], expected[2])


def one(message: Buffer) -> dict[str, Any]:
    answer = read_answer(message)
    assert isinstance(answer, dict)
    return answer


def refusal(fields: Any, frames: Sequence[Buffer] = ()) -> ServingError:
    with pytest.raises(ServingError) as caught:
        prediction_of(one(msgpack.packb(fields)), frames)
    return caught.value


def answer(**changed: Any) -> dict[str, Any]:
    output = ["y", "float", [2], struct.pack("<2f", 1, 2)]
    return {"v": 1, "id": b"i", "model": "half", "version": 3, "signature": "s", "outputs": [output]} | changed


@pytest.mark.parametrize("inline_below", [0, 16, ALL_INLINE])
@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_numbers_arrive(dtype: DType, shape: tuple[int, ...], inline_below: int) -> None:
    tensor = numbers(dtype, shape)
    request = sent(Predict(WHICH, "", {"x": tensor}), inline_below)
    assert (request.identifier, request.model, request.version, request.timeout) == (b"12345678", "half", 3, 1_500_000_000)
    arrived = request.inputs["x"]
    assert (arrived.dtype, arrived.shape) == (dtype, shape)
    np.testing.assert_array_equal(arrived.data, tensor[2])


@pytest.mark.parametrize("inline_below", [0, ALL_INLINE])
def test_any_memory_order_arrives_row_by_row(inline_below: int) -> None:
    array = np.arange(12, dtype="<f4").reshape(3, 4).T
    request = sent(Predict(WHICH, "", {"x": tensor_of(array)}), inline_below)
    np.testing.assert_array_equal(request.inputs["x"].data, array)


@pytest.mark.parametrize("strings", [[], [b""], [b"a", b"\xff\0", b"x" * 70_000], [b"x"] * 1000])
def test_strings_arrive(strings: list[bytes]) -> None:
    request = sent(Predict(("m", None, "stable"), "sig", {"s": (STRING, (len(strings),), strings)}, ("y", "z"), "k"), 0)
    assert request.inputs["s"] == ServedTensor(STRING, (len(strings),), strings)
    assert (request.label, request.version, request.signature, request.outputs) == ("stable", None, "sig", ("y", "z"))


def test_large_inputs_are_frames_without_a_copy() -> None:
    array = np.zeros((4, 1024), np.float32)
    header, frame = predict_message(Predict(WHICH, "", {"x": tensor_of(array)}), None, None, 16384)
    assert np.shares_memory(np.frombuffer(frame, np.uint8), array)
    assert "id" not in (fields := msgpack.unpackb(header)) and "timeout_ms" not in fields
    assert fields["inputs"] == [["x", "float", [4, 1024], 0]]


def test_what_changes_from_request_to_request_comes_last() -> None:
    def message(identifier: bytes, number: float) -> Buffer:
        inputs = {"x": tensor_of(np.array([number], np.float32))}
        return predict_message(PredictEach(WHICH, "sig", inputs, ("y",), "k"), identifier, 60.0, ALL_INLINE)[0]

    first, second = message(b"\0" * 8, 1), message(b"\xff" * 8, 2)
    at = bytes(first).index(b"\0" * 8)
    assert first[:at] == second[:at]
    assert first[at + 8 : -4] == second[at + 8 : -4]
    assert list(msgpack.unpackb(first)) == [
        "v", "model", "version", "signature", "timeout_ms", "key", "outputs", "each", "id", "inputs",
    ]  # fmt: skip


@pytest.mark.parametrize(("timeout", "milliseconds"), [(1e-9, 1), (0.0011, 2), (60.0, 60_000), (1e9, (1 << 31) - 1)])
def test_timeouts_are_whole_milliseconds(timeout: float, milliseconds: int) -> None:
    assert msgpack.unpackb(predict_message(Predict(WHICH, "", {}), None, timeout, 0)[0])["timeout_ms"] == milliseconds


def test_what_no_message_carries_is_refused() -> None:
    with pytest.raises(ServingError) as caught:
        packed({"version": 1 << 70})
    assert caught.value.code is Code.INVALID_ARGUMENT
    beyond = np.broadcast_to(np.zeros(1, np.uint8), (1 << 32,))
    with pytest.raises(ServingError, match="4 GiB") as caught:
        predict_message(Predict(WHICH, "", {"x": tensor_of(beyond)}), None, None, ALL_INLINE)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_numbers_come_back(dtype: DType, shape: tuple[int, ...], inline: bool) -> None:
    tensor = numbers(dtype, shape)
    header, frames = answered({"y": tensor}, inline=inline)
    prediction = prediction_of(one(header), frames)
    assert prediction.source == ("half", 3, "serving_default")
    assert prediction["y"].shape == shape and prediction["y"].flags.writeable and prediction["y"].flags.aligned
    if dtype.name == "bfloat16":
        assert prediction["y"].dtype.name == "bfloat16"
    assert prediction["y"].view(dtype.numpy).tobytes() == np.asarray(tensor[2]).tobytes()


def test_large_outputs_are_not_copied() -> None:
    header, frames = answered({"y": numbers(DTYPES[1], (1000,))}, inline=False)
    assert np.shares_memory(prediction_of(one(header), frames)["y"], np.frombuffer(frames[0], np.uint8))
    frozen = [memoryview(bytes(frame)) for frame in frames]
    assert prediction_of(one(header), frozen)["y"].flags.writeable
    odd = [memoryview(bytearray(b"\0" + bytes(frame)))[1:] for frame in frames]
    assert prediction_of(one(header), odd)["y"].flags.aligned


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_strings_come_back(count: int) -> None:
    strings = [b"\xff%d" % index for index in range(count)]
    header, frames = answered({"s": (STRING, (count,), strings), "t": (STRING, (), [b"one"])}, inline=False)
    prediction = prediction_of(one(header), frames)
    assert prediction["s"].tolist() == strings and prediction["s"].dtype == object
    assert prediction["t"].shape == () and prediction["t"].item() == b"one"


def test_requests_in_one_have_errors_of_their_own() -> None:
    predictions = predictions_of(one(msgpack.packb(answer(errors=[[1, 3, "bad row"], [0, 99, None]]))))
    assert isinstance(predictions, Predictions)
    assert {index: (error.code, error.message) for index, error in predictions.errors.items()} == {
        1: (Code.INVALID_ARGUMENT, "bad row"),
        0: (Code.UNKNOWN, "The server gave no reason"),
    }
    assert predictions["y"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"code": 5, "status": "NOT_FOUND", "error": "no such model"}, Code.NOT_FOUND, "no such model"),
        ({"code": 0, "error": "fine?"}, Code.UNKNOWN, "fine?"),
        ({"code": 77, "error": "new"}, Code.UNKNOWN, "new"),
        ({"code": "x", "error": 4}, Code.UNKNOWN, "The server gave no reason"),
        ({"error": "no code"}, Code.UNKNOWN, "no code"),
    ],
)
def test_errors(fields: dict[str, Any], code: Code, text: str) -> None:
    error = error_of(fields)
    assert error is not None and (error.code, error.message) == (code, text)


def test_answers_are_no_errors() -> None:
    assert error_of(answer()) is None


def test_several_answers() -> None:
    assert read_answer(msgpack.packb([{"a": 1}, {"b": 2}])) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    "message", [b"", b"\xc1", b"\x01", b"\xc0", b"\x90", b"\x91\x01", b"\x92\x80\xa1x", b"\x80\x80", b"\x81"]
)
def test_what_is_no_answer(message: bytes) -> None:
    with pytest.raises(ServingError, match="The server's answer can't be read") as caught:
        read_answer(message)
    assert caught.value.code is Code.INTERNAL


def test_arrays_that_say_too_much_take_no_memory() -> None:
    message = (b"\xdd" + struct.pack(">I", 1 << 20)) * 1000 + bytes(1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ServingError, match="can't be read"):
            read_answer(message)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "changed",
    [
        {"outputs": None},
        {"outputs": {}},
        {"outputs": [1]},
        {"outputs": [["y", "float", [2]]]},
        {"outputs": [[b"y", "float", [2], b"12345678"]]},
        {"outputs": [["y", "flout", [2], b"12345678"]]},
        {"outputs": [["y", 1, [2], b"12345678"]]},
        {"outputs": [["y", "resource", [], b""]]},
        {"outputs": [["y", "float", 2, b"12345678"]]},
        {"outputs": [["y", "float", [-1, -2], b"12345678"]]},
        {"outputs": [["y", "float", [2.0], b"12345678"]]},
        {"outputs": [["y", "float", [True, 2], b"12345678"]]},
        {"outputs": [["y", "float", [2], b"1234567"]]},
        {"outputs": [["y", "float", [1 << 62, 1 << 62], b""]]},
        {"outputs": [["y", "float", [2], 1]]},
        {"outputs": [["y", "float", [2], -1]]},
        {"outputs": [["y", "float", [2], "text"]]},
        {"outputs": [["y", "bool", [2], b"\x01\x02"]]},
        {"outputs": [["y", "string", [2], [b"one"]]]},
        {"outputs": [["y", "string", [1], [1]]]},
        {"outputs": [["y", "string", [1], b"x"]]},
        {"version": "1"},
        {"version": None},
        {"model": b"half"},
        {"signature": 4},
    ],
)
def test_damaged_answers(changed: dict[str, Any]) -> None:
    error = refusal(answer(**changed), [b"one frame"])
    assert error.code is Code.INTERNAL, error
    assert "The server's answer can't be read: " in error.message


def test_impossible_arrays() -> None:
    assert refusal(answer(outputs=[["y", "float", [1] * 65, b"1234"]])).code is Code.UNIMPLEMENTED
    assert refusal(answer(outputs=[["y", "float", [0, 1 << 62, 1 << 62], b""]])).code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("errors", [1, [1], [[0, 3]], [["0", 3, "x"]]])
def test_damaged_errors(errors: Any) -> None:
    with pytest.raises(ServingError, match="can't be read") as caught:
        predictions_of(answer(errors=errors))
    assert caught.value.code is Code.INTERNAL


@given(st.data())
def test_damage_is_never_more_than_an_error(data: st.DataObject) -> None:
    header, _ = answered({"y": numbers(DTYPES[1], (3,)), "s": (STRING, (2,), [b"a", b"b"])}, inline=True)
    broken = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_answer(broken[: data.draw(st.integers(0, len(broken)))])
        for answer_read in found if isinstance(found, list) else [found]:
            if error_of(answer_read) is None:
                prediction_of(answer_read)
                predictions_of(answer_read)
    except ServingError as error:
        assert error.code in (Code.INTERNAL, Code.UNIMPLEMENTED)

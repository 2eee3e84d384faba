"""What a local client gets from its lanes, whatever the form of its requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane_server import LIMIT, LaneServer, WorkerLane, until
from shm_calls import FLOAT, HALF, Started, each, half, predict, served

from ringserve.client.operations import Classify, MetadataOf, Models, Operation, Predict, PredictEach, Ready, Regress, Status
from ringserve.client.shm.transport import ShmTransport
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME, STRING


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[LaneServer, ShmTransport]]:
    with served(tmp_path) as both:
        yield both


Stage = tuple[LaneServer, ShmTransport]


@pytest.mark.parametrize("url", ["shm://", "shm://relative", "zmq:///path", "shm:///with\0nul", "shm:///" + "x" * 107])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="shm"):
        ShmTransport(url)


def test_nobody_is_there(tmp_path: Path) -> None:
    transport = ShmTransport(f"shm://{tmp_path}/none.sock")
    operations: list[Operation[Any]] = [predict([[1]]), Models()]
    for operation in operations:
        with pytest.raises(ServingError, match=r"none\.sock can't be reached: No such file") as caught:
            transport.call(operation, 1)
        assert caught.value.code is Code.UNAVAILABLE
    assert Started(transport).start(predict([[1]])) == 0


def test_rows_as_the_signature_declares_them_go_through_columns(stage: Stage) -> None:
    server, transport = stage
    for values in ([[1]], [[1], [2], [3]]):
        answer = transport.call(predict(values), LIMIT)
        assert answer["y"].tolist() == half(values)
        assert answer["y"].flags.writeable
        assert answer["y"].flags.owndata, "no view of the lane"
        assert (answer.model, answer.version, answer.signature) == ("half", 1, "serving_default")
    (lane,) = server.lanes
    assert lane.forms == ["rows", "rows"]


@pytest.mark.parametrize("values", [5, [1, 2, 3], [[1, 2], [3, 4]], [], [[]], np.zeros((0, 1)), np.ones((3, 2, 1, 2))])
def test_all_other_forms_go_packed(stage: Stage, values: Any) -> None:
    server, transport = stage
    assert transport.call(predict(values), LIMIT)["y"].tolist() == half(values)
    assert server.lanes[0].forms == ["packed"]


def test_a_form_that_comes_often_gets_columns(stage: Stage) -> None:
    server, transport = stage
    for _ in range(8):
        assert transport.call(predict([[1, 2]]), LIMIT)["y"].tolist() == half([[1, 2]])
    until(lambda: len(server.lanes) == 2)

    def goes_there() -> bool:
        transport.call(predict([[1, 2]]), LIMIT)
        return bool(server.lanes[1].forms)

    until(goes_there)
    assert server.kinds("open")[1]["inputs"] == [[1, "<f4", [2]]]
    assert set(server.lanes[0].forms) == {"packed"}
    assert set(server.lanes[1].forms) == {"rows"}


def test_a_form_without_columns_is_not_asked_for_again(stage: Stage) -> None:
    server, transport = stage
    server.columns = False
    for _ in range(30):
        transport.call(predict([[1, 2]]), LIMIT)
    until(lambda: bool(server.kinds("close")))
    for _ in range(30):
        transport.call(predict([[1, 2]]), LIMIT)
    assert len(server.kinds("open")) == 2
    assert server.kinds("close") == [{"type": "close", "lane": 2}]


def test_no_more_forms_than_a_server_remembers(stage: Stage) -> None:
    server, transport = stage
    for width in range(2, 16):
        for _ in range(10):
            transport.call(predict([[1] * width]), LIMIT)
    until(lambda: len(server.lanes) == 9)
    assert len(server.kinds("open")) == 9


def test_too_many_rows_for_the_ring_go_packed(stage: Stage) -> None:
    server, transport = stage
    values = np.arange(5000).reshape(-1, 1)
    assert transport.call(predict(values), LIMIT)["y"].tolist() == half(values)
    assert server.lanes[0].forms == ["packed"]


@pytest.mark.parametrize("count", [1, 7, 1024, 5000, 20000])
def test_each_row_is_a_request(stage: Stage, count: int) -> None:
    """Those that don't fit into the lane at once follow when there is room."""
    server, transport = stage
    server.most_taken = 700
    values = np.arange(count).reshape(-1, 1)
    answer = transport.call(each(values), LIMIT)
    assert answer["y"].tolist() == half(values)
    assert answer.errors == {}
    assert server.lanes[0].requests == count


def test_each_in_another_form_opens_columns_at_once(stage: Stage) -> None:
    server, transport = stage
    values = np.arange(300).reshape(-1, 3)
    assert transport.call(each(values), LIMIT)["y"].tolist() == half(values)
    assert server.lanes[1].forms == ["rows"] * 100


def test_each_without_columns(stage: Stage) -> None:
    server, transport = stage
    server.columns = False
    values = np.arange(3000).reshape(-1, 3)
    assert transport.call(each(values), LIMIT)["y"].tolist() == half(values)
    assert server.lanes[0].forms == ["packed"] * 1000


def fails(which: set[int]) -> Any:
    return lambda lane, number: (Code.INTERNAL, f"not number {number}") if number in which else None


@pytest.mark.parametrize("columns", [True, False])
def test_some_of_each_fail(stage: Stage, columns: bool) -> None:
    server, transport = stage
    server.columns = columns
    server.fault = fails({0, 5, 4999})
    answer = transport.call(each(np.arange(5000).reshape(-1, 1)), LIMIT)
    assert {index: str(error) for index, error in answer.errors.items()} == {
        index: f"INTERNAL: not number {index}" for index in (0, 5, 4999)
    }
    right = [index for index in range(5000) if index not in answer.errors]
    assert answer["y"][right].tolist() == half(np.arange(5000).reshape(-1, 1)[right])


@pytest.mark.parametrize("columns", [True, False])
def test_all_of_each_fail(stage: Stage, columns: bool) -> None:
    server, transport = stage
    server.columns = columns
    server.fault = lambda lane, number: (Code.INTERNAL, "the same for all")
    with pytest.raises(ServingError, match="INTERNAL: the same for all"):
        transport.call(each(np.zeros((3000, 1))), LIMIT)
    server.fault = fails(set(range(20000)))
    answer = transport.call(each(np.zeros((3, 1))), LIMIT)
    assert list(answer.errors) == [0, 1, 2]
    assert answer["y"].shape[0] == 3


def test_the_worker_s_error(stage: Stage) -> None:
    server, transport = stage
    server.fault = lambda lane, number: (Code.RESOURCE_EXHAUSTED, "no memory: ä")
    for values in ([[1]], 3):
        with pytest.raises(ServingError, match="no memory: ä") as caught:
            transport.call(predict(values), LIMIT)
        assert caught.value.code is Code.RESOURCE_EXHAUSTED


BAD_INPUTS: list[tuple[dict[str, Any], tuple[str, ...], str]] = [
    ({}, (), "input size does not match signature: 0!=1"),
    ({"z": (FLOAT, (1,), np.zeros(1, "<f4"))}, (), "not found in request"),
    ({"x": (BY_NAME["int64"], (1,), np.zeros(1, "<i8"))}, (), r"Expects arg\[0\] to be float but int64 is provided"),
    ({"x": (STRING, (1,), [b"text"])}, (), r"Expects arg\[0\] to be float but string is provided"),
    ({"x": (FLOAT, (1,), np.zeros(1, "<f4"))}, ("z",), "output tensor alias not found in signature: z"),
    ({"x": (FLOAT, (1,), np.zeros(1, "<f4"))}, ("y", "y"), "duplicate output tensor alias: y"),
]


@pytest.mark.parametrize(("inputs", "outputs", "text"), BAD_INPUTS)
@pytest.mark.parametrize("kind", [Predict, PredictEach])
def test_what_upstream_refuses(stage: Stage, inputs: Any, outputs: tuple[str, ...], text: str, kind: Any) -> None:
    server, transport = stage
    operation = kind(HALF, "", inputs, outputs)
    with pytest.raises(ServingError, match=text) as caught:
        transport.call(operation, LIMIT)
    assert caught.value.code is Code.INVALID_ARGUMENT
    started = Started(transport)
    assert started.error(started.start(operation)).message == caught.value.message
    assert server.lanes[0].requests == 0


def test_chosen_outputs(stage: Stage) -> None:
    _, transport = stage
    assert transport.call(predict([[1]], "y"), LIMIT).keys() == {"y"}
    assert transport.call(predict(1, "y"), LIMIT).keys() == {"y"}
    assert transport.call(each([[1]], "y"), LIMIT).keys() == {"y"}


def test_flat_arrays_and_arrays_in_any_order(stage: Stage) -> None:
    _, transport = stage
    flat = Predict(HALF, "", {"x": (FLOAT, (2, 3), np.arange(6, dtype="<f4"))})
    assert transport.call(flat, LIMIT)["y"].tolist() == half(np.arange(6).reshape(2, 3))
    fortran = np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3))
    assert transport.call(predict(fortran), LIMIT)["y"].tolist() == half(fortran)
    strided = np.arange(20, dtype="<f4").reshape(-1, 1)[::2]
    assert transport.call(predict(strided), LIMIT)["y"].tolist() == half(strided)
    assert transport.call(each(strided), LIMIT)["y"].tolist() == half(strided)


def test_what_is_too_large(stage: Stage) -> None:
    _, transport = stage
    with pytest.raises(ServingError, match="start the server with a higher --max_request_bytes") as caught:
        transport.call(predict(np.zeros(1 << 17)), LIMIT)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    with pytest.raises(ServingError, match="empty tensor whose other dimensions"):
        transport.call(predict(np.zeros((0, 1 << 20))), LIMIT)


def test_a_default_value(stage: Stage) -> None:
    """Of an input that is left out: whole for each request."""
    server, transport = stage
    proto = b"\x08\x01\x12\x08\x12\x02\x08\x01\x12\x02\x08\x01" + b"\x2a\x04" + np.float32(6).tobytes()  # [[6.0]]
    server.signatures["serving_default"] = {**server.signatures["serving_default"], "defaults": {"x": proto}}
    assert transport.call(Predict(HALF, "", {}), LIMIT)["y"].tolist() == [[5.0]]
    with pytest.raises(ServingError, match="Inputs contains invalid name"):
        transport.call(Predict(HALF, "", {"z": (FLOAT, (1,), np.zeros(1, "<f4"))}), LIMIT)


EXAMPLES = (b"abc", b"d")


def test_classify_and_regress(stage: Stage) -> None:
    _, transport = stage
    rows = transport.call(Classify(HALF, "classify", EXAMPLES), LIMIT)
    assert rows == [[("long", 3.0), ("half", 1.5)], [("long", 1.0), ("half", 0.5)]]
    assert rows.source == ("half", 1, "classify")
    assert transport.call(Regress(HALF, "regress", EXAMPLES), LIMIT) == [3.0, 1.0]
    assert transport.call(Regress(HALF, "regress", EXAMPLES, b"0123456789"), LIMIT) == [13.0, 11.0], "with a context"
    started = Started(transport)
    assert started.outcome(started.start(Regress(HALF, "regress", EXAMPLES))) == [3.0, 1.0]


def test_examples_that_upstream_refuses(stage: Stage) -> None:
    _, transport = stage
    refused: list[tuple[Operation[Any], str]] = [
        (Classify(HALF, "classify", ()), "Input is empty."),
        (Classify(HALF, "", EXAMPLES), "No classification inputs found in SignatureDef"),
        (Regress(HALF, "classify", EXAMPLES), "Expected one output Tensor."),
        (Regress(HALF, "regress", EXAMPLES, bytes(1 << 18)), "with their context, more than the limit"),
    ]
    for operation, text in refused:
        with pytest.raises(ServingError, match=text):
            transport.call(operation, LIMIT)


def test_outputs_that_are_no_classes(stage: Stage) -> None:
    server, transport = stage

    def one_row(lane: WorkerLane, tensors: Any) -> Any:
        return [tensor._replace(shape=(1, 4)) for tensor in original(lane, tensors)]

    original = WorkerLane._packed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerLane, "_packed", one_row)
        with pytest.raises(ServingError, match=r"Expected classes output batch size of 2. Got: 1"):
            transport.call(Classify(HALF, "classify", EXAMPLES), LIMIT)
    assert server.lanes[0].requests == 1


def test_facts(stage: Stage) -> None:
    _, transport = stage
    assert transport.call(Models(), LIMIT) == ["half"]
    assert transport.call(Ready(), LIMIT) is True
    metadata = transport.call(MetadataOf(HALF), LIMIT)
    assert [spec.alias for spec in metadata.signatures["serving_default"].inputs] == ["x"]
    with pytest.raises(ServingError, match="NOT_FOUND: no such model"):
        transport.call(Status("other"), LIMIT)
    started = Started(transport)
    assert started.outcome(started.start(Models())) == ["half"]
    assert started.error(started.start(Status("other"))).code is Code.NOT_FOUND


def test_a_model_that_there_is_not(stage: Stage) -> None:
    _, transport = stage
    operation = predict([[1]], which=("other", None, None))
    started = Started(transport)
    for _ in range(2):
        with pytest.raises(ServingError, match="NOT_FOUND: Servable not found"):
            transport.call(operation, LIMIT)
        assert started.error(started.start(operation)).code is Code.NOT_FOUND


def test_lanes_by_what_was_asked_for(stage: Stage) -> None:
    server, transport = stage
    for which, key in (
        (("half", 3, None), None),
        (("half", None, "stable"), None),
        (("half", None, "stable"), "k"),
        (HALF, None),
    ):
        for _ in range(3):
            transport.call(predict([[1]], which=which, key=key), LIMIT)
    asked = [
        {name: value for name, value in message.items() if name not in ("type", "call")} for message in server.kinds("open")
    ]
    always = {"model": "half", "signature": "serving_default", "inputs": None}
    assert asked == [
        {**always, "version": 3},
        {**always, "label": "stable"},
        {**always, "label": "stable", "key": "k"},
        always,
    ]
    assert transport.call(predict([[1]], which=("half", 3, None)), LIMIT).version == 3


def test_more_keys_than_lanes(stage: Stage) -> None:
    """The lane that was not used for longest is given up."""
    server, transport = stage
    for key in range(80):
        assert transport.call(predict([[1]], key=str(key)), LIMIT)["y"].tolist() == [[2.5]]
    until(lambda: len(server.kinds("close")) == 20)
    assert [message["lane"] for message in server.kinds("close")] == list(range(1, 21))
    assert transport.call(predict([[1]], key="0"), LIMIT)["y"].tolist() == [[2.5]]


def test_a_hello_says_who_it_is(stage: Stage) -> None:
    import os  # noqa: PLC0415

    server, transport = stage
    transport.call(Models(), LIMIT)
    assert server.got[0] == {"type": "hello", "v": 1, "pid": os.getpid()}


def test_names_that_are_too_long_for_the_control_socket(stage: Stage) -> None:
    _, transport = stage
    with pytest.raises(ServingError, match="too much for a message") as caught:
        transport.call(predict([[1]], which=("x" * 70_000, None, None)), LIMIT)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert transport.call(predict([[1]]), LIMIT)["y"].tolist() == [[2.5]]

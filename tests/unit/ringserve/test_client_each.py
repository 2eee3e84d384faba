"""A request for each row, where the protocol has no words for all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from answering_server import singles
from played_transport import PlayedTransport, half, prediction

from ringserve.client.call_future import call_started
from ringserve.client.each import start_each
from ringserve.client.operations import Operation, Predict, PredictEach
from ringserve.errors import Code, ServingError
from ringserve.tensor import BY_NAME

FLOAT = BY_NAME["float"]


class EachTransport(PlayedTransport):
    """As gRPC's: its `start` knows PredictEach by single requests."""

    def start(self, operation: Operation[Any], timeout: float | None, done: Any) -> Any:
        if isinstance(operation, PredictEach):
            return start_each(self, operation, timeout, done)
        return super().start(operation, timeout, done)


def each(*values: float) -> PredictEach:
    return PredictEach(("half", None, None), "", {"x": (FLOAT, (len(values),), singles(values))}, ("y",), "k")


def number(operation: Predict) -> float:
    return float(np.asarray(operation.inputs["x"][2])[0])


@pytest.mark.parametrize("count", [1, 5, 3000])
def test_every_row(count: int) -> None:
    transport = EachTransport(half)
    found = call_started(transport, each(*range(count)), 20)
    np.testing.assert_array_equal(found["y"], np.arange(count) / 2 + 2)
    assert (found.model, found.version, found.errors) == ("half", 7, {})
    assert [tuple(asked.inputs["x"][1]) for asked in transport.operations] == [(1,)] * count
    assert {(asked.which, asked.outputs, asked.key) for asked in transport.operations} == {
        (("half", None, None), ("y",), "k")
    }


def test_flat_arrays_of_more_dimensions() -> None:
    transport = EachTransport(lambda operation: prediction(y=np.asarray(operation.inputs["x"][2])))
    operation = PredictEach(("m", None, None), "", {"x": (FLOAT, (2, 3), np.arange(6, dtype=np.float32))})
    assert call_started(transport, operation, None)["y"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_rows_that_fail_do_so_alone() -> None:
    def odd(operation: Predict) -> Any:
        if number(operation) == 1:
            raise ServingError(Code.INVALID_ARGUMENT, "one")
        return half(operation)

    found = call_started(EachTransport(odd), each(0, 1, 2), 20)
    assert found["y"].tolist() == [2.0, 0.0, 3.0]
    assert {index: error.message for index, error in found.errors.items()} == {1: "one"}


def test_strings_of_rows_that_failed_are_empty() -> None:
    def odd(operation: Predict) -> Any:
        if number(operation) == 0:
            raise ServingError(Code.INVALID_ARGUMENT, "none")
        return prediction(s=np.array([b"text"], object))

    assert call_started(EachTransport(odd), each(0, 1), 20)["s"].tolist() == [b"", b"text"]


def test_all_fail() -> None:
    def alike(_: Any) -> Any:
        raise ServingError(Code.NOT_FOUND, "no such model")

    def differently(operation: Predict) -> Any:
        raise ServingError(Code.NOT_FOUND, f"number {number(operation):.0f}")

    with pytest.raises(ServingError, match="no such model"):
        call_started(EachTransport(alike), each(0, 1), 20)
    found = call_started(EachTransport(differently), each(0, 1), 20)
    assert (dict(found), found.model) == ({}, "half")
    assert [found.errors[index].message for index in range(2)] == ["number 0", "number 1"]


def test_outputs_that_are_no_rows() -> None:
    with pytest.raises(ServingError, match=r"Output 'y' has the shape \[\], not a row") as caught:
        call_started(EachTransport(lambda _: prediction(y=singles(1))), each(0, 1), 20)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_outputs_that_differ() -> None:
    found = call_started(
        EachTransport(lambda asked: prediction(y=np.zeros((1, 2 + (number(asked) == 1))))), each(0, 1, 2), 20
    )
    assert found["y"].shape == (3, 2)
    assert list(found.errors) == [1]
    assert found.errors[1].code is Code.FAILED_PRECONDITION


def test_some_at_a_time_in_any_order() -> None:
    transport = EachTransport()
    outcomes: list[Any] = []
    start_each(transport, each(*range(200)), 20, outcomes.append)
    while not outcomes:
        assert 1 <= len(transport.asked) <= 64
        for asked in reversed(transport.next(len(transport.asked))):
            asked.done(half(asked.operation))
    np.testing.assert_array_equal(outcomes[0]["y"], np.arange(200) / 2 + 2)


def test_cancelling_ends_what_runs() -> None:
    transport = EachTransport()
    outcomes: list[Any] = []
    cancel = start_each(transport, each(*range(200)), 20, outcomes.append)
    running = transport.next(64)
    cancel()
    assert all(asked.is_cancelled for asked in running)
    for asked in running:
        asked.done(ServingError(Code.CANCELLED, ""))
    assert (transport.asked, outcomes) == ([], [])


def test_a_client_that_is_closed_meanwhile() -> None:
    transport = EachTransport()
    transport.close()
    with pytest.raises(ServingError, match="The client is closed"):
        call_started(transport, each(0, 1), 20)


def test_a_row_that_can_not_even_be_started() -> None:
    def start(operation: Any) -> Any:
        if number(operation) == 1:
            raise RuntimeError("can't start new thread")
        return half(operation)

    found = call_started(EachTransport(start), each(0, 1, 2), 20)
    assert found["y"].tolist() == [2, 0, 3]
    assert found.errors[1].code is Code.INTERNAL and "new thread" in found.errors[1].message

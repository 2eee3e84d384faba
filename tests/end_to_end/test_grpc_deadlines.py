"""Calls that nobody waits for any more: over their deadline, cancelled, or of a client that has gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from end_to_end import process_facts
from end_to_end.conftest import write_config
from end_to_end.grpc_stubs import (
    CLASSIFY,
    REGRESS,
    Refusal,
    Stubs,
    classify_request,
    example,
    floats,
    model_spec,
    multi_request,
    predict_request,
    regress_request,
)
from end_to_end.running_server import RunningServer
from end_to_end.scraped_metrics import clean, total
from end_to_end.waiting import wait_until

REQUESTS = "ringserve_requests_total"
LIMIT = 15
SHORT = 0.1  # seconds; a run of the slow model takes 0.3 at least
FULL = "The batch scheduling queue to which this task was submitted is full"


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    served = {name: models / name for name in ("slow", "examples", "half_plus_two", "batch_dependent")}
    flag = write_config(tmp_path_factory.mktemp("config") / "models.config", served)
    with RunningServer(flag, grpc=True) as running:
        with Stubs(running.grpc_port) as stubs:
            stubs.call(slow(0.0), 60)  # its lane is there from now on
        yield running


@pytest.fixture
def stubs(server: RunningServer) -> Iterator[Stubs]:
    with Stubs(server.grpc_port) as found:
        yield found


def slow(number: float) -> Any:
    return predict_request("slow", {"x": floats(number)})


def counted(server: RunningServer, **labels: str) -> float:
    return total(clean(server), REQUESTS, entrypoint="GRPC", **labels)


def wait_for(server: RunningServer, value: float, **labels: str) -> None:
    """Until that many are counted; there must not be more."""
    wait_until(
        lambda: counted(server, **labels) >= value, LIMIT, lambda: f"{value} of {labels}: {counted(server, **labels)}"
    )
    assert counted(server, **labels) == value


def wait_until_empty(server: RunningServer) -> None:
    wait_until(lambda: process_facts.requests_in_lanes(server.pid) == 0, LIMIT, "the lanes empty")


def test_a_deadline_that_is_over_before_the_answer(server: RunningServer, stubs: Stubs) -> None:
    before = counted(server, model="slow", api="predict", code="DEADLINE_EXCEEDED")
    for number in range(3):
        began = time.monotonic()
        assert stubs.refusal(slow(float(number)), SHORT).code == "DEADLINE_EXCEEDED"
        assert SHORT * 0.9 <= time.monotonic() - began < SHORT + 0.15, "the run goes on without the client"
    wait_for(server, before + 3, model="slow", version="1", api="predict", code="DEADLINE_EXCEEDED")
    wait_until_empty(server)
    assert stubs.call(slow(1.0)).outputs["y"].float_val == [1.0]


def test_a_deadline_that_the_server_sees_first(server: RunningServer) -> None:
    """A client whose clock is behind gets the server's text: here one that has no timer at all."""
    before = counted(server, model="slow", api="predict", code="DEADLINE_EXCEEDED")
    with Stubs(server.grpc_port) as stubs:
        call = stubs.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        message = slow(1.0).SerializeToString()
        # The header by hand: the client itself does not know of it.
        try:
            call(message, 30, metadata=(("grpc-timeout", "100m"),))
        except (grpc.RpcError, ValueError) as error:
            if isinstance(error, ValueError) or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                pytest.skip(f"this client sends no such header: {error}")
    wait_for(server, before + 1, model="slow", api="predict", code="DEADLINE_EXCEEDED")


@pytest.mark.parametrize("timeout", [1e-6, 0.0])
def test_a_deadline_that_is_over_at_once(server: RunningServer, stubs: Stubs, timeout: float) -> None:
    began = time.monotonic()
    assert stubs.refusal(predict_request("half_plus_two", {"x": floats(1.0)}), timeout).code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 1
    assert stubs.call(predict_request("half_plus_two", {"x": floats(1.0)})).outputs["y"].float_val == [3.5]


def test_a_deadline_is_the_calls_own(stubs: Stubs) -> None:
    """Others of the same batch or queue are answered."""
    late = [stubs.begin(slow(number), SHORT) for number in (1.0, 2.0)]
    patient = [stubs.begin(slow(number), 30) for number in (3.0, 4.0)]
    assert [call.exception().code() for call in late] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
    assert [call.result().outputs["y"].float_val[0] for call in patient] == [3.0, 4.0]


def test_cancelled_calls_free_their_places(server: RunningServer, stubs: Stubs) -> None:
    """A lane that has no place left has some as soon as they are given up: nobody waits for their runs."""
    before = counted(server, model="slow", code="CANCELLED")
    calls = []
    for number in range(100_000):  # until the lane is full
        calls.append(stubs.begin(slow(float(number)), 300))
        if number % 200 == 199 and any(call.done() for call in calls[-200:]):
            break
    first = next(call for call in reversed(calls) if call.done())
    assert (first.code(), first.details()) == (grpc.StatusCode.UNAVAILABLE, FULL)
    waiting = [call for call in calls if not call.done()]
    assert len(waiting) > 100
    for call in waiting:
        call.cancel()
    began = time.monotonic()
    wait_until_empty(server)
    assert stubs.call(slow(5.0), 30).outputs["y"].float_val == [5.0]
    assert time.monotonic() - began < 5, f"{len(waiting)} runs would take {len(waiting) * 0.3:.0f} s"
    cancelled = sum(call.cancelled() for call in waiting)
    wait_until(lambda: counted(server, model="slow", code="CANCELLED") > before, LIMIT, "cancelled calls")
    assert counted(server, model="slow", code="CANCELLED") <= before + cancelled
    wait_until(lambda: total(clean(server), "ringserve_inflight_requests") == 0, LIMIT, "none in flight")


def test_a_client_that_goes(server: RunningServer) -> None:
    """Its channel closes under its calls."""
    before = counted(server, model="slow", code="CANCELLED")
    with Stubs(server.grpc_port) as stubs:
        calls = [stubs.begin(slow(float(number)), 60) for number in range(10)]
        wait_until(lambda: process_facts.requests_in_lanes(server.pid) > 0, LIMIT, "requests in lanes")
    assert all(call.done() for call in calls)
    wait_until(lambda: counted(server, model="slow", code="CANCELLED") > before, LIMIT, "cancelled calls")
    wait_until_empty(server)


def test_deadlines_of_the_other_methods(server: RunningServer, stubs: Stubs) -> None:
    """Which are over while a message of many examples is still being read or run."""
    many = [example(x=0.5)] * 100_000
    task = (model_spec("examples", None, "value"), REGRESS), (model_spec("examples", None, "scores"), CLASSIFY)
    for request in (
        classify_request("examples", "scores", *many),
        regress_request("examples", "value", *many),
        multi_request(*task, examples=many),
    ):
        assert stubs.refusal(request, 0.02).code == "DEADLINE_EXCEEDED"
        wait_until_empty(server)
    assert stubs.call(regress_request("examples", "value", example(x=0.5))).result.regressions[0].value == 0.5


def test_a_reload_or_a_lookup_after_its_deadline(stubs: Stubs) -> None:
    from end_to_end.grpc_stubs import status_request  # noqa: PLC0415

    assert stubs.refusal(status_request("slow"), 0.0).code == "DEADLINE_EXCEEDED"
    assert [one.version for one in stubs.call(status_request("slow")).model_version_status] == [1]


def test_what_went_well_is_counted(server: RunningServer, stubs: Stubs) -> None:
    of = {"model": "batch_dependent", "api": "predict"}
    request = predict_request("batch_dependent", {"x": floats(1.0, 3.0)})
    for _ in range(5):
        assert stubs.call(request).outputs["y"].float_val == [-1.0, 1.0]
    assert stubs.refusal(predict_request("batch_dependent", {"x": floats(1.0)}, choice=7)) == Refusal(
        "NOT_FOUND", "Servable not found for request: Specific(batch_dependent, 7)"
    )
    wait_for(server, 5, code="OK", version="1", signature="serving_default", **of)
    wait_for(server, 1, code="NOT_FOUND", version="", **of)

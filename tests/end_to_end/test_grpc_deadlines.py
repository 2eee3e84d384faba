"""Calls that end early: over their deadline, cancelled, of a client that goes, or of a server that ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
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
    status_request,
    tensor,
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
    taken = []
    for number in range(3):
        began = time.monotonic()
        assert stubs.refusal(slow(float(number)), SHORT).code == "DEADLINE_EXCEEDED"
        taken.append(time.monotonic() - began)
    # Each would take as long as its run; that it was the machine that was busy can't be told of a single one.
    assert SHORT * 0.9 <= min(taken) < SHORT + 0.15, "the run goes on without the client"
    wait_until_empty(server)
    assert stubs.call(slow(1.0)).outputs["y"].float_val == [1.0]


def test_a_deadline_is_counted_as_one(server: RunningServer, stubs: Stubs) -> None:
    """The client cancels the call at its deadline, which the server sees a moment before or after its own. Of a busy client
    some calls are late before they are sent, and no server hears of them.
    """
    labels = {"model": "slow", "version": "1", "api": "predict"}
    before = {code: counted(server, code=code, **labels) for code in ("DEADLINE_EXCEEDED", "CANCELLED")}
    late = 0
    for timeout in (SHORT, SHORT + 0.0123):
        for _ in range(3):
            calls = [stubs.begin(slow(float(number)), timeout) for number in range(20)]
            late += sum(call.exception() is not None for call in calls)
    wait_until_empty(server)
    code = {"code": "DEADLINE_EXCEEDED", **labels}
    wait_until(lambda: counted(server, **code) > before["DEADLINE_EXCEEDED"], LIMIT, "late calls to be counted")
    assert counted(server, **code) - before["DEADLINE_EXCEEDED"] <= late
    assert counted(server, code="CANCELLED", **labels) == before["CANCELLED"]


@pytest.mark.parametrize("timeout", [0.0, 1e-9, 1e-6, 1e-4, 1e-3])
def test_a_deadline_that_is_over_at_once(stubs: Stubs, timeout: float) -> None:
    """Or nearly: the answer may be quicker."""
    request = predict_request("half_plus_two", {"x": floats(1.0)})
    began = time.monotonic()
    calls = [stubs.begin(asked, timeout) for _ in range(20) for asked in (request, status_request("half_plus_two"))]
    ended = {call.code() for call in calls}
    assert ended <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK}
    assert time.monotonic() - began < 5
    assert stubs.call(request).outputs["y"].float_val == [3.5]


def test_a_deadline_is_the_calls_own(stubs: Stubs) -> None:
    """Others of the same batch or queue are answered."""
    late = [stubs.begin(slow(number), SHORT) for number in (1.0, 2.0)]
    patient = [stubs.begin(slow(number), 30) for number in (3.0, 4.0)]
    assert [call.exception().code() for call in late] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
    assert [call.result().outputs["y"].float_val[0] for call in patient] == [3.0, 4.0]


def test_cancelled_calls_free_their_places(server: RunningServer, stubs: Stubs) -> None:
    """A lane that has no place left has some as soon as they are given up: nobody waits for their runs."""
    before = counted(server, model="slow", code="CANCELLED")
    calls = fill(stubs)
    waiting = [call for call in calls if not call.done()]
    assert len(waiting) > 40
    for call in waiting:
        call.cancel()
    began = time.monotonic()
    assert stubs.call(slow(5.0), 30).outputs["y"].float_val == [5.0]
    wait_until_empty(server)
    assert time.monotonic() - began < 6, f"all {len(waiting)} runs would take {len(waiting) * 0.3:.0f} s"
    # Others were cancelled before the server knew of them, or when their answer was on its way.
    wait_until(lambda: counted(server, model="slow", code="CANCELLED") >= before + 40, LIMIT, "cancelled calls")
    assert counted(server, model="slow", code="CANCELLED") <= before + len(waiting)
    wait_until(lambda: total(clean(server), "ringserve_inflight_requests") == 0, LIMIT, "none in flight")


def fill(stubs: Stubs) -> list[Any]:
    """Calls that have taken every place of the lane; some found none."""
    request = predict_request("slow", {"x": tensor("FLOAT", (100,))})
    calls: list[Any] = []
    while not (refused := failures(calls)):
        assert len(calls) < 5000, "the lane is never full"
        calls += [stubs.begin(request, 300) for _ in range(20)]
        time.sleep(0.01)  # for the client's own threads, and the server
    assert refused == {(grpc.StatusCode.UNAVAILABLE, FULL)}
    return calls


def failures(calls: list[Any]) -> set[tuple[grpc.StatusCode, str]]:
    """Of those that have ended."""
    return {(call.code(), call.details()) for call in calls if call.done() and call.code() is not grpc.StatusCode.OK}


def test_more_calls_at_a_time_than_a_connection_takes(server: RunningServer, stubs: Stubs) -> None:
    """Those beyond 4096 wait in the client, and are begun when others have ended."""
    calls: list[Any] = []
    done = 0
    while len(calls) < 4600 and not failures(calls):
        calls += [stubs.begin(slow(float(number)), 60) for number in range(50)]
        if len(calls) > 4000:
            done = wait_until(partial(more_than, done, calls), LIMIT, "answers")
    failed = failures(calls)
    for call in calls:
        call.cancel()
    wait_until_empty(server)
    assert failed == set()


def more_than(done: int, calls: list[Any]) -> int:
    """How many have ended; 0: not more than these."""
    now = sum(call.done() for call in calls)
    return now if now > done else 0


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


@pytest.mark.parametrize("attempt", range(3))
def test_a_server_that_ends_while_calls_come(models: Path, attempt: int) -> None:
    """It ends by itself, in time, and without a word about it."""
    flags = "--model_name=half_plus_two", f"--model_base_path={models / 'half_plus_two'}"
    request = predict_request("half_plus_two", {"x": floats(1.0)})
    with RunningServer(*flags, grpc=True) as server, ExitStack() as stack:
        clients = [stack.enter_context(Stubs(server.grpc_port)) for _ in range(4)]
        calls = [client.begin(request, 10) for _ in range(250) for client in clients]
        server.send_signal(signal.SIGTERM)
        while server.processes() and len(calls) < 20_000:
            calls += [client.begin(request, 10) for _ in range(10) for client in clients]
        began = time.monotonic()
        assert server.wait() == 0
        assert time.monotonic() - began < 10
        ended = {call.code() for call in calls}
    # gRPC itself cancels calls that it has received and nobody has accepted yet.
    assert ended <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert "Traceback" not in server.log

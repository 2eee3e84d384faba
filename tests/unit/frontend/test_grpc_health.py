"""What gRPC's probes and load balancers are told, once and as it changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from made_catalogs import end, load, report
from made_signatures import signature, spec
from worker_side import on_loop
from written_stream import WrittenStream

from frontend.catalog import Catalog, VersionStatus
from frontend.grpc.health import Health
from frontend.readiness import Readiness
from ringserve.errors import Code, ServingError
from ringserve.servable import State

DEFAULT = signature(spec("x"))
SERVER = ["", "ModelService", "PredictionService"]


def request(name: str) -> bytes:
    message: bytes = health_pb2.HealthCheckRequest(service=name).SerializeToString()
    return message


def status_in(answer: bytes) -> str:
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(health_pb2.HealthCheckResponse.FromString(answer).status)
    return name


def check(health: Health, name: str) -> str:
    """The status, or what the call ended in."""
    try:
        return status_in(health.check(request(name)))
    except ServingError as error:
        assert error.message == "service name unknown"
        return error.code.name


async def turns() -> None:
    """So many of the loop's that all that is to follow has: one looks, one wakes, one writes."""
    for _ in range(20):
        await asyncio.sleep(0)


class Stage:
    """Checks and watches of a server whose models tests change."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.stopping = asyncio.Event()
        self.health = Health(self.catalog, self.stopping)

    def check(self, name: str) -> str:
        return check(self.health, name)

    @contextlib.asynccontextmanager
    async def watching(self, name: str, room: int = 0) -> AsyncIterator[WrittenStream]:
        stream = WrittenStream(request(name), room=room)
        task = asyncio.create_task(self.health.watch(stream))
        try:
            yield stream
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def settled(self, stream: WrittenStream) -> list[str]:
        """All that was written, once nothing more is to come."""
        await turns()
        return [status_in(await stream.take()) for _ in range(stream.untaken)]


@on_loop
async def test_checks() -> None:
    stage = Stage()
    assert [stage.check(name) for name in SERVER] == ["SERVING"] * 3  # without models
    load(stage.catalog, "m", 1, DEFAULT)
    report(stage.catalog, "coming", 1, State.LOADING)
    assert [stage.check(name) for name in SERVER] == ["NOT_SERVING"] * 3
    assert (stage.check("m"), stage.check("coming")) == ("SERVING", "NOT_SERVING")
    load(stage.catalog, "coming", 1, DEFAULT)
    assert [stage.check(name) for name in (*SERVER, "m", "coming")] == ["SERVING"] * 5
    end(stage.catalog, "coming", 1)  # nobody wants it any more
    assert [stage.check(name) for name in SERVER] == ["SERVING"] * 3
    for name in ("coming", "x", "M", "m ", "tensorflow.serving.PredictionService", "grpc.health.v1.Health", "modelservice"):
        assert stage.check(name) == "NOT_FOUND"


@on_loop
async def test_checks_once_it_stops() -> None:
    stage = Stage()
    load(stage.catalog, "m", 1, DEFAULT)
    stage.stopping.set()
    assert [stage.check(name) for name in (*SERVER, "m")] == ["NOT_SERVING"] * 4
    assert stage.check("x") == "NOT_FOUND"


@on_loop
async def test_a_model_with_the_name_of_a_service() -> None:
    stage = Stage()
    load(stage.catalog, "ModelService", 1, DEFAULT)
    report(stage.catalog, "m", 1, State.START)
    assert stage.check("ModelService") == "NOT_SERVING"
    load(stage.catalog, "tensorflow.serving.ModelService", 1, DEFAULT)
    assert stage.check("tensorflow.serving.ModelService") == "SERVING"


@on_loop
async def test_avoided_workers() -> None:
    """Which the catalog does not see: it is told that there was a change."""
    stage = Stage()
    lane = SimpleNamespace(avoided=False)
    load(stage.catalog, "m", 1, DEFAULT).endpoint("serving_default").base.append(lane)  # type: ignore[arg-type]
    async with stage.watching("m") as of_model, stage.watching("") as of_server:
        for avoided, status in ((False, "SERVING"), (True, "NOT_SERVING"), (False, "SERVING")):
            lane.avoided = avoided
            stage.catalog.notify(("m",))
            assert stage.check("m") == stage.check("") == status
            assert await stage.settled(of_model) == await stage.settled(of_server) == [status]


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x01\xff", b"\xff", b"\x0a\x05ab"])
@on_loop
async def test_what_is_no_request(message: bytes) -> None:
    stage = Stage()
    with pytest.raises(ServingError) as refused:
        stage.health.check(message)
    assert refused.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(ServingError) as refused:
        await stage.health.watch(WrittenStream(message))
    assert refused.value.code is Code.INVALID_ARGUMENT


@on_loop
async def test_requests_that_are_missing_or_too_long() -> None:
    stage = Stage()
    with pytest.raises(ServingError) as refused:
        await stage.health.watch(WrittenStream())
    assert refused.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(ServingError) as refused:
        await stage.health.watch(WrittenStream(request("x" * 20_000)))
    assert refused.value.code is Code.RESOURCE_EXHAUSTED


@on_loop
async def test_watches_see_each_change_once() -> None:
    stage = Stage()
    load(stage.catalog, "m", 1, DEFAULT)
    async with stage.watching("m") as of_model, stage.watching("ModelService") as of_server:
        assert await stage.settled(of_model) == await stage.settled(of_server) == ["SERVING"]
        report(stage.catalog, "m", 2, State.LOADING)  # beside it
        load(stage.catalog, "n", 1, DEFAULT)
        assert await stage.settled(of_model) == await stage.settled(of_server) == []
        report(stage.catalog, "late", 1, State.START)
        assert await stage.settled(of_server) == ["NOT_SERVING"]
        assert await stage.settled(of_model) == []
        load(stage.catalog, "late", 1, DEFAULT)
        assert await stage.settled(of_server) == ["SERVING"]
        end(stage.catalog, "m", 1)
        assert await stage.settled(of_model) == await stage.settled(of_server) == ["NOT_SERVING"]
        stage.catalog.set_models(["n", "late"])
        assert await stage.settled(of_model) == ["SERVICE_UNKNOWN"]
        assert await stage.settled(of_server) == ["SERVING"]


@on_loop
async def test_a_watch_waits_for_a_model_to_appear() -> None:
    stage = Stage()
    async with stage.watching("later") as stream:
        assert await stage.settled(stream) == ["SERVICE_UNKNOWN"]
        stage.catalog.set_models(["later"])
        assert await stage.settled(stream) == ["NOT_SERVING"]
        load(stage.catalog, "later", 1, DEFAULT)
        assert await stage.settled(stream) == ["SERVING"]


@on_loop
async def test_watches_end_once_it_stops() -> None:
    """Having told so: what is open would hold up the server's end."""
    stage = Stage()
    load(stage.catalog, "m", 1, DEFAULT)
    streams = [WrittenStream(request(name)) for name in ("", "m", "x")]
    watches = [asyncio.create_task(stage.health.watch(stream)) for stream in streams]
    assert [await stage.settled(stream) for stream in streams] == [["SERVING"], ["SERVING"], ["SERVICE_UNKNOWN"]]
    stage.stopping.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*watches)
    assert [await stage.settled(stream) for stream in streams] == [["NOT_SERVING"], ["NOT_SERVING"], []]
    late = WrittenStream(request("m"))
    async with asyncio.timeout(10):
        await stage.health.watch(late)
    assert await stage.settled(late) == ["NOT_SERVING"]


@on_loop
async def test_a_slow_watcher_is_told_the_last_only() -> None:
    stage = Stage()
    stage.catalog.set_models(["m"])
    load(stage.catalog, "m", 1, DEFAULT)
    async with stage.watching("m", room=1) as stream:
        await turns()
        for _ in range(5):  # the second write waits from the first of these on
            end(stage.catalog, "m", 1)
            await turns()
            load(stage.catalog, "m", 1, DEFAULT)
            await turns()
        told = [status_in(await stream.take()) for _ in range(3)]
        assert told == ["SERVING", "NOT_SERVING", "SERVING"]
        assert await stage.settled(stream) == []


@on_loop
async def test_a_change_there_and_back_in_one_turn_is_none() -> None:
    stage = Stage()
    load(stage.catalog, "m", 1, DEFAULT)
    async with stage.watching("m") as stream:
        assert await stage.settled(stream) == ["SERVING"]
        end(stage.catalog, "m", 1)
        load(stage.catalog, "m", 1, DEFAULT)
        assert await stage.settled(stream) == []


class CountingCatalog(Catalog):
    """Counts how often a model's readiness is looked at."""

    looks = 0

    def reported(self, name: str) -> list[VersionStatus]:
        self.looks += 1
        return super().reported(name)


@on_loop
async def test_many_watchers_cost_a_look_a_turn() -> None:
    stage = Stage()
    stage.catalog = catalog = CountingCatalog()
    stage.health = Health(catalog, stage.stopping)
    for number in range(50):
        load(catalog, f"m{number}", 1, DEFAULT)
    async with contextlib.AsyncExitStack() as watches:
        names = [("", "m0", f"m{number % 50}")[number % 3] for number in range(1000)]
        streams = [await watches.enter_async_context(stage.watching(name)) for name in names]
        assert {status_in(await stream.take()) for stream in streams} == {"SERVING"}
        catalog.looks = 0
        end(catalog, "m0", 1)
        for number in range(2, 12):  # its other versions come and fail
            report(catalog, "m0", number, State.LOADING)
            report(catalog, "m0", number, State.END, Code.INTERNAL, "broken")
        told = [stream for stream, name in zip(streams, names, strict=True) if name in ("", "m0")]
        assert {status_in(await stream.take()) for stream in told} == {"NOT_SERVING"}
        assert catalog.looks <= 4
        assert not any(stream.untaken for stream in streams)


@on_loop
async def test_nothing_is_left_of_watches() -> None:
    stage = Stage()
    before = asyncio.all_tasks()
    async with stage.watching("") as one, stage.watching("") as other, stage.watching("x" * 1000):
        await one.take()
        await other.take()
    held: dict[str, Any] = vars(stage.health)
    assert held["_watched"] == {} and held["_until_stopping"] is None
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@on_loop
async def test_the_sum_is_that_of_its_parts() -> None:
    """The server's status, which is kept up to date, after changes of every kind."""
    stage = Stage()
    catalog = stage.catalog
    steps: list[Callable[[], object]] = [
        lambda: load(catalog, "a", 1, DEFAULT),
        lambda: report(catalog, "b", 1, State.START),
        lambda: catalog.set_models(["a"]),
        lambda: catalog.set_models(["a", "b", "c"]),
        lambda: load(catalog, "c", 1, DEFAULT),
        lambda: load(catalog, "b", 1, DEFAULT),
        lambda: end(catalog, "a", 1, Code.INTERNAL, "broken"),
        lambda: catalog.set_models(["b"]),
        lambda: end(catalog, "c", 1),
        lambda: catalog.forget_status("c", [1]),
        lambda: catalog.forget_status("a", [1]),
        lambda: catalog.set_models([]),
        lambda: end(catalog, "b", 1),
    ]
    seen = set()
    for step in steps:
        step()
        ready = not any(Readiness.of(name, catalog).is_lacking for name in catalog.names)
        assert stage.check("") == ("SERVING" if ready else "NOT_SERVING")
        seen.add(ready)
    assert seen == {True, False}


@pytest.mark.skipif(not hasattr(health_pb2, "HealthListRequest"), reason="grpcio-health-checking is older than List")
@on_loop
async def test_list() -> None:
    stage = Stage()
    load(stage.catalog, "m", 1, DEFAULT)
    load(stage.catalog, "mé", 1, DEFAULT)
    report(stage.catalog, "coming", 1, State.LOADING)
    report(stage.catalog, "gone", 1, State.END)
    statuses = health_pb2.HealthListResponse.FromString(stage.health.list(b"")).statuses
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    of_models = {"m": serving, "mé": serving, "coming": not_serving}
    assert {name: statuses[name].status for name in statuses} == {name: not_serving for name in SERVER} | of_models


@on_loop
async def test_no_list_by_an_older_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.grpc.health._messages", SimpleNamespace)
    with pytest.raises(ServingError) as refused:
        Stage().health.list(b"")
    assert refused.value.code is Code.UNIMPLEMENTED

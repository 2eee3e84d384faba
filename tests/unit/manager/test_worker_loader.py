"""The loader of one version: what it asks of workers, when its files have changed, and how much memory a load took."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from core_rig import AtOnce
from fake_loader import BAD, FakeLoader, settle
from fake_processes import FakeFrontEnd, FakeLanes, FakeWorker
from stage import pass_time, run

from manager.daemon_threads import DaemonThreads
from manager.event_bus import EventBus
from manager.frontend_process import FrontEndProcess
from manager.lanes import Lanes
from manager.load_record import LoadRecord
from manager.local_lanes import LocalLanes
from manager.model_cache import ModelCache
from manager.model_config import ModelConfig
from manager.serving import Serving
from manager.state_monitor import ServableStateMonitor
from manager.worker_loader import WorkerLoader
from manager.worker_process import WorkerProcess
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

M = ServableId("m", 1)


class FakeCache:
    """In place of a `ModelCache`."""

    def __init__(self) -> None:
        self.fetched: list[tuple[str, ServableId]] = []
        self.held: list[object] = []
        self.error: ServingError | None = None
        self.coming: threading.Event | None = None  # a download waits for it
        self.given_up = threading.Event()

    def fetch(self, path: str, servable: ServableId, _: str, given_up: threading.Event, holder: object) -> str:
        assert not given_up.is_set()
        self.fetched.append((path, servable))
        if self.coming is not None:
            self.given_up = given_up
            assert self.coming.wait(20)
        if self.error:
            raise self.error
        self.held.append(holder)
        return "/cache/m/1"

    def drop(self, holder: object) -> None:
        if holder in self.held:
            self.held.remove(holder)


class Scene:
    """Two workers, and a version's folder with a file in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "1"
        self.folder.mkdir(parents=True)
        self.write("model", "abc")
        self.workers = [FakeWorker("cpu:0"), FakeWorker("cpu:1")]
        self.cache = FakeCache()
        self.record = LoadRecord()
        bus = EventBus()
        frontends = cast(Sequence[FrontEndProcess], [FakeFrontEnd()])
        self.serving = Serving(
            frontends, cast(Lanes, FakeLanes()), LocalLanes(1 << 20, 1 << 18), bus, ServableStateMonitor(bus)
        )

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def loader(
        self, path: str = "", model: ModelConfig | None = None, workers: int = 2, threads: DaemonThreads | None = None
    ) -> WorkerLoader:
        return WorkerLoader(
            self.serving,
            cast(ModelCache, self.cache),
            threads or AtOnce(),
            self.record,
            M,
            path or str(self.folder),
            model or ModelConfig("m", str(self.folder.parent)),
            cast(Sequence[WorkerProcess], self.workers[:workers]),
        )


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "m")


def test_all_workers_get_the_same_request(scene: Scene) -> None:
    async def work() -> None:
        scene.workers[0].bytes = 21
        loader = scene.loader(model=ModelConfig("m", "/m", platform="lookup_table", loader_options={"a": "b"}))
        assert await loader.estimate() == 42
        await loader.load()
        request = {
            "type": "load",
            "servable": M,
            "path": str(scene.folder),
            "platform": "lookup_table",
            "options": {"a": "b"},
        }
        assert scene.workers[0].requests == [request, request]
        assert scene.workers[1].requests == [request]
        await loader.quiesce()
        await loader.unload()
        assert [worker.held for worker in scene.workers] == [[], []]
        await loader.discard()
        assert scene.cache.fetched == []

    run(work())


def test_a_folder_that_is_not_there_is_said_before_anything_is_loaded(scene: Scene) -> None:
    async def work() -> None:
        with pytest.raises(ServingError) as caught:
            await scene.loader(path="/nowhere/m/1").estimate()
        assert caught.value.code is Code.NOT_FOUND

    run(work())


def test_the_path_of_a_plug_in_s_source_may_mean_anything(scene: Scene) -> None:
    async def work() -> None:
        loader = scene.loader(path="table 7", model=ModelConfig("m", "", source="x:Y"))
        await loader.estimate()
        assert scene.workers[0].requests[0]["path"] == "table 7"
        assert not await loader.changed()

    run(work())


@pytest.mark.parametrize("uri", ["file://{}", "file://localhost{}"])
def test_a_file_uri_is_a_plain_path_for_workers(scene: Scene, uri: str) -> None:
    async def work() -> None:
        await scene.loader(path=uri.format(scene.folder)).estimate()
        assert scene.workers[0].requests[0]["path"] == str(scene.folder)

    run(work())


@pytest.fixture
def remote() -> str:
    """The URI of a remote version."""
    pytest.importorskip("fsspec").filesystem("memory").pipe("/bucket/m/1/model", b"abc")
    return "memory://bucket/m/1"


def test_a_remote_version_is_copied_first_and_its_copy_dropped_last(scene: Scene, remote: str) -> None:
    async def work() -> None:
        loader = scene.loader(path=remote)
        await loader.estimate()
        assert scene.workers[0].requests[0]["path"] == "/cache/m/1"
        assert scene.cache.fetched == [(remote, M)]
        await loader.load()
        await loader.quiesce()
        assert scene.cache.held == [loader]
        await loader.unload()
        assert scene.cache.held == []
        await loader.discard()

    run(work())


def test_the_copy_of_a_version_that_was_never_loaded_is_dropped_too_and_no_other_s(scene: Scene, remote: str) -> None:
    async def work() -> None:
        former, loader = scene.loader(path=remote), scene.loader(path=remote)
        scene.workers[0].error = BAD
        for tried in (former, loader):
            await tried.estimate()
            with pytest.raises(ServingError):
                await tried.load()
        assert scene.cache.held == [former, loader], "they may be tried again"
        await former.discard()
        assert scene.cache.held == [loader]
        await loader.discard()
        assert scene.cache.held == []

    run(work())


def test_loads_are_recorded_by_where_the_version_is_not_by_where_its_copy_is(scene: Scene, remote: str) -> None:
    async def work() -> None:
        loader = scene.loader(path=remote)
        await loader.estimate()
        scene.workers[0].error = BAD
        with pytest.raises(ServingError):
            await loader.load()
        scene.workers[0].error = None
        await loader.load()
        counts = {metric.name: series for metric, series in scene.record.metrics().items()}
        attempts = counts["/tensorflow/cc/saved_model/load_attempt_count"]
        assert attempts == {(remote, "success"): [1], (remote, "fail"): [1]}

    run(work())


@pytest.mark.parametrize("error", [None, ServingError(Code.CANCELLED, "the download was given up")])
def test_a_download_that_nobody_waits_for_is_given_up_and_leaves_nothing(
    scene: Scene, remote: str, error: ServingError | None
) -> None:
    """Whether or not it can still be stopped."""

    async def work() -> None:
        coming = scene.cache.coming = threading.Event()
        loader = scene.loader(path=remote, threads=DaemonThreads("fetch"))
        estimate = asyncio.ensure_future(loader.estimate())
        while not scene.cache.fetched:
            await asyncio.sleep(0.001)
        assert not scene.cache.given_up.is_set()
        estimate.cancel()
        await settle()
        assert (estimate.cancelled(), scene.cache.given_up.is_set()) == (True, True)
        discard = asyncio.ensure_future(loader.discard())
        await settle()
        assert not discard.done()
        scene.cache.error = error
        coming.set()
        await discard
        assert scene.cache.held == []

    run(work())


def test_remote_files_are_looked_at_once_a_minute(scene: Scene, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    files = ["as they were"]

    def look(path: str) -> str:
        looks.append(path)
        return files[0]

    monkeypatch.setattr("manager.worker_loader.fingerprint", look)

    async def work() -> None:
        loader = scene.loader(path=remote)
        await loader.estimate()
        files[0] = "repaired"
        assert [await loader.changed() for _ in range(3)] == [False] * 3
        assert len(looks) == 2
        await pass_time(61)
        assert [await loader.changed() for _ in range(3)] == [True, False, False]
        assert len(looks) == 3

    run(work())


def test_files_that_changed_are_said_once_they_have_come_to_rest(scene: Scene) -> None:
    async def work() -> None:
        loader = scene.loader()
        await loader.estimate()
        looks = [await loader.changed()]
        scene.write("model", "abcd")
        looks.append(await loader.changed())
        scene.write("another", "still being copied")
        looks.append(await loader.changed())
        assert looks == [False, False, False]
        assert await loader.changed()
        await loader.estimate()  # and so it is tried again
        assert [await loader.changed() for _ in range(3)] == [False] * 3

    run(work())


def test_files_that_are_gone_are_nothing_that_could_be_loaded(scene: Scene) -> None:
    async def work() -> None:
        loader = scene.loader()
        await loader.estimate()
        moved = scene.folder.rename(scene.folder.with_name("elsewhere"))
        assert [await loader.changed() for _ in range(3)] == [False] * 3
        moved.rename(scene.folder)
        assert [await loader.changed() for _ in range(3)] == [False] * 3, "they are what they were"

    run(work())


def test_files_that_come_after_a_failure_to_find_them(scene: Scene) -> None:
    async def work() -> None:
        moved = scene.folder.rename(scene.folder.with_name("elsewhere"))
        loader = scene.loader()
        with pytest.raises(ServingError):
            await loader.estimate()
        assert not await loader.changed()
        moved.rename(scene.folder)
        assert [await loader.changed(), await loader.changed()] == [False, True]

    run(work())


def test_what_a_load_took_in_all_workers(scene: Scene) -> None:
    async def work() -> None:
        scene.workers[0].takes, scene.workers[1].takes = 30, 12
        loader = scene.loader()
        await loader.estimate()
        assert await loader.load() == 42

    run(work())


def test_memory_that_has_become_less_is_no_memory(scene: Scene) -> None:
    async def work() -> None:
        scene.workers[0].takes, scene.workers[1].takes = 30, -12
        assert await scene.loader().load() == 30

    run(work())


@pytest.mark.parametrize("disturbance", ["another begins", "another was under way", "a restart", "no figure"])
def test_what_cannot_be_told_is_not(scene: Scene, disturbance: str) -> None:
    async def work() -> None:
        worker = scene.workers[1]
        gate = worker.gates["load"] = asyncio.Event()
        if disturbance == "another was under way":
            worker.busy = 1
        load = asyncio.ensure_future(scene.loader().load())
        await settle()
        if disturbance == "another begins":
            worker.activity += 1
        elif disturbance == "a restart":
            worker.pid += 1
        elif disturbance == "no figure":
            worker.resident_bytes = None
        gate.set()
        assert await load is None

    run(work())


def test_a_load_that_fails_raises_the_worker_s_error(scene: Scene) -> None:
    async def work() -> None:
        scene.workers[1].error = BAD
        with pytest.raises(ServingError) as caught:
            await scene.loader().load()
        assert caught.value is BAD
        scene.workers[1].error = None
        await scene.loader().load()
        assert [worker.held for worker in scene.workers] == [[M], [M]]

    run(work())


def test_which_loaders_load_the_same(scene: Scene) -> None:
    one = scene.loader()
    assert one.same(scene.loader(model=ModelConfig("m", "/elsewhere", labels={"a": 1})))
    assert not one.same(scene.loader(path="/elsewhere/m/1"))
    assert not one.same(scene.loader(model=ModelConfig("m", "/m", platform="lookup_table")))
    assert not one.same(scene.loader(model=ModelConfig("m", "/m", loader_options={"a": "b"})))
    assert not one.same(scene.loader(workers=1))
    assert not one.same(FakeLoader())

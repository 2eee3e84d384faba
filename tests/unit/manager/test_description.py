"""The state of the whole server as people and metrics get it."""

from __future__ import annotations

import json

from core_rig import Rig, config, label, model
from fake_loader import BAD, FakeLoader, settle
from stage import run

from manager.description import Description, LoadHistory
from manager.event_bus import EventBus, ServableState
from manager.memory_budget import MemoryBudget
from manager.state_monitor import ServableStateMonitor
from manager.worker_process import WorkerProcess
from ringserve.servable import ServableId, State


def described(rig: Rig) -> Description:
    workers = [WorkerProcess("cpu:0")]
    rig.serving.frontends = []
    history = LoadHistory(EventBus(), rig.monitor)
    return Description(rig.core, rig.manager, rig.monitor, rig.serving, MemoryBudget(100), history, workers)


def test_models_that_are_served_and_those_that_were() -> None:
    async def work() -> None:
        rig = Rig()
        rig.loaders["m", 2] = FakeLoader(load_error=BAD, what="/m/2")
        rig.start(model("m"), model("gone"))
        rig.source("m").emit(1, 2)
        rig.source("gone").emit(1)
        await settle()
        more = label("stable", 1) + " shadows { version: 2 sampling_rate: 0.5 } devices: 'cpu:1'"
        await rig.core.reload(config(model("m", more)))
        await settle()
        whole = described(rig).describe()
        assert json.loads(json.dumps(whole)) == whole, "plain values only"
        m, gone = whole["models"]
        told = m["name"], m["base_path"], m["platform"], m["source"]
        assert told == ("m", "/m", "tensorflow", "plugin_sources:Recorded")
        assert (m["devices"], m["labels"], m["trouble"]) == (["cpu:1"], {"stable": [[1, 1.0]]}, None)
        assert m["shadows"] == [[2, 0.5, {"compared": 0, "differed": 0, "failed": 0, "dropped": 0}]]
        versions = [(v["version"], v["state"], v["error_code"], v["error_message"]) for v in m["versions"]]
        assert versions == [(2, "END", "INVALID_ARGUMENT", "no model in there"), (1, "AVAILABLE", "OK", "")]
        assert [v["aspired"] for v in m["versions"]] == [True, True]
        assert [v["aspired"] for v in gone["versions"]] == [False]
        assert (gone["name"], gone["trouble"]) == ("gone", "not configured any more")
        assert [v["state"] for v in gone["versions"]] == ["END"]
        assert whole["memory"] == {"limit_bytes": 100, "reserved_bytes": 0}
        assert whole["reloads"] == {"ok": 1, "refused": 0, "incomplete": 0}
        (worker,) = whole["workers"]
        assert (worker["device"], worker["state"], worker["rss_bytes"]) == ("cpu:0", "starting", None)

    run(work())


def test_the_trouble_of_a_model_without_versions() -> None:
    async def work() -> None:
        rig = Rig()
        rig.start(model())
        rig.source("m").emit()
        (m,) = described(rig).describe()["models"]
        assert (m["trouble"], m["versions"]) == ("The source of model m has no versions of it", [])

    run(work())


def test_how_long_loads_took_and_how_they_ended() -> None:
    bus = EventBus()
    history = LoadHistory(bus, ServableStateMonitor(bus))
    one, two = ServableId("m", 1), ServableId("m", 2)
    for servable, state, seconds in (
        (one, State.START, 0),
        (one, State.LOADING, 1),
        (two, State.LOADING, 2),
        (one, State.AVAILABLE, 4),
        (two, State.END, 5),
        (two, State.START, 6),
        (two, State.END, 7),  # no memory for it: it was never loaded
    ):
        bus.publish(ServableState(servable, state, time_ns=seconds * 1_000_000_000))
    assert history.counts == {("m", "ok"): 1, ("m", "failed"): 1}
    assert history.seconds == {one: 3.0}
    bus.publish(ServableState(one, State.UNLOADING))
    bus.publish(ServableState(one, State.END))
    assert (history.counts, history.seconds) == ({("m", "ok"): 1, ("m", "failed"): 1}, {})


def test_loads_of_a_removed_model_are_counted_for_as_long_as_anything_of_it_is_shown() -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus, most_removed=1)
    history = LoadHistory(bus, monitor)
    monitor.note_models(["kept", "gone", "next"])
    for name in ("kept", "gone", "next"):
        for state in (State.LOADING, State.AVAILABLE, State.END):
            bus.publish(ServableState(ServableId(name, 1), state))
    monitor.note_models(["kept", "next"])
    assert ("gone", "ok") in history.counts
    monitor.note_models(["kept"])
    assert history.counts == {("kept", "ok"): 1, ("next", "ok"): 1}

"""The load-isolation topologies: what a small model's clients notice of what is loaded and unloaded beside them.

In each repetition a small model is asked in three phases: *steady*; while a ResNet50 *loads* beside it and is unloaded
again; and while it *switches* from one of its own versions to the next. Versions come and go on disk, as a user's do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.deep_models import deep_model
from bench.half_plus_two import NAME, predict
from bench.load import Target
from bench.phased_load import PhasedLoad, PhaseLoads
from bench.served_models import serve_command, write_config
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology
from bench.version_folders import VersionFolders
from bench.version_states import States, StatusClient, available, changing, ended, switched
from bench.wrk_phases import WrkPhases

_BIG: Final = "resnet50"
_STEADY: Final = "steady"
_PHASES: Final = ("loading", "switching")
_LOADS: Final = 3  # times that the big model comes and goes in a repetition
_SWITCHES: Final = 20
_CHECKS: Final = 100  # requests whose answers are looked at before each repetition
_CONNECTIONS: Final = 8
_RATE: Final = 1000.0  # requests per second: a fraction of what one core serves
_FULL_CONNECTIONS: Final = 32
_WARM_SECONDS: Final = 2.0
_LIMIT_SECONDS: Final = 120.0
_TAIL_SECONDS: Final = 0.2  # after an unload, in which memory goes back
_POLL_SECONDS: Final = 0.02
_GOAL: Final = Goal("ratio", 1.2)


@dataclass(slots=True)
class _Scene:
    """A server with both models, and the numbers of their last versions. All it does is accompanied by a load."""

    small: VersionFolders
    big: VersionFolders
    status: StatusClient
    last_small: int = 1
    last_big: int = 0

    def steady(self, load: PhasedLoad | WrkPhases, phase: str, seconds: float) -> None:
        """Nothing happens; the status is asked for as often as in the other phases."""
        load.phase(phase)
        self._ask_for(NAME, seconds)

    def load_beside(self, load: PhasedLoad | WrkPhases, phase: str) -> None:
        """The big model comes and goes."""
        mark = _mark(load, phase)
        for _ in range(_LOADS):
            self.last_big += 1
            load.phase(phase)
            self.big.publish(self.last_big)
            self.status.until(_BIG, available(self.last_big), _LIMIT_SECONDS, mark)
            self.big.withdraw(self.last_big)
            self.status.until(_BIG, ended(self.last_big), _LIMIT_SECONDS, mark)
            load.phase(phase, busy=True)
            self._ask_for(_BIG, _TAIL_SECONDS)

    def switch(self, load: PhasedLoad | WrkPhases, phase: str) -> None:
        """The small model's next version takes over, time and again."""
        mark = _mark(load, phase)
        for _ in range(_SWITCHES):
            old, self.last_small = self.last_small, self.last_small + 1
            load.phase(phase)
            self.small.publish(self.last_small)
            self.status.until(NAME, switched(old, self.last_small), _LIMIT_SECONDS, mark)
            load.phase(phase, busy=True)
            self._ask_for(NAME, _TAIL_SECONDS)
            self.small.withdraw(old)

    def _ask_for(self, model: str, seconds: float) -> None:
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            self.status.states(model)
            time.sleep(_POLL_SECONDS)


def _mark(load: PhasedLoad | WrkPhases, phase: str) -> Callable[[States], None]:
    return lambda states: load.phase(phase, busy=changing(states))


def _isolation(name: str, what: str, full: bool) -> Topology:
    def measure(settings: Settings, rows: list[Row]) -> None:
        mine = _rows(name, full)
        rows += mine.values()
        target = predict(free_port())
        with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch:
            small = VersionFolders(Path(scratch) / NAME, settings.model / "1")
            big = VersionFolders(Path(scratch) / _BIG, deep_model(_BIG))
            small.publish(1)
            config = write_config(Path(scratch) / "models.config", [small.base, big.base])
            with Server(serve_command(config, target.port), target) as server, StatusClient(target.port) as status:
                server.until_answered()
                scene = _Scene(small, big, status)
                for _ in range(settings.repeat):
                    right = server.check(_CHECKS)
                    with _full_load(settings, target, right) if full else PhasedLoad(target, _CONNECTIONS, _RATE) as load:
                        scene.steady(load, "warm", _WARM_SECONDS)
                        scene.steady(load, _STEADY, max(settings.seconds, _WARM_SECONDS))
                        scene.load_beside(load, "loading")
                        scene.switch(load, "switching")
                        loads = load.end()
                    add(mine, loads)
                    settings.say(line(loads))

    return Topology(name, what, measure, long=full)


def _full_load(settings: Settings, target: Target, right: bytes) -> PhasedLoad | WrkPhases:
    if settings.generator == "wrk":
        return WrkPhases(target, _FULL_CONNECTIONS, right)
    return PhasedLoad(target, _FULL_CONNECTIONS)


def _rows(name: str, full: bool) -> dict[str, Row]:
    """At full load there is no goal for times: what is loaded can only take from what is measured."""
    rows = {"failed": Row(name, "failed requests", "req", "lower", goals=(Goal("figure", 0.0),))}
    for phase in _PHASES:
        if not full:
            rows[f"{phase} busy"] = Row(name, f"p99 while {phase}", "ms", "lower", _STEADY, (_GOAL,))
        rows[phase] = Row(name, f"p99 {phase} phase", "ms", "lower", _STEADY)
        rows[f"{phase} longest"] = Row(name, f"longest {phase} phase", "ms", "lower", _STEADY)
    return rows


def add(rows: Mapping[str, Row], loads: PhaseLoads) -> None:
    """A repetition's figures. Raises RuntimeError when a phase has no answers."""
    for name, load in loads.whole.items():
        if not load.requests:
            raise RuntimeError(f"no request was answered rightly in phase {name}, {load.errors} were not")
    failed = sum(load.errors for load in loads.whole.values())
    rows["failed"].add(failed, errors=failed)
    steady = loads.whole[_STEADY]
    for phase in _PHASES:
        whole, busy = loads.whole[phase], loads.busy.get(phase)
        rows[phase].add(whole.p99, steady.p99, whole.errors)
        rows[f"{phase} longest"].add(whole.longest, steady.longest, whole.errors)
        if busy is not None and f"{phase} busy" in rows:
            rows[f"{phase} busy"].add(busy.p99, steady.p99, whole.errors)


def line(loads: PhaseLoads) -> str:
    """What a repetition found, for the one who waits."""
    words = []
    for name, load in loads.whole.items():
        busy = loads.busy.get(name)
        apart = f" (busy {busy.p99:.2f} ms, {busy.seconds:.1f} s)" if busy else ""
        words.append(f"{name} p99 {load.p99:.2f} ms{apart}, longest {load.longest:.0f} ms, {load.seconds:.1f} s")
    errors = sum(load.errors for load in loads.whole.values())
    return "; ".join([*words, f"{errors} ERRORS"] if errors else words)


TOPOLOGIES: Final = (
    _isolation(
        "load-isolation", f"{_RATE:.0f} small requests a second while ResNet50 loads, and while versions switch", full=False
    ),
    _isolation("load-isolation-c32", "as load-isolation, at full load over 32 connections", full=True),
)

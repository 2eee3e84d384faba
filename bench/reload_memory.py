"""The reload-memory topology: what memory the processes have after each of many reloads of a model that is being asked."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.deep_models import deep_model
from bench.half_plus_two import predict
from bench.phased_load import PhasedLoad
from bench.processes import ROLES, resident
from bench.served_models import serve_command, write_config
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology
from bench.version_folders import VersionFolders
from bench.version_states import StatusClient, switched

_NAME: Final = "reload-memory"
_MODEL: Final = "mobilenet"
_RELOADS: Final = 100
_FIRST: Final = 3  # the reload after which nothing new ought to be needed
_LAST: Final = 10  # reloads of which the largest figure counts
_CONNECTIONS: Final = 2
_RATE: Final = 10.0  # requests per second of three rows each
_LIMIT_SECONDS: Final = 120.0
_SETTLE_SECONDS: Final = 1.0
_SETTLE_STEP: Final = 0.1
_SAME: Final = 0.002  # memory that changes by no more than this part of it, from one look to the next, has settled


def _measure(settings: Settings, rows: list[Row]) -> None:
    """Once, whatever the repetitions: the reloads repeat enough."""
    floor = f"after {_FIRST} reloads"
    mine = {role: Row(_NAME, f"{role} resident", "MB", "lower", floor, (Goal("ratio", 1.05),)) for role in ROLES}
    rows += mine.values()
    target = predict(free_port(), _MODEL)
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch:
        folders = VersionFolders(Path(scratch) / _MODEL, deep_model(_MODEL))
        folders.publish(1)
        config = write_config(Path(scratch) / "models.config", [folders.base])
        with Server(serve_command(config, target.port), target) as server, StatusClient(target.port) as status:
            server.until_answered()
            with PhasedLoad(target, _CONNECTIONS, _RATE) as load:
                load.phase(_NAME)
                megabytes: list[dict[str, float]] = []
                for version in range(2, 2 + _RELOADS):
                    megabytes.append(_reload(folders, status, version, server.pid))
                    if not len(megabytes) % _LAST:
                        now = ", ".join(f"{role} {megabytes[-1][role]:.1f}" for role in ROLES)
                        settings.say(f"after {len(megabytes)} reloads, MB: {now}")
                errors = load.end().whole[_NAME].errors
    for role, row in mine.items():
        series = [each[role] for each in megabytes]
        row.add(max(series[-_LAST:]), series[_FIRST - 1], errors)
        settings.say(f"{role}: {curve(series)}")


def _reload(folders: VersionFolders, status: StatusClient, version: int, supervisor: int) -> dict[str, float]:
    """The version takes over from the one before it: resident megabytes by role, once they have settled."""
    folders.publish(version)
    status.until(folders.base.name, switched(version - 1, version), _LIMIT_SECONDS)
    folders.withdraw(version - 1)
    return settled(lambda: resident(supervisor))


def settled(
    look: Callable[[], dict[str, float]],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, float]:
    """What `look` says once it says about the same twice, or has gone on changing for a second."""
    give_up = clock() + _SETTLE_SECONDS
    before = look()
    while True:
        sleep(_SETTLE_STEP)
        now = look()
        same = all(abs(now[role] - value) <= _SAME * value for role, value in before.items() if role in now)
        if same or clock() >= give_up:
            return now
        before = now


def curve(series: Sequence[float]) -> str:
    """About ten of the figures, from the first to the last."""
    step = max(1, (len(series) - 1) // 10)
    picked = sorted({*range(0, len(series), step), len(series) - 1})
    return " ".join(f"{index + 1}: {series[index]:.1f}" for index in picked)


TOPOLOGIES: Final = (
    Topology(
        _NAME, f"memory after each of {_RELOADS} reloads of a model of 15 MB that is asked all the time", _measure, long=True
    ),
)

"""The many-models topology: a server of hundreds of versions, and what one of them costs beside a server of its own."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.half_plus_two import predict
from bench.processes import ROLES, descriptors, resident
from bench.rest import WARM_SECONDS, measured_load
from bench.served_models import serve_command, write_config
from bench.server import Server, free_port
from bench.topology import Row, Settings, Topology
from bench.version_folders import VersionFolders
from bench.version_states import AVAILABLE, StatusClient

_NAME: Final = "many-models"
_MODELS: Final = 200
_VERSIONS: Final = (1, 2)
_FLOOR: Final = "one model"
_START_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.05


def _measure(settings: Settings, rows: list[Row]) -> None:
    mine = _rows()
    rows += mine.values()
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch:
        bases = [Path(scratch) / f"half_plus_two_{number}" for number in range(_MODELS)]
        for base in bases:
            folders = VersionFolders(base, settings.model / "1")
            for version in _VERSIONS:
                folders.publish(version)
        many = write_config(Path(scratch) / "many.config", bases, "all {}")
        one = write_config(Path(scratch) / "one.config", bases[:1], "all {}")
        for _ in range(settings.repeat):
            _add(settings, mine, many, one, [base.name for base in bases])


def _rows() -> dict[str, Row]:
    seconds = ("first answer", "all available")
    milliseconds = ("status p50", "rest-c1 p50")
    return {
        **{measure: Row(_NAME, measure, "s", "lower", _FLOOR) for measure in seconds},
        **{measure: Row(_NAME, measure, "ms", "lower", _FLOOR) for measure in milliseconds},
        **{f"{role} descriptors": Row(_NAME, f"{role} descriptors", "fd", "lower", _FLOOR) for role in ROLES},
        **{f"{role} resident": Row(_NAME, f"{role} resident", "MB", "lower", _FLOOR) for role in ROLES},
    }


def _add(settings: Settings, rows: dict[str, Row], many: Path, one: Path, names: Sequence[str]) -> None:
    """A repetition: the server of one model, then that of all."""
    floors = _figures(settings, one, names[:1])
    figures = _figures(settings, many, names)
    errors = int(figures.pop("errors"))
    for measure, figure in figures.items():
        rows[measure].add(figure, floors[measure], errors)
    settings.say(", ".join(f"{measure} {figure:.4g} ({floors[measure]:.4g})" for measure, figure in figures.items()))


def _figures(settings: Settings, config: Path, names: Sequence[str]) -> dict[str, float]:
    """A server's figures by measure, and its errors."""
    target = predict(free_port(), names[-1])
    with Server(serve_command(config, target.port), target, _START_SECONDS) as server, StatusClient(target.port) as status:
        figures = {"first answer": server.until_answered()}
        _until_available(status, names)
        figures["all available"] = time.monotonic() - server.began
        figures["status p50"] = statistics.median(_status_seconds(status, names)) * 1e3
        measured_load(settings, server, target, 1, WARM_SECONDS)
        load = measured_load(settings, server, target, 1, settings.seconds)
        figures["rest-c1 p50"] = load.p50
        figures |= {f"{role} descriptors": count for role, count in descriptors(server.pid).items()}
        figures |= {f"{role} resident": megabytes for role, megabytes in resident(server.pid).items()}
        return {**figures, "errors": float(load.errors)}


def _until_available(status: StatusClient, names: Sequence[str]) -> None:
    """Every version of each. Raises RuntimeError when it takes too long, or one fails."""
    for name in names:
        status.until(name, lambda states: [states.get(version) for version in _VERSIONS] == [AVAILABLE] * 2, _START_SECONDS)


def _status_seconds(status: StatusClient, names: Sequence[str]) -> list[float]:
    """The times of 200 status requests, one after the other."""
    seconds = []
    for index in range(_MODELS):
        began = time.monotonic()
        status.states(names[index % len(names)])
        seconds.append(time.monotonic() - began)
    return seconds


TOPOLOGIES: Final = (
    Topology(
        _NAME, f"{_MODELS} models of {len(_VERSIONS)} versions each in one server, beside one model", _measure, long=True
    ),
)

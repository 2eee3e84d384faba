"""The start topology: from exec to the first answer, and the memory that the processes then have."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from bench.half_plus_two import predict
from bench.processes import resident
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology

_REQUESTS: Final = 1000  # before memory is looked at
_COMMAND: Final = "tensorflow_model_server"
_ROLES: Final = {"frontend": Goal("figure", 80.0), "supervisor": Goal("figure", 60.0), "worker": None}


def _measure(settings: Settings, rows: list[Row]) -> None:
    time_row = Row("start", "first answer", "s", "lower", goals=(Goal("figure", 1.5),))
    memory = {
        role: Row("start", f"{role} resident", "MB", "lower", goals=(goal,) if goal else ()) for role, goal in _ROLES.items()
    }
    rows += [time_row, *memory.values()]
    executable = _executable()
    for repetition in range(-1, settings.repeat):  # the first one reads the files into the cache
        target = predict(free_port())
        command = [
            executable,
            f"--port={free_port()}",
            f"--rest_api_port={target.port}",
            f"--model_name={settings.model.name}",
            f"--model_base_path={settings.model}",
        ]
        with Server(command, target) as server:
            seconds = server.until_answered()
            if repetition < 0:
                continue
            server.check(_REQUESTS)
            megabytes = resident(server.pid)
        time_row.add(seconds)
        for role, row in memory.items():
            row.add(megabytes[role])
        settings.say(f"{seconds:.2f} s; " + ", ".join(f"{role} {megabytes[role]:.0f} MB" for role in memory))


def _executable() -> str:
    """The console script of this environment."""
    beside = Path(sys.executable).parent / _COMMAND
    found = str(beside) if beside.exists() else shutil.which(_COMMAND)
    if found is None:
        raise RuntimeError(f"{_COMMAND} is not installed")
    return found


TOPOLOGIES: Final = (Topology("start", "exec to the first answer, files in the cache; then memory", _measure),)

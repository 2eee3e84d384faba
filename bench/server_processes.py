"""The processes of a server: what they hold together, and which of them runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_LIBRARY: Final = "libtensorflow"


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes, and how many processes hold them."""

    megabytes: float
    processes: int


def processes_of(server: int) -> list[psutil.Process]:
    """The process with this id and all that descend from it. Raises psutil.NoSuchProcess."""
    root = psutil.Process(server)
    return [root, *root.children(recursive=True)]


def proportional_memory(server: int) -> Memory:
    """The sum of their proportional set sizes: memory that some share is counted once."""
    sizes = []
    for process in processes_of(server):
        with suppress(psutil.NoSuchProcess):  # ended meanwhile
            sizes.append(process.memory_full_info().pss)
    return Memory(sum(sizes) / 1e6, len(sizes))


def model_process(server: int) -> int | None:
    """The id of the process, other than the first, that has TensorFlow in it and has worked most; None: there is none."""
    found = []
    for process in processes_of(server)[1:]:
        with suppress(psutil.NoSuchProcess, OSError):
            if _LIBRARY in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8", errors="replace"):
                times = process.cpu_times()
                found.append((times.user + times.system, process.pid))
    return max(found)[1] if found else None


def kill_left(processes: Sequence[psutil.Process]) -> None:
    """Those that still run: some servers leave processes in groups of their own."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()

"""What all processes of a server hold together."""

from __future__ import annotations

from pathlib import Path

import psutil


def held_memory(supervisor: int) -> float:
    """Megabytes. What processes share is counted once (the proportional set size); one that has just ended, not at all."""
    process = psutil.Process(supervisor)
    return sum(_proportional(each.pid) for each in [process, *process.children(recursive=True)]) / 1e6


def _proportional(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))

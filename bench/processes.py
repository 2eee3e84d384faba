"""What a server's processes hold, by the role that each says in its title."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psutil

ROLES: Final = ("supervisor", "frontend", "worker")


def resident(supervisor: int) -> dict[str, float]:
    """Resident megabytes of each role's largest process."""
    return _largest((role, process.memory_info().rss / 1e6) for role, process in _processes(supervisor))


def descriptors(supervisor: int) -> dict[str, float]:
    """Open file descriptors of each role's process with the most of them."""
    return _largest((role, float(process.num_fds())) for role, process in _processes(supervisor))


def process_ids(supervisor: int, role: str) -> list[int]:
    """Of all processes with this role."""
    return [process.pid for found, process in _processes(supervisor) if found == role]


def role_of(title: str) -> str:
    """The role in a process's title, "" where it says none: `ringserve: worker cpu:0` is a worker."""
    return title.partition("ringserve: ")[2].partition(" ")[0]


def _processes(supervisor: int) -> Iterator[tuple[str, psutil.Process]]:
    process = psutil.Process(supervisor)
    yield "supervisor", process
    for child in process.children(recursive=True):
        words = child.cmdline()
        if words and (role := role_of(words[0])):
            yield role, child


def _largest(facts: Iterator[tuple[str, float]]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for role, value in facts:
        largest[role] = max(largest.get(role, 0.0), value)
    return largest

"""What a server consists of: its processes, their titles, what they have mapped, and how large they are."""

from __future__ import annotations

import pytest

from end_to_end import process_facts
from end_to_end.running_server import RunningServer

MB = 1_000_000
ROLES = ("supervisor", "worker cpu:0", "frontend rest 0")


def test_every_process_says_what_it_is(catalogue: RunningServer) -> None:
    processes = catalogue.processes()
    assert set(processes) == {f"ringserve: {role}" for role in ROLES}
    assert processes["ringserve: supervisor"] == catalogue.pid


@pytest.mark.parametrize("role", ROLES)
def test_tensorflow_is_in_the_worker_alone(catalogue: RunningServer, role: str) -> None:
    mapped = [name for name in process_facts.mapped_files(catalogue.process(role)) if "tensorflow" in name]
    assert bool(mapped) == role.startswith("worker"), mapped


@pytest.mark.parametrize(("role", "most"), [("frontend rest 0", 80 * MB), ("supervisor", 60 * MB)])
def test_the_processes_without_tensorflow_are_small(catalogue: RunningServer, role: str, most: int) -> None:
    assert process_facts.resident_bytes(catalogue.process(role)) <= most

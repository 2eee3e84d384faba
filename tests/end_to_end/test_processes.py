"""What a server consists of: its processes, their titles, what they have mapped, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope="module")
def fresh(models: Path) -> Iterator[RunningServer]:
    """A server that has had small requests only: what it keeps ready for large ones would count as its own size."""
    with RunningServer("--model_name=half_plus_two", f"--model_base_path={models}/half_plus_two") as server:
        for number in range(100):
            assert server.predict("half_plus_two", {"instances": [number]}).status == 200
        yield server


@pytest.mark.parametrize(("role", "most"), [("frontend rest 0", 80 * MB), ("supervisor", 60 * MB)])
def test_the_processes_without_tensorflow_are_small(fresh: RunningServer, role: str, most: int) -> None:
    assert process_facts.resident_bytes(fresh.process(role)) <= most

"""What there is to know of the processes that serve local clients, and whether they do."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from end_to_end import process_facts
from end_to_end.running_server import RunningServer
from ringserve import Client
from shm import layout


class Held(NamedTuple):
    """What a process has: descriptors, and bytes of memory."""

    descriptors: int
    resident: int


def url(server: RunningServer) -> str:
    return f"shm://{server.shm_socket}"


def front_end(server: RunningServer) -> int:
    return server.process("frontend local 0")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def held(server: RunningServer) -> dict[str, Held]:
    """By the processes' titles."""
    found = {}
    for title, pid in server.processes().items():
        with suppress(FileNotFoundError, ProcessLookupError):
            found[title] = Held(descriptors(pid), process_facts.resident_bytes(pid))
    return found


def local_lanes(server: RunningServer) -> int:
    """That a worker has: how many lanes are mapped by it whose front end is the one for local clients."""
    count = 0
    for title, pid in server.processes().items():
        if "worker" in title:
            with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
                count += sum("/memfd:ringserve-lane" in line for line in maps)
    return count


def in_lanes(server: RunningServer, model: str) -> int:
    """Requests of local clients to this model that the first worker has not answered."""
    lanes = process_facts.lane_headers(server.process("worker cpu:0"))
    ours = [words for label, words in lanes if label["frontend"] == "frontend local 0" and label["servable"][0] == model]
    return sum(words[layout.SUBMITTED] - words[layout.COMPLETED] for words in ours)


def check(server: RunningServer, model: str = "half_plus_two", offset: float = 3.0) -> None:
    """A new client is answered, rightly and soon."""
    x: Any = np.array([2, 4], "<f4")
    with Client(url(server), timeout=5) as client:
        assert client.predict(model, {"x": x})["y"].tolist() == (x / 2 + np.float32(offset)).tolist()

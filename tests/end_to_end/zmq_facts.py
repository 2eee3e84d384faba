"""What there is to know of a server's ZeroMQ front ends, and whether they answer."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Final

import numpy as np

from end_to_end import process_facts
from end_to_end.running_server import RunningServer
from end_to_end.zmq_client import ZmqClient, differs, predicting

_IN_FLIGHT: Final = re.compile(r"^ringserve_inflight_requests\{[^}]*\} (\S+)$", re.MULTILINE)
_X: Final = np.array([2.0, 4.0], "f4")


def address(server: RunningServer) -> str:
    return f"tcp://127.0.0.1:{server.zmq_port}"


def front_end(server: RunningServer, index: int = 0) -> int:
    return server.process(f"frontend zmq {index}")


def resident(server: RunningServer, index: int = 0) -> int:
    return process_facts.resident_bytes(front_end(server, index))


def connections(server: RunningServer, index: int = 0) -> int:
    """Sockets of a front end's."""
    folder, count = f"/proc/{front_end(server, index)}/fd", 0
    for entry in os.listdir(folder):
        with suppress(FileNotFoundError):
            count += os.readlink(f"{folder}/{entry}").startswith("socket:")
    return count


def in_flight(server: RunningServer) -> float:
    """As the metrics have it, which are written once a second."""
    return sum(float(value) for value in _IN_FLIGHT.findall(server.get("/metrics").body.decode()))


def check(server: RunningServer, model: str = "half_plus_two", offset: float = 3.0) -> None:
    """A new client is answered, rightly and soon."""
    with ZmqClient(address(server)) as client:
        client.send({"id": 1, **predicting(model, {"x": _X})})
        answer, frames = client.receive(5)
        assert not differs(answer, frames, y=_X / 2 + np.float32(offset))

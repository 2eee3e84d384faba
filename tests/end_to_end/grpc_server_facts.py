"""What there is to know of a server's gRPC front end, and whether it answers."""

from __future__ import annotations

import os
import re
from contextlib import suppress

import grpc

from end_to_end.grpc_questions import PREDICT, differs
from end_to_end.hostile_calls import ANSWER, REQUEST
from end_to_end.running_server import RunningServer

_IN_FLIGHT = re.compile(r"^ringserve_inflight_requests\{[^}]*\} (\S+)$", re.MULTILINE)


def check(channel: grpc.Channel) -> None:
    """A valid request is answered, rightly and soon."""
    answer = channel.unary_unary(PREDICT)(REQUEST, timeout=5, wait_for_ready=True)
    assert not differs(answer, y=ANSWER)


def front_end(server: RunningServer) -> int:
    return server.process("frontend grpc 0")


def connections(server: RunningServer) -> int:
    """Sockets of the front end's: lanes come with the signatures that are asked for, and stay."""
    folder, count = f"/proc/{front_end(server)}/fd", 0
    for entry in os.listdir(folder):
        with suppress(FileNotFoundError):
            count += os.readlink(f"{folder}/{entry}").startswith("socket:")
    return count


def in_flight(server: RunningServer) -> float:
    """As the metrics have it, which are written once a second."""
    return sum(float(value) for value in _IN_FLIGHT.findall(server.get("/metrics").body.decode()))

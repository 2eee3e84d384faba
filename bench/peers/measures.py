"""What is measured of a server: load, memory, what requests feel of a switch of versions and of a process that is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Final

from bench.harness.chaos import Action, Chaos, Deed
from bench.harness.coordinator import Beside, finished_run
from bench.harness.plan import Closed, Open, Plan, Shape
from bench.harness.request_set import RequestSet
from bench.peers.interruption import WINDOW, Interruption
from bench.peers.level import Level
from bench.peers.peer_server import PeerServer
from bench.server_processes import model_process

#: Requests per second while a version is switched: few, since all peers are to be up to them.
SWITCH_RATE: Final = 50.0
_SLOTS: Final = 128  # of them may be on their way
#: Clients that ask again and again while a process is killed: some requests are always on their way.
KILL_CLIENTS: Final = 8
_BEFORE: Final = 2.0  # s
_TIMEOUT: Final = 5.0  # s for an answer, while something is done
_SETTLE: Final = 0.5  # s that belong to a switch after it is over


def warmup(seconds: float) -> float:
    """Before a run of so many seconds."""
    return max(0.25 * seconds, 0.3)


def load(requests: RequestSet, clients: int, seconds: float) -> Level:
    """Raises HarnessError when the server can't be reached."""
    return Level.of(clients, finished_run(requests, Plan(Closed(clients), seconds, warmup(seconds), timeout=30.0)))


def switch(server: PeerServer, requests: RequestSet, seconds: float) -> Interruption:
    """Seconds: of the run, in which the switch begins soon."""

    def deed(_: threading.Event) -> Iterator[str]:
        yield "switch"
        server.switch()
        yield "switched"

    return _interrupted(requests, Open(SWITCH_RATE, "constant", _SLOTS), seconds, deed, _SETTLE)


def kill(server: PeerServer, requests: RequestSet, seconds: float) -> Interruption | None:
    """A process that runs the model is killed; None: there is none beside the server's first process."""
    process = model_process(server.pid)
    if process is None:
        return None

    def deed(_: threading.Event) -> Iterator[str]:
        os.kill(process, signal.SIGKILL)
        yield "killed"

    return _interrupted(requests, Closed(KILL_CLIENTS), seconds, deed, 0.0)


def _interrupted(requests: RequestSet, shape: Shape, seconds: float, deed: Deed, settle: float) -> Interruption:
    plan = Plan(shape, seconds, 1.0, timeout=_TIMEOUT, window=WINDOW)
    return Interruption.of(finished_run(requests, plan, Beside(chaos=Chaos([Action(_BEFORE, deed)]))), settle)

"""A server with a setting, started, put under load, and stopped."""

from __future__ import annotations

import http.client
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.harness.coordinator import finished_run
from bench.harness.errors import HarnessError
from bench.harness.outcome import Outcome
from bench.harness.payload import Synthetic
from bench.harness.plan import Closed, Plan
from bench.harness.preparation import prepare
from bench.harness.request_set import RequestSet
from bench.harness.target import PreparationError, Target
from bench.load import WrongAnswerError
from bench.server import Server, free_port
from bench.server_processes import proportional_memory
from bench.tune.front import Point
from bench.tune.setting import Setting
from bench.tune.tuning import TrialError

START_SECONDS: Final = 300.0
_ASK_SECONDS: Final = 10.0
_PORTS: Final = {"http": "rest_api_port", "grpc": "port", "zmq": "zmq_port"}


@dataclass(frozen=True, slots=True)
class Status:
    """The model's state, over REST: whether the server is there, and has loaded it."""

    port: int
    model: str

    def ask(self, count: int) -> bytes:
        """Raises WrongAnswerError, OSError and HTTPException; of these, ConnectionError while nobody listens."""
        body = b""
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ASK_SECONDS)
            try:
                connection.request("GET", f"/v1/models/{self.model}")
                answer = connection.getresponse()
                body = answer.read()
            finally:
                connection.close()
            if answer.status != 200:
                raise WrongAnswerError(f"answered {answer.status} {body[:200]!r}")
        return body


@dataclass(frozen=True, slots=True)
class Load:
    """What a server is asked, by how many clients in turn, and for how many seconds each."""

    clients: Sequence[int]
    seconds: float
    warmup: float
    payload: Synthetic | Path
    limit: float = math.inf  # ms; more clients are not tried where the 99th percentile is far beyond


@dataclass(slots=True)
class Trials:
    """Servers of one model, one after the other on the same ports."""

    base: Path
    scheme: str  # of the load: http, grpc or zmq
    load: Load
    folder: Path  # for files of parameters
    given: Sequence[str] = ()  # flags that all servers have
    ports: dict[str, int] = field(default_factory=lambda: {scheme: free_port() for scheme in _PORTS})
    busiest: float = 0.0  # share of a processor that a load generator took
    _requests: RequestSet | None = None  # the same for all servers, and with the answers of the first

    def measure(self, setting: Setting) -> list[Point]:
        """A point for each number of clients. Raises TrialError, and KeyboardInterrupt in the middle of a load."""
        parameters = self.folder / "batching.config"
        parameters.write_text(setting.parameters, encoding="utf-8")
        status = Status(self.ports["http"], self.base.name)
        try:
            with Server(self._command(setting, parameters), status, START_SECONDS) as server:
                server.until_answered()
                return self._points(setting, server.pid)
        except (HarnessError, PreparationError, RuntimeError, OSError, ValueError) as error:
            raise TrialError(str(error)) from error

    def _command(self, setting: Setting, parameters: Path) -> list[str]:
        ports = [f"--{flag}={self.ports[scheme]}" for scheme, flag in _PORTS.items()]
        model = [f"--model_name={self.base.name}", f"--model_base_path={self.base}", "--log_level=warning"]
        flags = setting.flags(self.scheme, str(parameters))
        return [sys.executable, "-m", "ringserve", "serve", *ports, *model, *flags, *self.given]

    def _points(self, setting: Setting, pid: int) -> list[Point]:
        if self._requests is None:
            target = Target(f"{self.scheme}://127.0.0.1:{self.ports[self.scheme]}", self.base.name)
            self._requests = prepare(target, self.load.payload)
        found: list[Point] = []
        for clients in self.load.clients:
            processes = max(1, (os.cpu_count() or 1) // 4)
            outcome = finished_run(
                self._requests, Plan(Closed(clients), self.load.seconds, self.load.warmup, processes=processes)
            )
            self.busiest = max(self.busiest, *(each.cpu for each in outcome.generators))
            found.append(_point(setting, clients, outcome, proportional_memory(pid).megabytes))
            if found[-1].p99 > 2 * self.load.limit:
                break
        return found


def _point(setting: Setting, clients: int, outcome: Outcome, memory: float) -> Point:
    """One in which nothing was answered has failed, whatever became of its requests."""
    answered = outcome.whole.requests
    p50, p99 = (outcome.percentile(percent) if answered else math.inf for percent in (50.0, 99.0))
    return Point(setting, clients, outcome.rate, p50, p99, memory, outcome.failed if answered else max(outcome.failed, 1))

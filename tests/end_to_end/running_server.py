"""A server as its users start it: the real command as a process, on a free port, with its log."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from end_to_end import process_facts
from end_to_end.http_answer import Answer, Body, ask
from end_to_end.waiting import wait_until
from ringserve.admin_client import AdminClient, find_server
from shm import layout

START_LIMIT = 60
STOP_LIMIT = 40
GONE_LIMIT = 3
ADMIN_LIMIT = 30

_BIN = Path(sys.executable).parent
RINGSERVE = (str(_BIN / "ringserve"), "serve")
TENSORFLOW_MODEL_SERVER = (str(_BIN / "tensorflow_model_server"),)

_PORTS = range(12_000, 32_000)
_RUNS = 8  # at a time

_STARTED = re.compile(r"Exporting HTTP/REST API at:localhost:(\d+)")


def _ports() -> Iterator[int]:
    """Below those that clients get, and others than those of a test run beside this one."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = range(_PORTS.start + worker % _RUNS, _PORTS.stop, _RUNS)
    begin = random.randrange(len(mine))
    return itertools.cycle((*mine[begin:], *mine[:begin]))


def free_port() -> int:
    for port in _PORTS_TO_TRY:
        with suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is no end of ports")


_PORTS_TO_TRY = _ports()


class RunningServer:
    """Started on entering `with`, ended on leaving it, whatever happened; nothing of it may be left then."""

    def __init__(
        self,
        *flags: str,
        command: Sequence[str] = RINGSERVE,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        grpc: bool = False,
        zmq: bool = False,
        shm: bool = False,
    ) -> None:
        """`environment`: variables that it has besides those of the tests; `grpc`, `zmq`, `shm`: it has a front end for that
        too.
        """
        self._environment = {**os.environ, **(environment or {})}
        self.port = port or free_port()
        self.pid = 0
        self.grpc_port = free_port()
        self.zmq_port = free_port()
        self.zmq_url = f"zmq://127.0.0.1:{self.zmq_port}"
        self._folder = TemporaryDirectory(prefix="ringserve-test-") if shm else None  # a socket's path has to be short
        self.shm_socket = f"{self._folder.name}/shm.sock" if self._folder else ""
        self._command = [
            *command,
            f"--rest_api_port={self.port}",
            f"--port={self.grpc_port}",
            f"--grpc_frontends={int(grpc)}",
            f"--zmq_port={self.zmq_port}",
            f"--zmq_frontends={int(zmq)}",
            *([f"--shm_socket={self.shm_socket}"] if shm else []),
            *flags,
        ]
        self._process: subprocess.Popen[str]
        self._lines: list[str] = []
        self._line_came = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, name="log", daemon=True)

    def __enter__(self) -> Self:
        self.begin()
        try:
            self.wait_until_it_serves()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            lanes = {memfd.inode for memfd in self.lanes()}
            if self._process.poll() is None:
                code = self.stop()
                assert code == 0, f"ended with {code}:\n{self.log}"
                assert not os.path.exists(self.shm_socket), "the socket's file is left"
            wait_until(lambda: not self.processes(), GONE_LIMIT, f"every process gone, but {self.processes()} are not")
            assert not lanes & process_facts.all_memfds(), "shared memory is left"
        finally:
            self.end()
        assert "Traceback" not in self.log, self.log

    def begin(self) -> None:
        """Start the process, and wait for nothing."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            cwd="/",
            env=self._environment,
        )
        self.pid = self._process.pid
        self._reader.start()

    def wait_until_it_serves(self) -> None:
        self.wait_for_log(_STARTED, START_LIMIT)
        wait_until(self._accepts, START_LIMIT, "a connection")

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._line_came:
                self._lines.append(line)
                self._line_came.notify_all()
        with self._line_came:
            self._line_came.notify_all()

    @property
    def log(self) -> str:
        """Everything that its processes have written so far."""
        with self._line_came:
            return "".join(self._lines)

    def wait_for_log(self, pattern: str | re.Pattern[str], seconds: float, after: int = 0) -> re.Match[str]:
        """The first match behind the first `after` characters of the log; fails when none comes, or the server ends."""
        give_up = time.monotonic() + seconds
        with self._line_came:
            while True:
                found = re.search(pattern, "".join(self._lines)[after:])
                if found:
                    return found
                ended = self._process.poll() is not None and not self._reader.is_alive()
                assert not ended, f"ended with {self._process.returncode} before {pattern}:\n{self.log}"
                assert time.monotonic() < give_up, f"no {pattern} within {seconds} s:\n{self.log}"
                self._line_came.wait(0.1)

    def processes(self) -> dict[str, int]:
        """Ids of the running processes by title."""
        return process_facts.session(self.pid)

    def process(self, role: str) -> int:
        """The id of the process that has this role now: "worker cpu:0", "frontend rest 0"."""
        return wait_until(lambda: self.processes().get(f"ringserve: {role}", 0), START_LIMIT, f"a process for {role}")

    def completed(self) -> Counter[tuple[str, str]]:
        """How many requests went from which front end to which worker, over all lanes that there are now."""
        counts: Counter[tuple[str, str]] = Counter()
        for label, words in process_facts.lane_headers(self.pid):
            counts[label["frontend"], label["worker"]] += words[layout.COMPLETED]
        return counts

    def lanes(self) -> set[process_facts.Memfd]:
        return process_facts.memfds(self.processes().values())

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_LIMIT) -> int:
        """The exit status, once it ends; its log is complete then."""
        code = self._process.wait(seconds)
        self._reader.join(seconds)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send_signal(number)
        return self.wait()

    def end(self) -> None:
        """At once, whatever it is doing."""
        for pid in self.processes().values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(STOP_LIMIT)
        self._reader.join(STOP_LIMIT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._folder:
            self._folder.cleanup()

    def ask(self, method: str, path: str, body: Body = None, headers: dict[str, str] | None = None) -> Answer:
        return ask(self.port, method, path, body, headers)

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def predict(self, model: str, body: Body, version: int | None = None) -> Answer:
        which = "" if version is None else f"/versions/{version}"
        return self.ask("POST", f"/v1/models/{model}{which}:predict", body)

    def states(self, model: str) -> dict[int, str]:
        """The states of a model's versions, highest first; none of a model that is not known."""
        answer = self.get(f"/v1/models/{model}")
        assert answer.status in (200, 404), answer
        versions: list[dict[str, Any]] = answer.json.get("model_version_status", [])
        return {int(entry["version"]): str(entry["state"]) for entry in versions}

    def wait_for_states(self, model: str, states: Mapping[int, str], seconds: float = 15) -> None:
        wait_until(
            lambda: self.states(model) == states, seconds, lambda: f"{model} {states}, is {self.states(model)}:\n{self.log}"
        )

    def version_error(self, model: str, version: int) -> tuple[str, str]:
        """Code and text of a version's error, as the status API shows it."""
        for entry in self.get(f"/v1/models/{model}").json["model_version_status"]:
            if int(entry["version"]) == version:
                return entry["status"]["error_code"], entry["status"]["error_message"]
        raise AssertionError(f"no version {version} of {model}")

    @property
    def admin(self) -> AdminClient:
        """On its admin socket."""
        return AdminClient(find_server(self.port), ADMIN_LIMIT)

    def described(self, model: str) -> dict[str, Any]:
        """A model's entry in `ringserve models status --json`."""
        (entry,) = self.admin.call("status", model=model)["models"]
        return dict(entry)


def run_to_its_end(*flags: str, command: Sequence[str] = RINGSERVE, port: int = 0) -> tuple[int, str]:
    """Start a server that is expected to end by itself: its exit status and all that it wrote."""
    server = RunningServer(*flags, command=command, port=port)
    server.begin()
    try:
        return server.wait(START_LIMIT), server.log
    finally:
        server.end()

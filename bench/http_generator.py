"""A load generator for HTTP/1.1: keep-alive connections, each with one request on its way at any time.

It checks the body of every answer. A program, so that it has an interpreter of its own; `http_load` runs it, several at
once where one is not enough. Latencies are those of a closed loop, as wrk's: a slow answer delays the next request.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.histogram import Histogram
from bench.http_answers import Answers, BadAnswerError
from bench.load import PATIENCE, Load, Target
from ringserve.child import become

_CHUNK: Final = 1 << 16
_CONNECT_SECONDS: Final = 5.0
FLUSH: Final = 4096  # latencies recorded at once
_CPUS_PER_PROCESS: Final = 4


@dataclass(slots=True)
class Tally:
    """What a generator counted."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: Histogram = field(default_factory=Histogram)  # ns

    def to_wire(self) -> dict[str, Any]:
        wire = {"requests": self.requests, "errors": self.errors, "seconds": self.seconds}
        return {**wire, "latencies": self.latencies.to_wire()}


class Connection:
    """One keep-alive connection, and the bytes that have come and make no whole answer yet."""

    __slots__ = ("began", "fd", "received", "sock")

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.fd = self.sock.fileno()
        self.received = b""
        self.began = 0


class Generator:
    """Drives its connections from one thread. Requests must fit into a socket's buffer."""

    def __init__(self, target: Target, connections: int) -> None:
        """Raises OSError when the server can't be reached."""
        self._port = target.port
        self._request = target.request
        self._answers = Answers(target.answer)
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._tally = Tally()
        self._samples: list[int] = []
        try:
            for _ in range(connections):
                self._open()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for connection in self._connections.values():
            connection.sock.close()
        self._connections.clear()
        self._epoll.close()

    def run(self, seconds: float) -> Tally:
        """Send for this long, then wait a while for the last answers. What does not come by then is an error. Once only."""
        began = now = time.monotonic_ns()
        self._stop = began + int(seconds * 1e9)
        give_up = self._stop + int(PATIENCE * 1e9)
        for connection in list(self._connections.values()):
            self._send(connection)
        while self._connections and now < give_up:
            for fd, _ in self._epoll.poll(0.1):
                self._receive(self._connections[fd])
            now = time.monotonic_ns()
            if len(self._samples) >= FLUSH:
                self._flush()
        self._tally.errors += len(self._connections)
        self._flush()
        self._tally.seconds = (now - began) / 1e9
        return self._tally

    def _open(self) -> Connection:
        connection = Connection(self._port)
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN)
        return connection

    def _drop(self, connection: Connection) -> None:
        self._epoll.unregister(connection.fd)
        del self._connections[connection.fd]
        connection.sock.close()

    def _send(self, connection: Connection, began: int | None = None) -> None:
        """Its time counts from `began` on, when that is not now."""
        connection.began = time.monotonic_ns() if began is None else began
        try:
            if connection.sock.send(self._request) == len(self._request):
                return
        except OSError:
            pass  # the server has closed it: what is read next says so, and it is counted there
        connection.sock.shutdown(socket.SHUT_RDWR)

    def _receive(self, connection: Connection) -> None:
        try:
            received = connection.sock.recv(_CHUNK)
            if not received:
                raise BadAnswerError("connection closed")
            if connection.received:
                received = connection.received + received
            whole = self._answers.whole(received)
        except (OSError, BadAnswerError):
            self._fail(connection)
            return
        if not whole:
            connection.received = received
            return
        connection.received = b""
        now = time.monotonic_ns()
        self._samples.append(now - connection.began)
        self._go_on(connection, now)

    def _go_on(self, connection: Connection, now: int) -> None:
        """A connection has nothing on its way: the next request, until the end."""
        if now < self._stop:
            self._send(connection)
        else:
            self._drop(connection)

    def _fail(self, connection: Connection) -> None:
        """Count an error and go on with a new connection; where none is to be had, with one less."""
        self._tally.errors += 1
        self._drop(connection)
        now = time.monotonic_ns()
        if now < self._stop:
            try:
                self._go_on(self._open(), now)
            except OSError:
                return

    def _flush(self) -> None:
        self._tally.latencies.record(self._samples)
        self._tally.requests += len(self._samples)
        self._samples.clear()


def http_load(target: Target, connections: int, seconds: float, processes: int = 0) -> Load:
    """Run the generator in `processes` processes, which share the connections; 0: by the machine's CPUs.

    Raises RuntimeError when one of them fails.
    """
    cpus = len(os.sched_getaffinity(0))
    count = min(processes or max(1, cpus // _CPUS_PER_PROCESS), connections)
    shares = [connections // count + (index < connections % count) for index in range(count)]
    command = [sys.executable, "-m", "bench.http_generator", "--target", json.dumps(asdict(target))]
    commands = [[*command, "--connections", str(share), "--seconds", str(seconds)] for share in shares]
    tallies = run_at_once(commands)
    return together(tallies, max(tally["seconds"] for tally in tallies))


def run_at_once(commands: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Start generators, let all of them go when each is connected, and return their tallies. Raises RuntimeError."""
    running: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for process in running:
            line_of(process)  # it is connected
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(line_of(process)) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that a generator prints. Raises RuntimeError when it has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the load generator ended with {process.wait()}")
    return line


def together(tallies: Sequence[Mapping[str, Any]], seconds: float) -> Load:
    """What generators counted, as they wrote it, as one load of this many seconds."""
    latencies = Histogram()
    for tally in tallies:
        latencies.add(Histogram.from_wire(tally["latencies"]))
    p50, p99, longest = (latencies.percentile(each) / 1e6 if latencies.total else math.nan for each in (50, 99, 100))
    requests, errors = (sum(tally[key] for tally in tallies) for key in ("requests", "errors"))
    return Load(requests, seconds, p50, p99, errors, longest)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=lambda text: Target(**json.loads(text)), required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    become("bench http generator")
    generator = Generator(arguments.target, arguments.connections)
    print("connected", flush=True)
    sys.stdin.readline()
    tally = generator.run(arguments.seconds)
    generator.close()
    print(json.dumps(tally.to_wire()), flush=True)


if __name__ == "__main__":
    main()

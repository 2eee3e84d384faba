"""A load generator whose requests come at a steady rate, and whose results are counted apart for phases that it is told.

Requests are due at fixed times, whatever became of those before. One that is due while no connection is free counts from
when it was due: a server that stalls is charged for all that piled up meanwhile. A program; `phased_load` runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from collections import deque
from typing import Final

from bench.http_generator import FLUSH, Connection, Generator, Tally
from bench.load import PATIENCE, Target
from ringserve.child import become

_LONGEST_PAUSE: Final = 0.1  # s


class PhasedGenerator(Generator):
    """Reads the name of each phase that begins, a line each; ends when that input does."""

    def __init__(self, target: Target, connections: int, rate: float) -> None:
        """`rate`: requests per second; 0: each connection sends as soon as it has its answer."""
        super().__init__(target, connections)
        self._interval = int(1e9 / rate) if rate else 0
        self._idle: deque[Connection] = deque()
        self._late: deque[int] = deque()  # when the requests were due that no connection was free for
        self._due = self._phase_began = time.monotonic_ns()
        self._stop = sys.maxsize
        self._tallies: dict[str, Tally] = {}
        self._words = b""

    def run_phases(self, commands: int) -> dict[str, Tally]:
        """What was counted in each phase, by its name; a request belongs to the phase in which its answer came. Once only.

        `commands`: the file descriptor of the phases' names. Before the first one nothing is sent.
        """
        while not self._tallies and self._stop == sys.maxsize:
            self._command(commands)
        self._epoll.register(commands, select.EPOLLIN)
        self._due = now = time.monotonic_ns()
        for connection in list(self._connections.values()):
            self._go_on(connection, now)
        while self._connections and now < self._stop + int(PATIENCE * 1e9):
            for fd, _ in self._epoll.poll(self._pause(now)):
                if fd == commands:
                    self._command(commands)
                elif fd in self._connections:  # not dropped a moment ago, at the end of the input
                    self._receive(self._connections[fd])
            now = time.monotonic_ns()
            self._send_due(now)
            if len(self._samples) >= FLUSH:
                self._flush()
        self._tally.errors += len(self._connections) + len(self._late)
        self._finish_phase()
        return self._tallies

    def _command(self, commands: int) -> None:
        received = os.read(commands, 4096)
        *names, self._words = (self._words + received).split(b"\n")
        for name in names:
            self._finish_phase()
            self._tally = self._tallies.setdefault(name.decode(), Tally())
        if not received:
            self._stop = time.monotonic_ns()
            if self._tallies:
                self._epoll.unregister(commands)  # it would be reported for ever
                self._send_due(self._stop)
            while self._idle:
                self._drop(self._idle.pop())

    def _finish_phase(self) -> None:
        self._flush()
        now = time.monotonic_ns()
        if self._tallies:
            self._tally.seconds += (now - self._phase_began) / 1e9
        self._phase_began = now

    def _pause(self, now: int) -> float:
        """Seconds until the next request is due, at most."""
        if not self._interval or self._stop <= now:
            return _LONGEST_PAUSE
        return min(max(self._due - now, 0) / 1e9, _LONGEST_PAUSE)

    def _send_due(self, now: int) -> None:
        while self._interval and self._due <= min(now, self._stop):
            if self._idle:
                self._send(self._idle.popleft())
            else:
                self._late.append(self._due)
            self._due += self._interval

    def _go_on(self, connection: Connection, now: int) -> None:
        if not self._interval:
            super()._go_on(connection, now)
        elif self._late:
            self._send(connection, self._late.popleft())
        elif now < self._stop:
            self._idle.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection in self._idle:  # the server has closed it while nothing was on its way
            self._idle.remove(connection)
        super()._drop(connection)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=lambda text: Target(**json.loads(text)), required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    arguments = parser.parse_args()
    become("bench phased generator")
    generator = PhasedGenerator(arguments.target, arguments.connections, arguments.rate)
    print("connected", flush=True)
    tallies = generator.run_phases(sys.stdin.fileno())
    generator.close()
    print(json.dumps({name: tally.to_wire() for name, tally in tallies.items()}), flush=True)


if __name__ == "__main__":
    main()

"""Many clients in one process: each asks for one row over ZeroMQ, and for the next as soon as it is answered.

It looks at every answer, and takes the time of every request. A program, so that it has an interpreter of its own;
`row_clients` runs it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np
import zmq

from bench.asked_rows import AskedRows
from bench.http_generator import Tally, line_of, together
from bench.load import PATIENCE, Load
from bench.row_messages import RowAnswers, RowRequests, request_id
from ringserve.child import become

CONNECT_SECONDS: Final = 30.0
_FLUSH: Final = 1 << 18  # answers that are looked at together: after the run, where it is a short one

#: A run: the server's endpoint, how many clients, for how many seconds.
RowLoad = Callable[[str, int, float], Load]


class RowClient:
    """One DEALER, which stands for any number of clients."""

    def __init__(self, endpoint: str, rows: AskedRows, patience: float = CONNECT_SECONDS) -> None:
        """Asks once. Raises ValueError for a wrong answer, zmq.Again where none comes in `patience` seconds."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._send: Callable[[bytes], object] = super(zmq.Socket, self._socket).send  # without the part that is in Python
        self._socket.set_hwm(0)
        self._socket.connect(endpoint)
        self._socket.setsockopt(zmq.RCVTIMEO, round(patience * 1000))
        self._requests = RowRequests(rows)
        self._number = 0
        self._waiting: dict[bytes, int] = {}  # when the request with this id was sent, in ns
        try:
            self._ask(0)
            first = self._socket.recv()
            self._answers = RowAnswers(rows, first)
        except BaseException:
            self.close()
            raise
        self._waiting.clear()
        self._socket.setsockopt(zmq.RCVTIMEO, round(PATIENCE * 1000))

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()

    def run(self, clients: int, seconds: float) -> Tally:
        """So many clients for this long, then the last answers.

        Raises zmq.Again where none comes for PATIENCE seconds, RuntimeError for one that nobody waits for.
        """
        receive, clock, waiting, place = self._socket.recv, time.monotonic_ns, self._waiting, self._answers.id
        tally = Tally()
        answers: list[bytes] = []
        times: list[int] = []
        began = now = clock()
        stop = began + int(seconds * 1e9)
        for _ in range(clients):
            self._ask(clock())
        while waiting:
            answer = receive()
            now = clock()
            sent = waiting.pop(answer[place], None)
            times.append(now - (self._other(answer) if sent is None else sent))
            answers.append(answer)
            if now < stop:
                self._ask(now)
            if len(answers) >= _FLUSH:
                self._count(tally, answers, times)
        tally.seconds = (now - began) / 1e9
        self._count(tally, answers, times)
        return tally

    def _ask(self, now: int) -> None:
        self._waiting[request_id(self._number)] = now
        self._send(self._requests.message(self._number))
        self._number += 1

    def _other(self, answer: bytes) -> int:
        """When the request was sent that this answer of another form, perhaps an error, is for."""
        fields: Any = msgpack.unpackb(answer)
        sent = self._waiting.pop(fields.get("id"), None)
        if sent is None:
            raise RuntimeError(f"nobody waits for {answer[:200]!r}")
        return sent

    def _count(self, tally: Tally, answers: list[bytes], times: list[int]) -> None:
        right = self._answers.right(answers)
        tally.latencies.record(np.array(times, dtype=np.int64)[right])
        tally.requests += int(right.sum())
        tally.errors += int((~right).sum())
        answers.clear()
        times.clear()


@contextmanager
def row_clients(rows: Path) -> Iterator[RowLoad]:
    """A process with clients that ask for these rows; it connects to a server when it is first to ask it.

    The function raises RuntimeError when that fails.
    """
    command = [sys.executable, "-m", "bench.row_client", "--rows", str(rows)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def load(endpoint: str, clients: int, seconds: float) -> Load:
        assert process.stdin is not None
        process.stdin.write(json.dumps([endpoint, clients, seconds]) + "\n")
        process.stdin.flush()
        tally = json.loads(line_of(process))
        return together([tally], tally["seconds"])

    try:
        yield load
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=Path, required=True)
    rows = AskedRows.read(parser.parse_args().rows)
    become("bench row client")
    clients: dict[str, RowClient] = {}
    for line in sys.stdin:
        endpoint, count, seconds = json.loads(line)
        if endpoint not in clients:
            clients[endpoint] = RowClient(endpoint, rows)
            gc.collect()
            gc.freeze()
        print(json.dumps(clients[endpoint].run(count, seconds).to_wire()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

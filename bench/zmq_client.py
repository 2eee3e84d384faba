"""A load generator for ZeroMQ on pyzmq alone: a number of messages without an answer at any time.

It looks at every answer. A program, so that it has an interpreter of its own; `zmq_load` runs it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import zmq

from bench.http_generator import FLUSH, Tally, run_at_once, together
from bench.load import PATIENCE, Load
from bench.zmq_messages import ECHO, MODEL, Answering, Answers, Requests
from ringserve.child import become

_CONNECT_SECONDS: Final = 30.0


class ZmqClient:
    """One DEALER. Times of single messages are taken when there is one at a time."""

    def __init__(self, endpoint: str, rows: int, answering: Answering) -> None:
        """`rows`: requests of a message. Raises ValueError for a wrong answer, zmq.Again where none comes."""
        self._rows = rows
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._send: Callable[[bytes], object] = super(zmq.Socket, self._socket).send  # without the part that is in Python
        self._socket.set_hwm(0)
        self._socket.connect(endpoint)
        self._socket.setsockopt(zmq.RCVTIMEO, round(_CONNECT_SECONDS * 1000))
        self._messages: Iterator[bytes] = Requests(rows).messages()
        try:
            self._socket.send(next(self._messages))
            self._answers = Answers(rows, answering, self._socket.recv())
        except BaseException:
            self.close()
            raise
        self._socket.setsockopt(zmq.RCVTIMEO, round(PATIENCE * 1000))

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()

    def run(self, window: int, seconds: float) -> Tally:
        """So many messages on their way for this long, then the last answers. Once only.

        Raises zmq.Again where none comes for PATIENCE seconds.
        """
        began = time.monotonic_ns()
        tally = Tally()
        stop = began + int(seconds * 1e9)
        sent = self._one_by_one(stop, tally) if window == 1 else self._several(window, stop)
        tally.seconds = (time.monotonic_ns() - began) / 1e9
        right = self._answers.answered
        tally.requests, tally.errors = right * self._rows, (sent - right) * self._rows
        return tally

    def _several(self, window: int, stop: int) -> int:
        """How many were sent."""
        receive, send, messages = self._socket.recv, self._send, self._messages
        got: list[bytes] = []
        sent = taken = 0  # besides the first one, which is answered
        while True:
            if time.monotonic_ns() < stop:
                for message in islice(messages, window - (sent - taken)):
                    send(message)
                    sent += 1
            elif sent == taken:
                break
            before = len(got)
            got.append(receive())
            try:
                for _ in range(window):
                    got.append(receive(zmq.NOBLOCK))
            except zmq.Again:
                pass
            taken += len(got) - before
            if len(got) >= FLUSH:
                self._answers.take(got)
                got.clear()
        self._answers.take(got)
        return sent

    def _one_by_one(self, stop: int, tally: Tally) -> int:
        receive, send, clock = self._socket.recv, self._send, time.monotonic_ns
        got: list[bytes] = []
        samples: list[int] = []
        sent = 0
        while clock() < stop:
            for message in islice(self._messages, FLUSH >> 4):
                began = clock()
                send(message)
                answer = receive()
                samples.append(clock() - began)
                got.append(answer)
            sent += len(got)
            self._answers.take(got)
            got.clear()
            tally.latencies.record(samples)
            samples.clear()
        return sent


def zmq_load(endpoint: str, answering: Answering, window: int, seconds: float, rows: int = 1) -> Load:
    """Run the generator. Raises RuntimeError when it fails."""
    command = [sys.executable, "-m", "bench.zmq_client", "--endpoint", endpoint, *["--echo"] * answering.is_echo]
    command += ["--window", str(window), "--rows", str(rows), "--seconds", str(seconds)]
    (tally,) = run_at_once([command])
    return together([tally], tally["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--echo", action="store_true", help="what is there gives back what it gets")
    parser.add_argument("--window", type=int, required=True, help="messages without an answer")
    parser.add_argument("--rows", type=int, required=True, help="requests of a message")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    become("bench zmq client")
    client = ZmqClient(arguments.endpoint, arguments.rows, ECHO if arguments.echo else MODEL)
    gc.freeze()
    print("connected", flush=True)
    sys.stdin.readline()
    tally = client.run(arguments.window, arguments.seconds)
    print(json.dumps(tally.to_wire()), flush=True)
    os._exit(0)  # what is late is not waited for


if __name__ == "__main__":
    main()

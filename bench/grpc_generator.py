"""A load generator for gRPC in Python: a number of calls on their way at any time.

It compares every answer with the right one. grpcio takes more time for a call than the servers measured here: rates are the
generator's own limit soon. A program, so that it has an interpreter of its own; `grpc_load` runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import grpc

from bench.grpc_target import SERVICE, GrpcTarget, channel_to
from bench.http_generator import FLUSH, Tally, run_at_once, together
from bench.load import PATIENCE, Load
from ringserve.child import become

_CONNECT_SECONDS: Final = 10.0
_TURN_SECONDS: Final = 0.1


class GrpcGenerator:
    """Calls one method. A call's time goes on until the answer is looked at, grpcio's threads in this process included."""

    def __init__(self, port: int, method: str, request: bytes, right: bytes, connections: int = 1) -> None:
        """Raises grpc.FutureTimeoutError when the server can't be reached."""
        self._request = request
        self._right = right
        self._channels = [channel_to(port) for _ in range(connections)]
        for channel in self._channels:
            grpc.channel_ready_future(channel).result(_CONNECT_SECONDS)
        self._calls = [channel.unary_unary(f"/{SERVICE}/{method}") for channel in self._channels]
        self._tally = Tally()
        self._samples: list[int] = []
        self._done: SimpleQueue[tuple[int, int, Any]] = SimpleQueue()  # connection, began, call

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def run(self, calls: int, seconds: float) -> Tally:
        """So many calls on their way for this long, then the last answers. What is late is an error. Once only."""
        began = time.monotonic_ns()
        stop = began + int(seconds * 1e9)
        (self._one_by_one if calls == 1 else partial(self._several, calls))(stop)
        self._flush()
        self._tally.seconds = (time.monotonic_ns() - began) / 1e9
        return self._tally

    def _one_by_one(self, stop: int) -> None:
        now = 0
        while now < stop:
            began = time.monotonic_ns()
            try:
                answer = self._calls[0](self._request, timeout=PATIENCE)
            except grpc.RpcError:
                answer = None
            now = time.monotonic_ns()
            self._count(answer, now - began)

    def _several(self, calls: int, stop: int) -> None:
        for index in range(calls):
            self._send(index % len(self._calls))
        on_their_way, now = calls, 0
        give_up = stop + int(2 * PATIENCE * 1e9)
        while on_their_way and now < give_up:
            try:
                connection, began, call = self._done.get(timeout=_TURN_SECONDS)
            except Empty:
                now = time.monotonic_ns()
                continue
            now = time.monotonic_ns()
            self._count(call.result() if call.code() is grpc.StatusCode.OK else None, now - began)
            if now < stop:
                self._send(connection)
            else:
                on_their_way -= 1
        self._tally.errors += on_their_way

    def _send(self, connection: int) -> None:
        began = time.monotonic_ns()
        call = self._calls[connection].future(self._request, timeout=PATIENCE)
        call.add_done_callback(lambda ended: self._done.put((connection, began, ended)))  # in the channel's own thread

    def _count(self, answer: bytes | None, nanoseconds: int) -> None:
        if answer != self._right:
            self._tally.errors += 1
            return
        self._samples.append(nanoseconds)
        if len(self._samples) >= FLUSH:
            self._flush()

    def _flush(self) -> None:
        self._tally.latencies.record(self._samples)
        self._tally.requests += len(self._samples)
        self._samples.clear()


def grpc_load(target: GrpcTarget, calls: int, seconds: float, connections: int = 1) -> Load:
    """Run the generator. What the server answers first is what it must answer from then on.

    Raises RuntimeError when the first answer is wrong and when the generator fails, OSError when nobody listens.
    """
    right = target.ask(1)
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as folder:
        files = {"request": target.request, "right": right}
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        command = [sys.executable, "-m", "bench.grpc_generator", "--port", str(target.port), "--method", target.method]
        command += [f"--{name}={Path(folder, name)}" for name in files]
        command += ["--calls", str(calls), "--connections", str(min(calls, connections)), "--seconds", str(seconds)]
        (tally,) = run_at_once([command])
    return together([tally], tally["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--right", type=Path, required=True)
    parser.add_argument("--calls", type=int, required=True, help="on their way at any time, over all connections")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    become("bench grpc generator")
    files = arguments.request.read_bytes(), arguments.right.read_bytes()
    generator = GrpcGenerator(arguments.port, arguments.method, *files, arguments.connections)
    print("connected", flush=True)
    sys.stdin.readline()
    tally = generator.run(arguments.calls, arguments.seconds)
    generator.close()
    print(json.dumps(tally.to_wire()), flush=True)


if __name__ == "__main__":
    main()

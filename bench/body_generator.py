"""A load generator for large bodies: a blocking socket that sends one ready-made request after the other.

It does as little as can be beside the kernel's copying: a program, so that it has an interpreter of its own. What came back
is looked at after the run.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.http_answers import BadAnswerError, content_length
from bench.http_generator import Tally, run_at_once, together
from bench.load import Load
from ringserve.child import become

_CHUNK: Final = 1 << 16
_PATIENCE: Final = 60.0  # s for the server to take more, and for an answer
_MOST_HEAD: Final = 1 << 14
_MOST_ANSWERS: Final = 64  # different ones that are kept


@dataclass(frozen=True, slots=True)
class BodyLoad:
    """What was measured, and the different bodies that came back."""

    load: Load
    answers: frozenset[bytes]


class BodyGenerator:
    """One connection, one request on its way at any time."""

    def __init__(self, port: int, request: bytes, bare: bool = False) -> None:
        """`bare`: the answer is a single byte, not HTTP. Raises OSError when the server can't be reached."""
        self._request = request
        self._bare = bare
        self.answers: set[bytes] = set()  # the different ones, some of them where there are many
        self._sock = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._sock.setblocking(True)  # time-outs are the kernel's: Python's would add a poll to each call
        limit = struct.pack("ll", int(_PATIENCE), 0)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self._sock.setsockopt(socket.SOL_SOCKET, option, limit)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._sock.close()

    def run(self, seconds: float) -> Tally:
        """Send for this long, and once at least. Raises OSError and BadAnswerError: what failed once is not tried again."""
        tally = Tally()
        samples: list[int] = []
        began = now = time.monotonic_ns()
        stop = began + int(seconds * 1e9)
        while not samples or now < stop:
            answer = self._ask()
            done = time.monotonic_ns()
            samples.append(done - now)
            now = done
            if len(self.answers) < _MOST_ANSWERS:
                self.answers.add(answer)
        tally.requests = len(samples)
        tally.seconds = (now - began) / 1e9
        tally.latencies.record(samples)
        return tally

    def _ask(self) -> bytes:
        try:
            self._sock.sendall(self._request)
        except OSError as error:  # refused before all of it was there: the answer says why
            raise BadAnswerError(f"{error}; before that {self._rest()[:500]!r}") from error
        return self._some() if self._bare else self._answer()

    def _answer(self) -> bytes:
        """The body of an HTTP answer."""
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            if len(received) > _MOST_HEAD:
                raise BadAnswerError("a head without an end")
            received += self._some()
        try:
            length = content_length(received[:end])
        except BadAnswerError as error:
            raise BadAnswerError(f"{error}: {received[end + 4 :][:500]!r}") from error
        body = received[end + 4 :]
        while len(body) < length:
            body += self._some()
        return body

    def _some(self) -> bytes:
        received = self._sock.recv(_CHUNK)
        if not received:
            raise BadAnswerError("connection closed")
        return received

    def _rest(self) -> bytes:
        try:
            return self._sock.recv(_CHUNK)
        except OSError:
            return b""


def body_load(port: int, request: Path, connections: int, seconds: float, bare: bool = False) -> BodyLoad:
    """Run a generator for each connection, all sending the file's bytes. Raises RuntimeError when one of them fails."""
    command = [sys.executable, "-m", "bench.body_generator", "--port", str(port), "--request", str(request)]
    command += ["--seconds", str(seconds), *["--bare"] * bare]
    tallies = run_at_once([command] * connections)
    for tally in tallies:
        if "failure" in tally:
            raise RuntimeError(tally["failure"])
    answers = frozenset(base64.b64decode(answer) for tally in tallies for answer in tally["answers"])
    return BodyLoad(together(tallies, max(tally["seconds"] for tally in tallies)), answers)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--bare", action="store_true")
    arguments = parser.parse_args()
    become("bench body generator")
    generator = BodyGenerator(arguments.port, arguments.request.read_bytes(), arguments.bare)
    print("connected", flush=True)
    sys.stdin.readline()
    try:
        found: dict[str, Any] = generator.run(arguments.seconds).to_wire()
        found["answers"] = [base64.b64encode(answer).decode() for answer in generator.answers]
    except (OSError, BadAnswerError) as error:
        found = {"failure": f"{type(error).__name__}: {error}"}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

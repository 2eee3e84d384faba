"""A known server, as whoever started it sees it: a process that is there for a `with` block."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from bench.harness.known_server import Settings, Tally
from bench.harness.preparation import prepare
from bench.harness.request_set import RequestSet
from bench.harness.target import Target
from bench.histogram import Histogram
from bench.http_generator import line_of

BODY = b'{"instances":[1.0]}'


class KnownServer:
    def __init__(self, settings: Settings) -> None:
        self._command = [sys.executable, "-m", "bench.harness.known_server", json.dumps(asdict(settings))]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.port = int(line_of(self._process))
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._kill()

    def requests(self) -> RequestSet:
        """One, that is asked alone first, as request 0."""
        return requests_to(self.port)

    def end(self) -> Tally:
        """What it did. Once only."""
        output, _ = self._process.communicate()
        wire = json.loads(output)
        return Tally(**{**wire, "durations": Histogram.from_wire(wire["durations"])})

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def requests_to(port: int) -> RequestSet:
    """A POST of BODY to any server on this port."""
    with TemporaryDirectory(prefix="ringserve-bench-") as scratch:
        body = Path(scratch) / "body.json"
        body.write_bytes(BODY)
        return prepare(Target(f"http://127.0.0.1:{port}", api="raw", path="/"), body)

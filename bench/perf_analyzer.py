"""perf_analyzer as the load generator for gRPC: in C++, it takes a fraction of the CPU that one in Python does.

It looks at no answer: send a request whose answer is checked before and after. An error status ends it.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import PATIENCE, Load

_WINDOWS: Final = 3  # it measures until so many in a row are stable, and tells of these
_MOST_WINDOWS: Final = 10
#: Windows may differ by this many per cent: each run is three windows then, and how they differ is for repetitions to show.
_STABLE: Final = 1000
_START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class PerfAnalyzer:
    """The program, and the folder of libraries that it needs, where they are not the machine's."""

    program: str
    libraries: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        if self.libraries is None:
            return dict(os.environ)
        paths = [str(self.libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}

    def load(self, port: int, model: str, shape: str, calls: int, seconds: float, connections: int = 1) -> Load:
        """So many calls of Predict on their way at any time, each with random values as `shape` says, for instance x:3.

        A process has one connection, whatever the number of its calls: several take as many processes, which share the
        calls. Raises RuntimeError when one fails, or an answer was an error.
        """
        shares = [calls // connections + (index < calls % connections) for index in range(connections)]
        with ThreadPoolExecutor(connections) as threads:
            return together(list(threads.map(lambda share: self._one(port, model, shape, share, seconds), shares)))

    def _one(self, port: int, model: str, shape: str, calls: int, seconds: float) -> Load:
        with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as folder:
            table = Path(folder) / "measured.csv"
            command = [self.program, *_arguments(port, model, shape, calls, seconds), "-f", str(table)]
            limit = _MOST_WINDOWS * seconds + _START_SECONDS + PATIENCE
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, env=self.environment, timeout=limit, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise RuntimeError(f"perf_analyzer did not end within {limit:.0f} s") from error
            if done.returncode or not table.is_file():
                words = (done.stderr.strip() or done.stdout.strip())[-1000:]
                raise RuntimeError(f"perf_analyzer ended with {done.returncode}: {words}")
            return parsed(done.stdout, table.read_text(encoding="utf-8"))


def _arguments(port: int, model: str, shape: str, calls: int, seconds: float) -> Sequence[str]:
    return [
        *("-m", model, "--service-kind", "tfserving", "--model-signature-name", "serving_default"),
        *("-i", "grpc", "--sync", "-u", f"127.0.0.1:{port}"),
        *("--shape", shape, "--concurrency-range", str(calls)),
        *("-p", str(max(1, round(seconds * 1000 / _WINDOWS))), "-r", str(_MOST_WINDOWS), "-s", str(_STABLE)),
    ]


def parsed(report: str, table: str) -> Load:
    """Times are the table's, the number of requests is the report's. Raises RuntimeError when one is not there."""
    count = re.search(r"^\s*Request count: (\d+)$", report, re.MULTILINE)
    rows = list(csv.DictReader(table.splitlines()))
    try:
        (row,) = rows
        rate = float(row["Inferences/Second"])
        p50, p99 = (float(row[f"{each} latency"]) / 1e3 for each in ("p50", "p99"))
        if count is None or rate <= 0:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise RuntimeError(f"perf_analyzer printed no result: {report.strip()[-500:]}") from error
    requests = int(count[1])
    return Load(requests, requests / rate, p50, p99, 0)


def together(loads: Sequence[Load]) -> Load:
    """Loads that were there at once. Of their p50 the mean over all requests, of their p99 the worst: it tells no more."""
    requests, rate = sum(load.requests for load in loads), sum(load.rate for load in loads)
    p50 = sum(load.p50 * load.requests for load in loads) / requests
    return Load(requests, requests / rate, p50, max(load.p99 for load in loads), sum(load.errors for load in loads))

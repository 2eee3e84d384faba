"""TensorFlow's Python API without a server, in its environment."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers.environments import tensorflow_python
from bench.peers.findings import Finding
from bench.peers.level import Level
from bench.peers.measures import warmup
from bench.peers.peer import Command
from bench.peers.peer_model import PeerModel
from bench.server_processes import proportional_memory

#: Its name in the tables.
NAME = "TensorFlow"


def in_process(model: PeerModel, seconds: float) -> Finding:
    """For each count of clients, as many rows in one call. Raises SkippedError, and RuntimeError when it fails."""
    python = tensorflow_python()
    with tempfile.TemporaryDirectory(prefix="rs-") as folder, tempfile.TemporaryFile() as log:
        rows = model.rows().write(Path(folder) / "rows.npz")
        options = {"model": model.version(), "rows": rows, "port": 0, "seconds": seconds, "warmup": warmup(seconds)}
        words = [
            str(python),
            "-m",
            "bench.peers.programs.in_process",
            *(f"--{name}={each}" for name, each in options.items()),
        ]
        words.append(f"--clients={','.join(map(str, model.clients))}")
        began = time.monotonic()
        with subprocess.Popen(Command(words).words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as process:
            try:
                if not _line(process, log)["answered"]:
                    raise RuntimeError("TensorFlow answered wrongly")
                finding = Finding(NAME, NAME, model.name, "none", False, time.monotonic() - began)
                finding.levels = [Level.from_wire(_line(process, log)) for _ in model.clients]
                memory = proportional_memory(process.pid)
            except BaseException:
                process.kill()
                raise
    finding.megabytes, finding.processes = memory.megabytes, memory.processes
    return finding


def _line(process: subprocess.Popen[bytes], log: Any) -> dict[str, Any]:
    """The next one that it prints. Raises RuntimeError when it has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        log.seek(0)
        words = log.read().decode(errors="replace").strip()[-1000:]
        raise RuntimeError(f"TensorFlow in process ended with {process.wait()}: {words}")
    document: dict[str, Any] = json.loads(line)
    return document

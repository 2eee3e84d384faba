"""wrk as the load generator, where it is installed: it takes a fraction of the CPU that one in Python does.

It looks at the bodies of answers only when told to, otherwise at their status alone: send a request whose answer is checked
before and after.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.load import PATIENCE, Load, Target

_CPUS_PER_THREAD: Final = 4
_POLL_SECONDS: Final = 0.002

# What wrk prints by itself is rounded and in units that change; this line is neither.
_SCRIPT: Final = """
wrk.method = "POST"
wrk.body = {body}
wrk.headers["Content-Type"] = "application/json"
wrong = 0
local threads = {{}}
function setup(thread)
  table.insert(threads, thread)
end
{check}
function done(summary, latency, requests)
  local errors, wrong = summary.errors, 0
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong")
  end
  io.write(string.format(
    "bench requests=%d duration_us=%d p50_us=%d p99_us=%d longest_us=%d "
    .. "connect=%d read=%d write=%d status=%d timeout=%d wrong=%d\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout, wrong))
end
"""

_CHECK: Final = """
function response(status, headers, body)
  if status == 200 and body ~= {right} then
    wrong = wrong + 1
  end
end
"""


class Wrk:
    """One run of wrk, which goes on beside what the `with` block does; it is gone after the block."""

    def __init__(self, target: Target, connections: int, seconds: float, right: bytes | None = None) -> None:
        """wrk takes whole seconds. `right`: the body that every answer must have to the letter; looking costs wrk time."""
        self._target = target
        self._connections = connections
        self._seconds = math.ceil(seconds)
        self._right = right

    def __enter__(self) -> Self:
        threads = min(self._connections, max(1, len(os.sched_getaffinity(0)) // _CPUS_PER_THREAD))
        self._folder = tempfile.TemporaryDirectory(prefix="ringserve-bench-")
        script = Path(self._folder.name) / "post.lua"
        script.write_text(wrk_script(self._target.body, self._right), encoding="utf-8")
        url = f"http://127.0.0.1:{self._target.port}{self._target.path}"
        command = ["wrk", f"-t{threads}", f"-c{self._connections}", f"-d{self._seconds}s", "--timeout", f"{PATIENCE:.0f}s"]
        self._process = subprocess.Popen(
            [*command, "-s", str(script), url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()  # does nothing to a process that has ended
        self._process.communicate()
        self._folder.cleanup()

    def end(self, early: bool = False) -> Load:
        """What it has counted when its time is over, or now. Once only. Raises RuntimeError when it failed."""
        if early:
            while self._process.poll() is None and not _catches_interrupts(self._process.pid):
                time.sleep(_POLL_SECONDS)  # before it is ready for one, an interrupt would end it without a word
            self._process.send_signal(signal.SIGINT)  # it prints what it has so far
        output, complaint = self._process.communicate(timeout=self._seconds + 3 * PATIENCE)
        if self._process.returncode:
            raise RuntimeError(f"wrk ended with {self._process.returncode}: {complaint.strip() or output.strip()}")
        return parse_wrk(output)


def _catches_interrupts(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (signal.SIGINT - 1) & 1)


def wrk_load(target: Target, connections: int, seconds: float) -> Load:
    """Run wrk; it takes whole seconds. Raises RuntimeError when it fails."""
    with Wrk(target, connections, seconds) as run:
        return run.end()


def wrk_script(body: str, right: bytes | None = None) -> str:
    """The Lua script that makes wrk send this body and print one exact line at its end; it counts answers but `right`."""
    check = "" if right is None else _CHECK.format(right=json.dumps(right.decode()))
    return _SCRIPT.format(body=json.dumps(body), check=check)  # JSON's escapes of ASCII text are Lua's too


def parse_wrk(output: str) -> Load:
    """Read the line that the script printed. Raises RuntimeError when it is not there."""
    found = re.search(r"^bench (.*)$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk printed no result: {output.strip()[-500:]}")
    values = {key: int(value) for key, value in (word.split("=") for word in found[1].split())}
    errors = sum(values[kind] for kind in ("connect", "read", "write", "status", "timeout", "wrong"))
    requests = values["requests"] - values["status"] - values["wrong"]  # wrk counts answers, whatever they say
    p50, p99, longest = (values[f"{name}_us"] / 1e3 for name in ("p50", "p99", "longest"))
    return Load(requests, values["duration_us"] / 1e6, p50, p99, errors, longest)

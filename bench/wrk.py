"""wrk as the load generator, where it is installed: it takes a fraction of the CPU that one in Python does.

It does not look at the bodies of answers, only at their status: send a request whose answer is checked before and after.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from bench.load import PATIENCE, Load, Target

_CPUS_PER_THREAD: Final = 4

# What wrk prints by itself is rounded and in units that change; this line is neither.
_SCRIPT: Final = """
wrk.method = "POST"
wrk.body = {body}
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "bench requests=%d duration_us=%d p50_us=%d p99_us=%d connect=%d read=%d write=%d status=%d timeout=%d\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""


def wrk_load(target: Target, connections: int, seconds: float) -> Load:
    """Run wrk; it takes whole seconds. Raises RuntimeError when it fails."""
    threads = min(connections, max(1, len(os.sched_getaffinity(0)) // _CPUS_PER_THREAD))
    whole = math.ceil(seconds)
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as folder:
        script = Path(folder) / "post.lua"
        script.write_text(wrk_script(target.body), encoding="utf-8")
        url = f"http://127.0.0.1:{target.port}{target.path}"
        command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{whole}s", "--timeout", f"{PATIENCE:.0f}s"]
        done = subprocess.run(
            [*command, "-s", str(script), url],
            capture_output=True,
            text=True,
            timeout=whole + 3 * PATIENCE,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return parse_wrk(done.stdout)


def wrk_script(body: str) -> str:
    """The Lua script that makes wrk send this body and print one exact line at its end."""
    return _SCRIPT.format(body=json.dumps(body))  # JSON's escapes of ASCII text are Lua's too


def parse_wrk(output: str) -> Load:
    """Read the line that the script printed. Raises RuntimeError when it is not there."""
    found = re.search(r"^bench (.*)$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk printed no result: {output.strip()[-500:]}")
    values = {key: int(value) for key, value in (word.split("=") for word in found[1].split())}
    errors = sum(values[kind] for kind in ("connect", "read", "write", "status", "timeout"))
    requests = values["requests"] - values["status"]  # wrk counts answers, whatever their status
    return Load(requests, values["duration_us"] / 1e6, values["p50_us"] / 1e3, values["p99_us"] / 1e3, errors)

"""`ringserve tune`, with real servers under load: what it finds, and what an interruption leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from end_to_end.conftest import DATA
from ringserve.flags import parse

MODEL = DATA / "saved_model_half_plus_two_cpu"
SECONDS = 90.0
QUICK = ("--seconds", "0.2", "--json")


@contextmanager
def tune(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Where the test fails while it runs, it is told to end, and ends its server."""
    command = [sys.executable, "-m", "ringserve", "tune", str(MODEL), *QUICK, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Its exit status, and the JSON that it has printed."""
    out, err = process.communicate(timeout=SECONDS)
    assert out, err
    found: dict[str, Any] = json.loads(out)
    return process.returncode, found


def test_a_small_budget_finds_flags_that_a_server_takes() -> None:
    with tune("--budget", "3s", "--clients", "1,4", "--", "--batching=off") as process:
        status, found = ended(process)
    assert status == 0
    assert not found["interrupted"]
    assert found["failures"] == []
    assert {point["clients"] for point in found["points"]} == {1, 4}
    for point in found["front"]:
        assert point["rate"] > 10
        assert 0 < point["p50"] <= point["p99"]
        assert point["memory"] > 50
        assert point["failed"] == 0
        assert point["setting"]["batching"] == "adaptive"  # that is settled, and the flag is not tried
        parse(point["flags"], {})
    assert found["default"]["flags"] == []
    assert found["machine"]["cpus"]


def test_an_interruption_prints_what_there_is_and_leaves_no_server() -> None:
    with tune("--budget", "10m", "--clients", "2", "--p99_below", "10000") as process:
        assert process.stderr is not None
        first, second = (process.stderr.readline() for _ in range(2))
        assert first.startswith("the defaults: ")
        assert second.startswith("--")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        status, found = ended(process)
    assert status == 130
    assert found["interrupted"]
    assert len(found["points"]) >= 2
    assert found["front"]
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []

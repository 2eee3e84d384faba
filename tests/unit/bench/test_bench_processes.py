"""Memory and descriptors of a server's processes, told apart by their titles."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.processes import descriptors, resident, role_of

_TITLED = """
import sys
import setproctitle
setproctitle.setproctitle(sys.argv[1])
held = [open("/dev/null") for _ in range(int(sys.argv[2]))]
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("title", "role"),
    [("ringserve: worker cpu:0", "worker"), ("ringserve: frontend rest 1", "frontend"), ("python3", ""), ("", "")],
)
def test_the_role_is_in_the_title(title: str, role: str) -> None:
    assert role_of(title) == role


@pytest.fixture
def children() -> Iterator[None]:
    """Two workers, one of which holds 50 descriptors more, beside this process."""
    command = [sys.executable, "-c", _TITLED]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen([*command, f"ringserve: worker cpu:{n}", str(50 * n)], **pipes) for n in (0, 1)]  # type: ignore[call-overload]
    try:
        for process in running:
            assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


@pytest.mark.usefixtures("children")
def test_the_largest_of_each_role_counts() -> None:
    gc.collect()  # what other tests have left open must not be closed between the two looks
    found = descriptors(os.getpid())
    assert found["supervisor"] == pytest.approx(len(os.listdir("/proc/self/fd")), abs=2)
    assert 53 <= found["worker"] < 70
    megabytes = resident(os.getpid())
    assert 5 < megabytes["worker"] < megabytes["supervisor"]

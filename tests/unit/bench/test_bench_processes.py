"""Memory and descriptors of a server's processes, told apart by their titles."""

from __future__ import annotations

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


_PARENT = """
import subprocess, sys
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
command = [sys.executable, "-c", sys.argv[1]]
children = [subprocess.Popen([*command, f"ringserve: worker cpu:{n}", str(50 * n)], **pipes) for n in (0, 1)]
for child in children:
    assert child.stdout.readline() == b"ready\\n"
print("ready", flush=True)
sys.stdin.read()
for child in children:
    child.communicate()
"""


@pytest.fixture
def parent() -> Iterator[int]:
    """A process of its own (this one may have servers of other tests below it) with two workers, one of which holds 50
    descriptors more.
    """
    command = [sys.executable, "-c", _PARENT, _TITLED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        yield running.pid


def test_the_largest_of_each_role_counts(parent: int) -> None:
    found = descriptors(parent)
    assert found["supervisor"] == len(os.listdir(f"/proc/{parent}/fd"))
    assert 53 <= found["worker"] < 70
    megabytes = resident(parent)
    assert megabytes["worker"] > 5
    assert megabytes["supervisor"] > 5

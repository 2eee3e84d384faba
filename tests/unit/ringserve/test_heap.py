"""Memory of versions that went does not stay scattered over many arenas."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ARENAS = """
import ctypes, sys, threading
from ringserve.heap import keep_together
keep_together()
gate = threading.Barrier(17)
def take():
    held = [ctypes.create_string_buffer(30_000) for _ in range(8)]  # from malloc: below its mmap threshold
    gate.wait()
    gate.wait()
threads = [threading.Thread(target=take) for _ in range(16)]
for thread in threads: thread.start()
gate.wait()
ctypes.CDLL(None).malloc_stats()
gate.wait()
"""


@pytest.mark.parametrize(("given", "fewest", "most"), [(None, 1, max(2, (os.cpu_count() or 1) // 4)), ("7", 3, 7)])
def test_arenas_are_few_unless_the_user_says_how_many(given: str | None, fewest: int, most: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    if given:
        environment["MALLOC_ARENA_MAX"] = given
    run = subprocess.run(
        [sys.executable, "-c", ARENAS], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert fewest <= run.stderr.count("Arena ") <= most


FAULTS = """
import resource, sys
from ringserve.heap import give_memory_back, keep_freed
if sys.argv[1] == "kept":
    keep_freed(96 << 20, 32 << 20)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [bytes([1]) * (12 << 20) for _ in range(4)]  # the pieces of a body, the body, its answer, on the way out
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
faults()
print(faults(), resident())
give_memory_back()
print(resident())
"""


def test_large_blocks_are_used_again() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}

    def run(how: str) -> list[int]:
        run = subprocess.run(
            [sys.executable, "-c", FAULTS, how], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return [int(word) for word in run.stdout.split()]

    faults, kept, given_back = run("kept")
    assert faults < run("default")[0] / 10, "pages are not taken from the system each time"
    assert given_back < kept - (30 << 20)

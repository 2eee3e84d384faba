"""Slices: asked for without privilege, and without a change of anything else."""

from __future__ import annotations

import os
import platform
import re
import threading
from pathlib import Path

import pytest

from ringserve.scheduling import give_way


def in_a_thread_of_its_own(nice: int) -> tuple[bool, int, str]:
    """What it says, the thread's priority afterwards, and what the kernel tells of it, "" where it tells nothing."""
    found: list[tuple[bool, int, str]] = []

    def ask() -> None:
        identity = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, identity, nice)
        taken = give_way()
        facts = Path(f"/proc/self/task/{identity}/sched")
        found.append((taken, os.getpriority(os.PRIO_PROCESS, identity), facts.read_text() if facts.exists() else ""))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the system call's number is not known")
def test_the_kernel_takes_it_and_the_priority_stays() -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 1
    taken, priority, facts = in_a_thread_of_its_own(nice)
    assert taken
    assert priority == nice
    if slice_ns := re.search(r"se\.slice\s*:\s*(\d+)", facts):  # Linux 6.12 and newer
        assert int(slice_ns[1]) == 50_000_000


def test_another_machine_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not give_way()

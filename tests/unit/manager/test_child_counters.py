"""A role's counters: inherited by each process that has it, which goes on where the one before it stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from manager.child_process import ChildProcess
from ringserve.options import ServerOptions

LIMIT = 30

CHILD = """
import argparse, signal, socket
from ringserve.channel import Channel
from ringserve.child import parse_child_arguments
from shm.counters import CounterTable

arguments = parse_child_arguments(argparse.ArgumentParser(), "counters")
table = CounterTable.attach(arguments.counters_fd)
table.cells("starts", ["a"], 1)[0] += 1
channel = Channel(socket.socket(fileno=arguments.control_fd))
channel.send({"type": "ready"})
signal.pause()
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_process_that_is_started_anew_goes_on_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[3])]))

    async def script() -> None:
        role = ChildProcess("child of a test", ["counting_child"])
        keeper = asyncio.create_task(role.keep(ServerOptions(), {}, role.booted))
        try:
            for starts in (1, 2, 3):
                await until(lambda starts=starts: role.counters.read() == [("starts", ("a",), (starts,))])  # type: ignore[misc]
                await until(lambda: role.state == "ready")
                os.kill(role.pid, signal.SIGKILL)
        finally:
            role.end()
            await asyncio.wait_for(keeper, LIMIT)
            role.counters.close()
            role.doorbell.close()

    asyncio.run(script())

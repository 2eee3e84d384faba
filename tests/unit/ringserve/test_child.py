"""What a child process does first: it reads the supervisor's command line, and never outlives the supervisor."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ringserve.child import parse_child_arguments
from ringserve.options import ServerOptions

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 20

OPTIONS = ServerOptions(model_base_path="/a b/'c'", rest_api_port=1, per_process_gpu_memory_fraction=0.5, devices="cpu:2")


def parsed(monkeypatch: pytest.MonkeyPatch, *words: str, names: tuple[str, ...] = ()) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", ["child", *words])
    return parse_child_arguments(argparse.ArgumentParser("child"), *names)


def test_options_and_descriptors_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    fds = [os.eventfd(0) for _ in range(3)]
    try:
        for fd in fds:
            os.set_inheritable(fd, True)
        words = ["--options", json.dumps(dataclasses.asdict(OPTIONS))]
        for name, fd in zip(("control", "doorbell", "listener"), fds, strict=True):
            words += [f"--{name}-fd", str(fd)]
        arguments = parsed(monkeypatch, *words, names=("listener",))
        assert arguments.options == OPTIONS
        assert [arguments.control_fd, arguments.doorbell_fd, arguments.listener_fd] == fds
        assert not any(os.get_inheritable(fd) for fd in fds), "a child's children have no use for them"
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("words", [[], ["--options", "{}"], ["--options", "{}", "--control-fd", "1"]])
def test_every_argument_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(monkeypatch, *words)
    assert "required" in capsys.readouterr().err


CHILD = """
import os, signal, sys, time
from ringserve.child import become
become("child of a test")
print(os.getpid(), flush=True)
time.sleep(60)
"""

PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(60)
"""


class Family:
    """A parent process and the child that it started."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", PARENT, CHILD]
        self.parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
        assert self.parent.stdout is not None
        self.child = int(self.parent.stdout.readline())
        self.pidfd = os.pidfd_open(self.child)

    def child_ends_within(self, seconds: float) -> bool:
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def end(self) -> None:
        os.close(self.pidfd)
        self.parent.kill()
        self.parent.wait(LIMIT)
        assert self.parent.stdout is not None
        self.parent.stdout.close()


def test_a_child_has_its_title_leaves_signals_to_the_supervisor_and_ends_with_it() -> None:
    family = Family()
    try:
        command_line = Path(f"/proc/{family.child}/cmdline").read_bytes().rstrip(b"\0 ")
        assert command_line == b"ringserve: child of a test"
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(family.child, number)
        assert not family.child_ends_within(0.2)
        family.parent.kill()
        assert family.child_ends_within(LIMIT)
    finally:
        family.end()

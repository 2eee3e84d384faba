"""The programs that floors run in, as seen from the benchmark: started, asked, killed at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shm.doorbell import Doorbell


@contextmanager
def one_at_a_time(model: Path) -> Iterator[Callable[[float], float]]:
    """A function that measures, in a process of its own, one C-API run at a time for so many seconds: runs per second."""
    with _asked(["bench.one_at_a_time", "--model", str(model)]) as measure:
        yield measure


@contextmanager
def image_runs(model: Path, side: int, copies: int = 0) -> Iterator[Callable[[float], float]]:
    """A function that runs an image model, in a process of its own, for so many seconds: median milliseconds of a run,
    and of so many copies of the image before it.
    """
    with _asked(["bench.image_runs", "--model", str(model), "--side", str(side), "--copies", str(copies)]) as measure:
        yield measure


@contextmanager
def batch_runs(model: Path, rows: Path, sweep_seconds: float) -> Iterator[tuple[Callable[[float], float], int]]:
    """A function that runs batches of a model's rows, in a process of its own, for so many seconds: rows per second; and
    how many rows a batch has. Sizes are tried for `sweep_seconds` each.
    """
    with _asked(["bench.batch_runs", "--model", str(model), "--rows", str(rows)]) as measure:
        yield measure, round(measure(sweep_seconds))


@contextmanager
def socket_sink(size: int) -> Iterator[int]:
    """The port of a server that takes so many bytes, answers with one, and takes the next."""
    command = [sys.executable, "-m", "bench.socket_sink", "--size", str(size)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    with _killed_at_end(process):
        assert process.stdout is not None
        yield int(process.stdout.readline())


@contextmanager
def zmq_echo(endpoint: str) -> Iterator[int]:
    """The id of a process with a ROUTER at this endpoint that gives back what it gets."""
    command = [sys.executable, "-m", "bench.zmq_echo", "--endpoint", endpoint]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    with _killed_at_end(process):
        assert process.stdout is not None
        _expect(process.stdout.readline(), "ready\n")
        yield process.pid


@contextmanager
def eventfd_echo() -> Iterator[tuple[Callable[[int], npt.NDArray[Any]], int]]:
    """A function that wakes another process and is woken by it so many times, and that process's id.

    The function returns how long each took, in ns.
    """
    there, back = Doorbell.create(), Doorbell.create()
    command = [sys.executable, "-m", "bench.eventfd_echo", "--rung", str(there.fd), "--answer", str(back.fd)]
    process = subprocess.Popen(command, pass_fds=[there.fd, back.fd], stdin=subprocess.DEVNULL)
    with _killed_at_end(process):
        back.wait()  # it is there

        def measure(count: int) -> npt.NDArray[Any]:
            times = np.empty(count, dtype=np.int64)
            for index in range(count):
                began = time.monotonic_ns()
                os.eventfd_write(there.fd, 1)
                os.eventfd_read(back.fd)
                times[index] = time.monotonic_ns() - began
            return times

        yield measure, process.pid
    there.close()
    back.close()


@contextmanager
def _asked(arguments: Sequence[str]) -> Iterator[Callable[[float], float]]:
    """A program that says when it is ready, reads a number a line, and answers each with another."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with _killed_at_end(process):
        assert process.stdin is not None
        assert process.stdout is not None
        asked, told = process.stdin, process.stdout
        _expect(told.readline(), "ready\n")

        def measure(seconds: float) -> float:
            asked.write(f"{seconds}\n")
            asked.flush()
            return float(told.readline())

        yield measure


@contextmanager
def _killed_at_end(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.communicate()


def _expect(line: str, expected: str) -> None:
    if line != expected:
        raise RuntimeError(f"a floor's process said {line!r} instead of {expected!r}")

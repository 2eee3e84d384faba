"""The floor for ring-stream: the worker's own engine, without lanes, one run of one row after the other.

A program: it reads a number of seconds a line, and prints the runs per second that it reached in that time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.loaded_model import loaded_model
from ringserve.child import become
from ringserve.signature import DEFAULT_SIGNATURE
from workers.engine import RowFunction

_ROWS: Final = 4096  # runs between two looks at the clock
_ALIGNMENT: Final = 16  # floats: each row where TensorFlow takes it without a copy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    model: Path = parser.parse_args().model
    become("bench one run at a time")
    function = _row_function(model)
    print("ready", flush=True)
    for line in sys.stdin:
        print(_rate(function, float(line)), flush=True)
    os._exit(0)  # as a worker: TensorFlow's static destructors can hang


def _row_function(model: Path) -> RowFunction:
    version, report = loaded_model(model)
    assert report.form is not None, report.reason
    return version.row_function(DEFAULT_SIGNATURE, report.form, report.inline)


def _rate(function: RowFunction, seconds: float) -> float:
    """Runs per second, every answer checked."""
    inputs = _aligned()
    inputs[:, 0] = np.arange(_ROWS)
    answers = np.empty(_ROWS, dtype=np.float32)
    sources = [[inputs.ctypes.data + row * inputs.strides[0]] for row in range(_ROWS)]
    targets = [[(1, [answers.ctypes.data + row * answers.itemsize])] for row in range(_ROWS)]
    runs, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        answers[:] = np.nan
        for source, target in zip(sources, targets, strict=True):
            function.run(1, source, target)
        if not np.array_equal(answers, inputs[:, 0] / 2 + 2):
            raise RuntimeError("wrong answers")
        runs += _ROWS
    return runs / (time.monotonic() - began)


def _aligned() -> npt.NDArray[Any]:
    """Rows of which each begins at a 64-byte boundary."""
    raw = np.zeros((_ROWS + 1) * _ALIGNMENT, dtype=np.float32)
    skip = -raw.ctypes.data % (_ALIGNMENT * raw.itemsize) // raw.itemsize
    return raw[skip : skip + _ROWS * _ALIGNMENT].reshape(_ROWS, _ALIGNMENT)


if __name__ == "__main__":
    main()

"""The floor for batches of rows: the model in a worker's engine, without a server around it, one batch after the other.

A program. It reads how many seconds it may take for each size of batch, finds the best one and prints it; then it reads a
number of seconds a line, and prints the rows per second of runs of that size.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from bench.asked_rows import AskedRows
from bench.loaded_model import loaded_model
from ringserve.child import become
from ringserve.signature import DEFAULT_SIGNATURE
from workers.engine import RowFunction
from workers.private_memory import aligned

_MOST_ROWS: Final = 256
_LONGEST_SECONDS: Final = 2.0  # of a run: larger batches are not tried
_TRIES: Final = 2  # of each size, of which the better one counts: others on the machine only ever take
_PATIENCE: Final = 2  # sizes in succession that are no better than smaller ones


class BatchRuns:
    """The rows again and again, so many as a batch has. Every answer is looked at; that is not in the times."""

    def __init__(self, function: RowFunction, rows: AskedRows) -> None:
        self._function = function
        self._rows = rows
        which = np.arange(_MOST_ROWS) % len(rows.inputs)
        self._expected = rows.answers[which]
        self._inputs, self._outputs = (
            aligned(like.nbytes).view(like.dtype).reshape(like.shape) for like in (rows.inputs[which], self._expected)
        )
        self._inputs[...] = rows.inputs[which]
        self._sources, self._targets = ([each.__array_interface__["data"][0]] for each in (self._inputs, self._outputs))

    def rate(self, size: int, seconds: float) -> float:
        """Rows per second; a run once at least. Raises RuntimeError for a wrong answer."""
        runs, spent = 0, 0.0
        while not runs or spent < seconds:
            self._outputs[:size] = np.nan
            began = time.perf_counter()
            has_rows = self._function.run(size, self._sources, [(size, self._targets)])
            spent += time.perf_counter() - began
            runs += 1
            if not has_rows or not self._rows.agree(self._outputs[:size], self._expected[:size]).all():
                raise RuntimeError(f"a wrong answer in a batch of {size}")
        return runs * size / spent


def best_size(rate: Callable[[int], float]) -> int:
    """Of 1, 2, 4 …, the one with the most rows per second. It ends where larger ones are no better, or take too long."""
    best, highest, size, worse = 1, 0.0, 1, 0
    while size <= _MOST_ROWS and worse < _PATIENCE:
        found = rate(size)
        worse = 0 if found > highest else worse + 1
        if found > highest:
            best, highest = size, found
        if 2 * size / found > _LONGEST_SECONDS:
            break
        size *= 2
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    arguments = parser.parse_args()
    become("bench batch runs")
    rows = AskedRows.read(arguments.rows)
    version, report = loaded_model(arguments.model)
    assert report.form is not None, report.reason
    runs = BatchRuns(version.row_function(DEFAULT_SIGNATURE, report.form, report.inline), rows)
    print("ready", flush=True)
    seconds = float(sys.stdin.readline())
    runs.rate(1, seconds)
    size = best_size(lambda size: max(runs.rate(size, seconds / _TRIES) for _ in range(_TRIES)))
    print(size, flush=True)
    for line in sys.stdin:
        print(runs.rate(size, float(line)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

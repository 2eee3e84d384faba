"""TensorFlow's own Python API, without a server: rows in a loop, for each count of clients as many at once.

Prints a line of JSON for each count, then waits for the end of its input.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

import numpy as np

from bench.peers.programs.loaded_model import LoadedModel, settings

_TOLERANCE: Final = 1e-4  # of the largest number of all answers


def main() -> None:
    parser = settings()
    parser.add_argument("--rows", required=True, help=".npz with inputs and answers")
    parser.add_argument("--clients", required=True, help="1,8,32")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warmup", type=float, required=True)
    arguments = parser.parse_args()
    model = LoadedModel(arguments.model)
    with np.load(arguments.rows) as rows:
        inputs, answers = rows["inputs"], rows["answers"]
    check = _wrong(model, inputs[:1], answers[:1], answers)
    print(json.dumps({"answered": not check}), flush=True)
    for clients in map(int, arguments.clients.split(",")):
        print(json.dumps(_level(model, inputs, answers, clients, arguments)), flush=True)
    sys.stdin.read()


def _level(model: LoadedModel, inputs: Any, answers: Any, clients: int, arguments: Any) -> dict[str, Any]:
    batch = np.resize(inputs, (clients, *inputs.shape[1:]))
    wanted = np.resize(answers, (clients, *answers.shape[1:]))
    errors = _wrong(model, batch, wanted, answers)
    until = time.perf_counter() + arguments.warmup
    while time.perf_counter() < until:
        model.run(batch)
    times: list[float] = []
    began = now = time.perf_counter()
    while now < began + arguments.seconds or not times:
        model.run(batch)
        then, now = now, time.perf_counter()
        times.append(now - then)
    p50, p99 = np.percentile(times, [50, 99], method="inverted_cdf") * 1e3
    rate = clients * len(times) / (now - began)
    figures = {"rate": rate, "p50": p50, "p99": p99, "errors": errors, "requests": clients * len(times)}
    return {"clients": clients, **figures}


def _wrong(model: LoadedModel, batch: Any, wanted: Any, answers: Any) -> int:
    """How many rows have other answers than those that were known before."""
    found = model.run(batch).reshape(wanted.shape)
    right = np.abs(found - wanted) <= _TOLERANCE * np.abs(answers).max()
    return int((~right.reshape(len(batch), -1).all(axis=1)).sum())


if __name__ == "__main__":
    main()

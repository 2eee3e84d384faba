"""The overload topology: twice and four times as many requests as the model can take, whatever became of those before.

What counts is that as many are answered as can be, and that the others are told so at once. The model's batches
take some 5 ms however many rows they have; a batch is eight requests, and two batches may wait (`max_enqueued_batches`), as
one would say it to TensorFlow Serving.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.batch_models import FIXED_COST, fixed_cost
from bench.harness.coordinator import finished_run
from bench.harness.outcome import Outcome
from bench.harness.plan import Closed, Open, Plan
from bench.harness.preparation import prepare
from bench.harness.request_set import RequestSet
from bench.harness.target import Target
from bench.load import Target as Asked
from bench.served_models import serve_model
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology

_BATCH: Final = 8
_WAITING: Final = 2  # batches
_PARAMETERS: Final = f"""
max_batch_size {{ value: {_BATCH} }}
batch_timeout_micros {{ value: 0 }}
max_enqueued_batches {{ value: {_WAITING} }}
num_batch_threads {{ value: 1 }}
"""
_FULL: Final = Closed(_BATCH * (1 + _WAITING))  # as many as find room: a batch that runs, and those that wait
_OVERLOADS: Final = (2, 4)
_REFUSED: Final = "503"
_GOODPUT: Final = Goal("ratio", 0.9)
_REFUSAL: Final = Goal("figure", 10.0)


def _measure(settings: Settings, rows: list[Row]) -> None:
    mine = _rows()
    rows += mine.values()
    base, _ = fixed_cost()
    asked = Asked(free_port(), f"/v1/models/{FIXED_COST}:predict", '{"instances": [1.0]}', {"predictions": [2.5]})
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as scratch:
        parameters = Path(scratch) / "batching_parameters"
        parameters.write_text(_PARAMETERS, encoding="utf-8")
        flags = ["--enable_batching", f"--batching_parameters_file={parameters}"]
        with Server([*serve_model(base, asked.port), *flags], asked) as server:
            server.until_answered()
            requests = prepare(Target(f"http://127.0.0.1:{asked.port}", FIXED_COST))
            for _ in range(settings.repeat):
                settings.say(_repetition(requests, settings.seconds, mine))


def _repetition(requests: RequestSet, seconds: float, rows: Mapping[tuple[int, str], Row]) -> str:
    """Measure capacity, then as many, twice and four times as many requests per second: what was found, in words."""
    capacity = finished_run(requests, Plan(_FULL, seconds)).rate
    if not capacity:
        raise RuntimeError("no request was answered rightly")
    found = {times: finished_run(requests, Plan(Open(times * capacity), seconds)) for times in (1, *_OVERLOADS)}
    for times in _OVERLOADS:
        outcome = found[times]
        if not outcome.failed_after.total:
            raise RuntimeError(f"no request was refused at {times}x")
        others = _others(outcome)
        rows[times, "goodput"].add(outcome.rate, capacity, others)
        rows[times, "refusal"].add(outcome.failed_after.percentile(99) / 1e6, errors=others)
        rows[times, "p99"].add(outcome.percentile(99), found[1].percentile(99), others)
    words = [
        f"{times}x {outcome.rate:,.0f} req/s, p99 {outcome.percentile(99):.1f} ms, {outcome.failed:,} refused"
        for times, outcome in found.items()
    ]
    return f"capacity {capacity:,.0f} req/s; {'; '.join(words)}"


def _others(outcome: Outcome) -> int:
    """Requests that failed in another way than by being refused."""
    return sum(count for kind, count in outcome.whole.errors.items() if kind != _REFUSED)


def _rows() -> dict[tuple[int, str], Row]:
    rows = {}
    for times in _OVERLOADS:
        rows[times, "goodput"] = Row("overload", f"goodput at {times}x", "req/s", "higher", "capacity", (_GOODPUT,))
        rows[times, "refusal"] = Row("overload", f"p99 of refusals at {times}x", "ms", "lower", goals=(_REFUSAL,))
        rows[times, "p99"] = Row("overload", f"p99 of answers at {times}x", "ms", "lower", "at 1x")
    return rows


TOPOLOGIES: Final = (
    Topology("overload", "two and four times the requests that a model of 5 ms a batch can take, open loop", _measure),
)

"""The topologies of clients that share memory with a worker: the client library in a process of its own, a whole server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from bench.floor_process import eventfd_echo, one_at_a_time
from bench.half_plus_two import predict
from bench.library_client import library_load
from bench.placement import apart
from bench.processes import process_ids
from bench.served_models import serve_locally, shm_path
from bench.server import Server, free_port
from bench.time_limit import time_limit
from bench.topology import Goal, Row, Settings, Topology

_WARM_SECONDS: Final = 0.5
_ROWS: Final = 1024  # requests of a call
_CALLS: Final = 8  # without a result
_PINGS: Final = 5000
_LIMIT_SECONDS: Final = 60.0  # of a repetition besides what is measured: then something hangs


def _pingpong(settings: Settings, rows: list[Row]) -> None:
    """Client and worker are where the two sides of the floor are."""
    goals = {50: (Goal("figure", 120.0),), 99: ()}
    mine = {
        percent: Row("shm-pingpong", f"p{percent}", "us", "lower", "two eventfd wake-ups", goal)
        for percent, goal in goals.items()
    }
    rows += mine.values()
    with eventfd_echo() as (echo, echo_pid), _served(settings.model) as (url, worker), apart(echo_pid, worker):
        for repetition in range(-1, settings.repeat):
            seconds = settings.seconds if repetition >= 0 else _WARM_SECONDS
            with time_limit(_LIMIT_SECONDS + seconds, "shm-pingpong"):
                floor = echo(_PINGS) / 1000
                load = library_load(url, "predict", seconds)  # inherits where this process is
            if repetition >= 0:
                for percent, row in mine.items():
                    figure = (load.p50 if percent == 50 else load.p99) * 1000
                    row.add(figure, float(np.percentile(floor, percent)), load.errors)
                settings.say(f"p50 {mine[50].figures[-1]:.1f} us, floor {mine[50].floors[-1]:.1f}")


def _stream(settings: Settings, rows: list[Row]) -> None:
    row = Row("shm-stream", "throughput", "req/s", "higher", "one C-API run at a time", (Goal("figure", 500_000),))
    rows.append(row)
    with one_at_a_time(settings.model) as floor, _served(settings.model) as (url, _):
        for repetition in range(-1, settings.repeat):
            seconds = settings.seconds if repetition >= 0 else _WARM_SECONDS
            with time_limit(_LIMIT_SECONDS + 2 * seconds, "shm-stream"):
                slow = floor(min(seconds, 1.0))
                load = library_load(url, "submit_each", seconds, _CALLS, _ROWS)
            if repetition >= 0:
                row.add(load.rate, slow, load.errors)
                settings.say(f"{load.rate:,.0f} req/s, floor {slow:,.0f}")


@contextmanager
def _served(model: Path) -> Iterator[tuple[str, int]]:
    """Where clients connect, and the worker's process."""
    target = predict(free_port())
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as name:
        folder = Path(name)
        with Server(serve_locally(model, target.port, folder), target) as server:
            server.until_answered()
            (worker,) = process_ids(server.pid, "worker")
            yield f"shm://{shm_path(folder)}", worker


TOPOLOGIES: Final = (
    Topology("shm-pingpong", "one request at a time by the client library, over shared memory", _pingpong),
    Topology("shm-stream", f"the same client, {_ROWS} requests a call, {_CALLS} calls without a result", _stream),
)

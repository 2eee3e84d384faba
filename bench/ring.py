"""The ring topologies: this process on one side of a lane, a worker process with a TensorFlow model on the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench.floor_process import eventfd_echo, one_at_a_time
from bench.placement import apart
from bench.ring_client import RingClient
from bench.ring_worker import joined_worker
from bench.time_limit import time_limit
from bench.topology import Goal, Row, Settings, Topology

_WARM_SECONDS: Final = 0.3
_STREAM_SECONDS: Final = 1.0
_WARM_PINGS: Final = 500
_PINGS: Final = 5000
_LIMIT_SECONDS: Final = 60.0  # of a repetition: then something hangs


def _stream(name: str, single: bool, goals: tuple[Goal, ...]) -> Callable[[Settings, list[Row]], None]:
    def measure(settings: Settings, rows: list[Row]) -> None:
        row = Row(name, "throughput", "req/s", "higher", "one C-API run at a time", goals)
        rows.append(row)
        with one_at_a_time(settings.model) as floor, joined_worker(settings.model) as joined:
            client = RingClient(joined)
            for repetition in range(-1, settings.repeat):
                seconds = _STREAM_SECONDS if repetition >= 0 else _WARM_SECONDS
                with time_limit(_LIMIT_SECONDS, name):
                    slow = floor(seconds)
                    rate = client.stream(seconds, single)
                if repetition >= 0:
                    row.add(rate, slow)
                    settings.say(f"{rate:,.0f} req/s, floor {slow:,.0f}")

    return measure


def _pingpong(settings: Settings, rows: list[Row]) -> None:
    goals = {50: (Goal("ratio", 2.0),), 99: ()}
    percentiles = {
        percent: Row("ring-pingpong", f"p{percent}", "us", "lower", "two eventfd wake-ups", goal)
        for percent, goal in goals.items()
    }
    rows += percentiles.values()
    with eventfd_echo() as (echo, echo_pid), joined_worker(settings.model) as joined, apart(echo_pid, joined.pid):
        client = RingClient(joined)
        for repetition in range(-1, settings.repeat):
            count = _PINGS if repetition >= 0 else _WARM_PINGS
            with time_limit(_LIMIT_SECONDS, "ring-pingpong"):
                floor = echo(count)
                times = client.ping(count)
            if repetition >= 0:
                for percent, row in percentiles.items():
                    row.add(_microseconds(times, percent), _microseconds(floor, percent))
                settings.say(f"p50 {_microseconds(times, 50):.1f} us, floor {_microseconds(floor, 50):.1f}")


def _microseconds(times: npt.NDArray[Any], percent: int) -> float:
    return float(np.percentile(times, percent)) / 1000


TOPOLOGIES: Final = (
    Topology(
        "ring-stream",
        "rows over a lane as fast as the worker takes them, submitted in bursts",
        _stream("ring-stream", False, (Goal("ratio", 10.0), Goal("figure", 1_000_000))),
    ),
    Topology(
        "ring-stream-single",
        "the same, each request submitted by a call of its own",
        _stream("ring-stream-single", True, ()),
    ),
    Topology("ring-pingpong", "one request at a time over a lane", _pingpong),
)

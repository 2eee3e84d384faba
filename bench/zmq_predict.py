"""The ZeroMQ topologies: a whole server beside a bare ROUTER that gives back the same messages, to the same client."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.floor_process import zmq_echo
from bench.half_plus_two import predict
from bench.library_client import library_load
from bench.load import Load
from bench.placement import apart
from bench.processes import process_ids
from bench.served_models import serve_locally, zmq_path
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology
from bench.zmq_client import zmq_load
from bench.zmq_messages import ECHO, MODEL

_WARM_SECONDS: Final = 1.0
_WINDOW: Final = 1024
_EACH: Final = 256  # requests of a message
_EACH_WINDOW: Final = 8  # messages
_ECHO: Final = "pyzmq ROUTER echo"
_THROUGHPUT: Final = "throughput"

Measured = Callable[[float], Load]


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both, as ZeroMQ writes where they are, and their processes that have a part in requests."""

    ours: str
    echo: str
    processes: Sequence[int]

    @property
    def url(self) -> str:
        return f"zmq+{self.ours}"


def _topology(
    name: str,
    what: str,
    goals: Mapping[str, tuple[Goal, ...]],
    ways: Callable[[_Sides], tuple[Measured, Measured]],
    placed: bool = False,
) -> Topology:
    """`goals` by measure, of which a row is made; `ways`: how the server is asked, and the echo; `placed`: clients have
    a CPU, and what they ask has another.
    """

    def measure(settings: Settings, rows: list[Row]) -> None:
        mine = zmq_rows(name, goals)
        rows += mine.values()
        with _both(settings.model) as sides, apart(*sides.processes) if placed else nullcontext():
            ours, floor = ways(sides)
            for way in (ours, floor):
                way(_WARM_SECONDS)
            for repetition in range(settings.repeat):
                # Who comes first changes: neither always finds the machine as the other left it.
                order = (floor, ours) if repetition % 2 else (ours, floor)
                loads = {way: way(settings.seconds) for way in order}
                add_repetition(mine, loads[ours], loads[floor])
                settings.say(_line(mine))

    return Topology(name, what, measure)


def zmq_rows(name: str, goals: Mapping[str, tuple[Goal, ...]]) -> dict[str, Row]:
    """By measure: throughput, or a percentile of the time that one message takes."""
    return {
        measure: Row(name, measure, "req/s", "higher", _ECHO, limits)
        if measure == _THROUGHPUT
        else Row(name, measure, "us", "lower", _ECHO, limits)
        for measure, limits in goals.items()
    }


def add_repetition(rows: Mapping[str, Row], ours: Load, floor: Load) -> None:
    """Raises RuntimeError where the echo fails."""
    if floor.errors:
        raise RuntimeError(f"{floor.errors} of the {_ECHO}'s answers are wrong: there is nothing to compare with")
    for measure, row in rows.items():
        row.add(_figure(measure, ours), _figure(measure, floor), ours.errors)


def _figure(measure: str, load: Load) -> float:
    return {_THROUGHPUT: load.rate, "p50": load.p50 * 1000, "p99": load.p99 * 1000}[measure]


def _line(rows: Mapping[str, Row]) -> str:
    words = [f"{measure} {row.figures[-1]:,.0f} {row.unit}, {_ECHO} {row.floors[-1]:,.0f}" for measure, row in rows.items()]
    errors = max(row.errors for row in rows.values())
    return "; ".join(words) + (f"; {errors} ERRORS" if errors else "")


@contextmanager
def _both(model: Path) -> Iterator[_Sides]:
    with tempfile.TemporaryDirectory(prefix="ringserve-bench-") as name:
        folder, target = Path(name), predict(free_port())
        ours, echo = f"ipc://{zmq_path(folder)}", f"ipc://{folder / 'echo'}"
        with zmq_echo(echo) as echo_pid, Server(serve_locally(model, target.port, folder), target) as server:
            server.until_answered()
            ids = [pid for role in ("frontend", "worker") for pid in process_ids(server.pid, role)]
            yield _Sides(ours, echo, [echo_pid, *ids])


def _raw(window: int, rows: int = 1) -> Callable[[_Sides], tuple[Measured, Measured]]:
    """pyzmq on both sides."""
    return lambda sides: (
        lambda seconds: zmq_load(sides.ours, MODEL, window, seconds, rows),
        lambda seconds: zmq_load(sides.echo, ECHO, window, seconds, rows),
    )


def _library(sides: _Sides) -> tuple[Measured, Measured]:
    return (
        lambda seconds: library_load(sides.url, "submit", seconds, _WINDOW),
        lambda seconds: zmq_load(sides.echo, ECHO, _WINDOW, seconds),
    )


TOPOLOGIES: Final = (
    _topology(
        "zmq-stream",
        f"one request a message over ipc, {_WINDOW} without an answer, pyzmq as the client",
        {_THROUGHPUT: (Goal("ratio", 0.7), Goal("figure", 100_000))},
        _raw(_WINDOW),
    ),
    _topology("zmq-pingpong", "the same, one at a time", {"p50": (Goal("ratio", 2.0),), "p99": ()}, _raw(1), placed=True),
    _topology(
        "zmq-each",
        f"messages of {_EACH} requests each, {_EACH_WINDOW} messages without an answer",
        {_THROUGHPUT: ()},
        _raw(_EACH_WINDOW, _EACH),
    ),
    _topology(
        "zmq-client-stream",
        f"the client library over ipc, {_WINDOW} submitted calls without a result",
        {_THROUGHPUT: ()},
        _library,
    ),
)

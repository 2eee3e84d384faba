"""The streaming topology: the light client's stream beside its calls, one connection each, at the same server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.grpc_generator import grpc_load
from bench.grpc_stream_client import stream_load
from bench.grpc_target import grpc_predict
from bench.load import Load
from bench.served_models import serve_model
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology

_NAME: Final = "grpc-stream"
_WARM_SECONDS: Final = 0.5
_CALLS: Final = 32
_OUTSTANDING: Final = (32, 256)
_GOAL: Final = Goal("ratio", 3.0)
_CLIENT: Final = f"{_CALLS} calls by the same client"
_BARE: Final = f"{_CALLS} calls of ready bytes"


def _measure(settings: Settings, rows: list[Row]) -> None:
    """Each way in turn. The floors: calls by the same client, and by grpcio alone, which reads and writes no message."""
    ours = grpc_predict(free_port())
    command = serve_model(settings.model, free_port(), grpc_port=ours.port)
    ways: dict[str, Callable[[float], Load]] = {
        f"{count} on a stream": lambda seconds, count=count: stream_load(ours.port, "stream", count, seconds)  # type: ignore[misc]
        for count in _OUTSTANDING
    }
    streams = list(ways)
    ways[_CLIENT] = lambda seconds: stream_load(ours.port, "calls", _CALLS, seconds)
    ways[_BARE] = lambda seconds: grpc_load(ours, _CALLS, seconds)
    mine = stream_rows(streams)
    rows += mine
    with Server(command, ours) as server:
        server.until_answered()
        for way in ways.values():
            way(_WARM_SECONDS)
        for repetition in range(settings.repeat):
            # Who comes first changes: none always finds the machine as another left it.
            order = list(ways)[:: -1 if repetition % 2 else 1]
            loads = {name: ways[name](settings.seconds) for name in order}
            add_repetition(mine, loads)
            settings.say(", ".join(f"{name} {loads[name].rate:,.0f} req/s" for name in ways))


def stream_rows(streams: list[str]) -> list[Row]:
    """For each way to stream, the two floors; and its latency."""
    rows: list[Row] = []
    for name in streams:
        rows += [
            Row(_NAME, name, "req/s", "higher", _CLIENT, (_GOAL,)),
            Row(_NAME, name, "req/s", "higher", _BARE),
            Row(_NAME, f"{name}, p50", "ms", "lower", _CLIENT),
        ]
    return rows


def add_repetition(rows: list[Row], loads: dict[str, Load]) -> None:
    """What each way found. Raises RuntimeError when calls failed."""
    for row in rows:
        stream, floor = loads[row.measure.removesuffix(", p50")], loads[row.floor_name]
        if floor.errors:
            raise RuntimeError(f"{floor.errors} of {row.floor_name} failed: there is nothing to compare with")
        if row.unit == "ms":
            row.add(stream.p50, floor.p50, stream.errors)
        else:
            row.add(stream.rate, floor.rate, stream.errors)


TOPOLOGIES: Final = (
    Topology(_NAME, f"Predict of three floats by the light client: {_OUTSTANDING} on a stream, {_CALLS} calls", _measure),
)

"""The REST topologies: a whole server beside aiohttp's bare one that echoes, at several numbers of connections."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from bench.half_plus_two import predict
from bench.http_generator import http_load
from bench.load import Load, Target
from bench.served_models import serve_model
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology
from bench.wrk import wrk_load

WARM_SECONDS: Final = 1.0
_CHECKS: Final = 10  # requests whose answers are looked at before and after wrk, which does not look

Asked = tuple[Server, Target]  # a server, and what it is asked


def _rest(connections: int, goals: Mapping[str, Goal], frontends: int = 1) -> Topology:
    """`goals` by measure; the echo server is always one process."""
    name = f"rest-c{connections}" + (f"-f{frontends}" if frontends > 1 else "")

    def measure(settings: Settings, rows: list[Row]) -> None:
        mine = rest_rows(name, "aiohttp echo", goals)
        rows += mine.values()
        ours, echo = predict(free_port()), predict(free_port())
        command = serve_model(settings.model, ours.port, frontends)
        with Server(_echo_command(echo), echo) as floor, Server(command, ours) as server:
            side_by_side(settings, mine, (server, ours), (floor, echo), connections)

    return Topology(name, f"JSON of three floats over HTTP, {connections} at a time, {frontends} front end(s)", measure)


def rest_rows(name: str, floor: str, goals: Mapping[str, Goal]) -> dict[str, Row]:
    """The rows of what a generator measures, by measure."""
    measures = (("throughput", "req/s"), ("p50", "ms"), ("p99", "ms"))
    return {
        measure: Row(
            name,
            measure,
            unit,
            "higher" if measure == "throughput" else "lower",
            floor,
            (goals[measure],) if measure in goals else (),
        )
        for measure, unit in measures
    }


def side_by_side(settings: Settings, rows: Mapping[str, Row], ours: Asked, floor: Asked, connections: int) -> None:
    """Measure both servers, as soon as they answer, one after the other in each repetition.

    Raises RuntimeError when the floor's answers are wrong, and when one gives none.
    """
    for server, target in (floor, ours):
        server.until_answered()
        measured_load(settings, server, target, connections, WARM_SECONDS)
    for repetition in range(settings.repeat):
        # Who comes first changes: neither always finds the machine as the other left it.
        turn = (floor, ours) if repetition % 2 else (ours, floor)
        loads = {
            server.pid: measured_load(settings, server, target, connections, settings.seconds) for server, target in turn
        }
        mine, other = loads[ours[0].pid], loads[floor[0].pid]
        _add(rows, mine, other)
        settings.say(_line(mine, other, rows["throughput"].floor_name))


def measured_load(settings: Settings, server: Server, target: Target, connections: int, seconds: float) -> Load:
    """One run of the generator. Raises RuntimeError when nothing was answered."""
    server.check(_CHECKS)
    load = wrk_load if settings.generator == "wrk" else http_load
    found = load(target, connections, seconds)
    server.check(_CHECKS)
    if not found.requests:
        raise RuntimeError(f"no request was answered rightly, {found.errors} were not")
    return found


def _add(rows: Mapping[str, Row], load: Load, floor: Load) -> None:
    if floor.errors:
        raise RuntimeError(f"{floor.errors} requests to the floor's server failed: there is nothing to compare with")
    rows["throughput"].add(load.rate, floor.rate, load.errors)
    rows["p50"].add(load.p50, floor.p50, load.errors)
    rows["p99"].add(load.p99, floor.p99, load.errors)


def _line(load: Load, floor: Load, name: str) -> str:
    errors = f", {load.errors} ERRORS" if load.errors else ""
    return f"{load.rate:,.0f} req/s, p50 {load.p50:.3f} ms{errors}; {name} {floor.rate:,.0f}, {floor.p50:.3f}"


def _echo_command(target: Target) -> list[str]:
    return [sys.executable, "-m", "bench.echo_server", "--port", str(target.port)]


TOPOLOGIES: Final = (
    _rest(1, {"p50": Goal("figure", 0.35)}),
    _rest(32, {"throughput": Goal("ratio", 0.85)}),
    _rest(128, {}),
    _rest(32, {}, frontends=2),
    _rest(128, {}, frontends=2),
)

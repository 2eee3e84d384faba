"""The REST topologies: a whole server beside aiohttp's bare one that echoes, at several numbers of connections."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from bench.half_plus_two import predict
from bench.http_generator import http_load
from bench.load import Load, Target
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology
from bench.wrk import wrk_load

WARM_SECONDS: Final = 1.0
_CHECKS: Final = 10  # requests whose answers are looked at before and after wrk, which does not look


def _rest(connections: int, goals: Mapping[str, Goal], frontends: int = 1) -> Topology:
    """`goals` by measure; the echo server is always one process."""
    name = f"rest-c{connections}" + (f"-f{frontends}" if frontends > 1 else "")

    def measure(settings: Settings, rows: list[Row]) -> None:
        measures = (("throughput", "req/s"), ("p50", "ms"), ("p99", "ms"))
        mine = {
            measure: Row(
                name,
                measure,
                unit,
                "higher" if measure == "throughput" else "lower",
                "aiohttp echo",
                (goals[measure],) if measure in goals else (),
            )
            for measure, unit in measures
        }
        rows += mine.values()
        ours, echo = predict(free_port()), predict(free_port())
        with Server(_echo_command(echo), echo) as floor, Server(_serve_command(settings, ours, frontends), ours) as server:
            floor.until_answered()
            server.until_answered()
            pairs = [(floor, echo), (server, ours)]
            for each, target in pairs:
                measured_load(settings, each, target, connections, WARM_SECONDS)
            for repetition in range(settings.repeat):
                # Who comes first changes: neither always finds the machine as the other left it.
                turn = pairs if repetition % 2 else pairs[::-1]
                loads = {
                    each.pid: measured_load(settings, each, target, connections, settings.seconds) for each, target in turn
                }
                _add(mine, loads[server.pid], loads[floor.pid])
                settings.say(_line(loads[server.pid], loads[floor.pid]))

    return Topology(name, f"JSON of three floats over HTTP, {connections} at a time, {frontends} front end(s)", measure)


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
        raise RuntimeError(f"{floor.errors} requests to the echo server failed: there is nothing to compare with")
    rows["throughput"].add(load.rate, floor.rate, load.errors)
    rows["p50"].add(load.p50, floor.p50, load.errors)
    rows["p99"].add(load.p99, floor.p99, load.errors)


def _line(load: Load, floor: Load) -> str:
    errors = f", {load.errors} ERRORS" if load.errors else ""
    return f"{load.rate:,.0f} req/s, p50 {load.p50:.3f} ms{errors}; echo {floor.rate:,.0f}, {floor.p50:.3f}"


def _echo_command(target: Target) -> list[str]:
    return [sys.executable, "-m", "bench.echo_server", "--port", str(target.port)]


def _serve_command(settings: Settings, target: Target, frontends: int) -> list[str]:
    return [
        *(sys.executable, "-m", "ringserve", "serve"),
        f"--port={free_port()}",
        f"--rest_api_port={target.port}",
        f"--rest_frontends={frontends}",
        f"--model_name={settings.model.name}",
        f"--model_base_path={settings.model}",
        "--log_level=warning",
    ]


TOPOLOGIES: Final = (
    _rest(1, {"p50": Goal("figure", 0.35)}),
    _rest(32, {"throughput": Goal("ratio", 0.75)}),
    _rest(128, {}),
    _rest(32, {}, frontends=2),
    _rest(128, {}, frontends=2),
)

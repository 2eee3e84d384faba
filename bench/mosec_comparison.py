"""The mosec topologies: a whole server beside one of mosec that computes the same in numpy, batches of 64, 1 ms to fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.half_plus_two import predict
from bench.load import Load, Target
from bench.mosec_environment import mosec_python, mosec_version
from bench.rest import WARM_SECONDS, measured_load, rest_rows, side_by_side
from bench.served_models import serve_model
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, Topology

_PROGRAM: Final = Path(__file__).resolve().with_name("mosec_server.py")
_JSON: Final = ("json", "orjson")  # mosec's own way, and the one that a user in need of speed would take


def _mosec(connections: int, goals: Mapping[str, Goal], frontends: int = 1) -> Topology:
    """`goals` by measure; mosec has one worker, and its HTTP side as many threads as it likes."""
    name = f"mosec-c{connections}" + (f"-f{frontends}" if frontends > 1 else "")

    def measure(settings: Settings, rows: list[Row]) -> None:
        python = mosec_python()
        variant = _faster(settings, python, connections)
        mine = rest_rows(name, f"mosec {mosec_version(python)}, {variant}", goals)
        rows += mine.values()
        ours, theirs = predict(free_port()), _mosec_target()
        command = serve_model(settings.model, ours.port, frontends)
        with _mosec_server(python, variant, theirs) as floor, Server(command, ours) as server:
            side_by_side(settings, mine, (server, ours), (floor, theirs), connections)

    what = f"JSON of three floats over HTTP, {connections} at a time, {frontends} front end(s), beside mosec"
    return Topology(name, what, measure, long=True)


def _faster(settings: Settings, python: Path, connections: int) -> str:
    """How mosec reads and writes JSON when it answers most requests of so many connections."""

    def load(variant: str) -> Load:
        target = _mosec_target()
        with _mosec_server(python, variant, target) as server:
            server.until_answered()
            measured_load(settings, server, target, connections, WARM_SECONDS)
            return measured_load(settings, server, target, connections, settings.seconds)

    return fastest(load, settings.say)


def fastest(load: Callable[[str], Load], say: Callable[[str], None]) -> str:
    """The variant with the highest rate; `say` is told those of all."""
    rates = {variant: load(variant).rate for variant in _JSON}
    best = max(rates, key=lambda variant: rates[variant])
    say(", ".join(f"mosec with {variant} {rate:,.0f} req/s" for variant, rate in rates.items()) + f": compared with {best}")
    return best


def _mosec_target() -> Target:
    return replace(predict(free_port()), path="/inference")


def _mosec_server(python: Path, variant: str, target: Target) -> AbstractContextManager[Server]:
    # Without -P the programs beside it would hide libraries of the same names.
    command = [str(python), "-P", str(_PROGRAM), "--json", variant]
    command += ["--address", "127.0.0.1", "--port", str(target.port)]
    command += ["--log-level", "error"]  # it warns of each request whose client has gone
    return Server(command, target, own_group=True)


TOPOLOGIES: Final = (
    _mosec(1, {"p50": Goal("ratio", 0.15)}),
    _mosec(32, {}),
    _mosec(128, {"throughput": Goal("ratio", 1.1)}, frontends=2),
)
